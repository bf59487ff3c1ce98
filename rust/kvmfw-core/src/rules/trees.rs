//! Kernel trees that are known, in what they differ, and which of them a release can stand between.
//!
//! A release that is none of them lies between two: what both do alike, it does too, because a change that went in
//! stays in. Where they differ the answer is unknown, for exactly the values on which they differ.

use super::facts::Facts;
use super::release::Release;

/// One known kernel, by its place in [`TREES`].
pub(super) type Tree = u8;

pub(super) const T6_12_8: Tree = 0;
pub(super) const T6_12_43: Tree = 1;
pub(super) const T6_12_69: Tree = 2;
pub(super) const T6_12_117: Tree = 3;
pub(super) const T6_16_12: Tree = 4;
pub(super) const T6_17_8: Tree = 5;
pub(super) const T6_17_13: Tree = 6;
pub(super) const T6_18_15: Tree = 7;
pub(super) const T6_19: Tree = 8;
pub(super) const T7_0: Tree = 9;
pub(super) const T7_1: Tree = 10;
pub(super) const T7_2: Tree = 11;
pub(super) const T7_3: Tree = 12;

/// The releases of the trees, ascending. 6.12.43, 6.16.12, 6.17.13, 6.19.14 and 7.0.13 are kernels that were run
/// (specification, 12), the others were read; 6.19.6 was read and 6.19.14 run, without a difference. 6.16.3 was run too, and gave
/// 308,000 answers as 6.16.12 gave them, on the same CPU. Of 6.12.57, 6.12.69, 6.12.90 and 6.12.94 the tables were read from Debian's
/// images, and those of all kernels of the archive between them: AArch32 masks changed before 6.12.69, the sign of PMU versions
/// between 6.12.90 and 6.12.94, and nothing else; what is not in a table they do as 6.12.43 and 6.12.117 both do.
const TREES: &[(Tree, Release)] = &[
    (T6_12_8, Release::new(6, 12, 8)),
    (T6_12_43, Release::new(6, 12, 43)),
    (T6_12_43, Release::new(6, 12, 57)),
    (T6_12_69, Release::new(6, 12, 69)),
    (T6_12_69, Release::new(6, 12, 90)),
    (T6_12_117, Release::new(6, 12, 94)),
    (T6_12_117, Release::new(6, 12, 117)),
    (T6_12_117, Release::new(6, 12, 118)),
    (T6_16_12, Release::new(6, 16, 3)),
    (T6_16_12, Release::new(6, 16, 12)),
    (T6_17_8, Release::new(6, 17, 8)),
    (T6_17_13, Release::new(6, 17, 13)),
    (T6_18_15, Release::new(6, 18, 15)),
    (T6_19, Release::new(6, 19, 14)),
    (T7_0, Release::new(7, 0, 13)),
    (T7_1, Release::new(7, 1, 8)),
    (T7_2, Release::new(7, 2, 13)),
    (T7_3, Release::new(7, 3, 4)),
];

/// The last one of which anything is known.
const LAST: (Tree, Release) = TREES[TREES.len() - 1];
/// The newest tree.
pub(super) const NEWEST: Tree = LAST.0;

/// What would settle it for a kernel that [`is_younger`].
pub(super) const YOUNGER: &str = "this kernel is younger than the rules of kvmfw, which end with 7.3; probe this host";

/// Whether `release` is of a younger line than everything that is known.
pub(super) fn is_younger(release: Release) -> bool {
    (release.major, release.minor) > (LAST.1.major, LAST.1.minor)
}

/// All trees: for kernels that carry back-ports, whose release tells nothing.
pub(super) fn all() -> Vec<Tree> {
    once(TREES.iter().map(|(tree, _)| *tree))
}

/// The releases of all trees, ascending.
pub(super) fn releases() -> impl Iterator<Item = Release> {
    TREES.iter().map(|(_, release)| *release)
}

/// All trees with their releases, ascending.
pub(super) fn known() -> impl Iterator<Item = (Tree, Release)> {
    TREES.iter().copied()
}

/// The tree that `release` is.
pub(super) fn exactly(release: Release) -> Option<Tree> {
    TREES.iter().find(|(_, known)| *known == release).map(|(tree, _)| *tree)
}

/// Each tree once: some have several releases.
fn once(trees: impl Iterator<Item = Tree>) -> Vec<Tree> {
    let mut found: Vec<Tree> = trees.collect();
    found.dedup();
    found
}

/// The trees that a host's kernel may be like: of a vendor's, all that it may have taken changes of.
pub(super) fn plausible(facts: &Facts<'_>) -> Vec<Tree> {
    match facts.release {
        Some(release) if !facts.is_vendors => around(release),
        Some(release) if release.at_least(6, 7) => since(release),
        _ => all(),
    }
}

/// All trees of the line of `release` (6.7 or later) and of younger ones, and those of the line before, as its own point release
/// tells nothing: changes of any of them may have been ported back.
fn since(release: Release) -> Vec<Tree> {
    let line = |release: &Release| (release.major, release.minor);
    let before = TREES.iter().map(|(_, known)| line(known)).filter(|known| *known < line(&release)).max();
    let is_plausible = |known: &Release| line(known) >= line(&release) || Some(line(known)) == before;
    once(TREES.iter().filter(|(_, known)| is_plausible(known)).map(|(tree, _)| *tree))
}

/// The trees between which `release` (6.7 or later) stands.
pub(super) fn around(release: Release) -> Vec<Tree> {
    let line = |release: Release| (release.major, release.minor);
    let own = line(release);
    let at = |wanted: &dyn Fn(Release) -> bool| -> Vec<Tree> {
        once(TREES.iter().filter(|(_, known)| wanted(*known)).map(|(tree, _)| *tree))
    };
    let exact = at(&|known| known == release);
    if !exact.is_empty() {
        return exact;
    }
    let lines = || TREES.iter().map(|(_, known)| line(*known));
    let previous = lines().filter(|known| *known < own).max();
    let next = lines().filter(|known| *known > own).min();
    let previous = at(&|known| Some(line(known)) == previous);
    let next = at(&|known| Some(line(known)) == next);
    let within = at(&|known| line(known) == own);
    let later = at(&|known| line(known) > own);
    if within.is_empty() {
        // A line of which no kernel is known.
        return [previous, next].concat();
    }
    if !release.knows_patch() {
        // `6.12.0-55` names a distribution's kernel, whose changes no release tells.
        return [previous, within, later].concat();
    }
    let before = at(&|known| line(known) == own && known < release).last().copied();
    let after = at(&|known| line(known) == own && known > release).first().copied();
    match (before, after) {
        (Some(before), Some(after)) => once([before, after].into_iter()),
        // Fixes of any younger line may have been ported back.
        (Some(before), None) => std::iter::once(before).chain(later).collect(),
        (None, after) => previous.into_iter().chain(after).collect(),
    }
}

/// Whether `PMUVer` and `PerfMon` are compared as signed numbers, so that 8 to 15 pass under any limit.
///
/// 6.12.8, 6.17.8, 6.18.15, 6.19.6 read, 6.12.43 and 6.16 to 6.19 run: signed. 6.12.117, 7.1.8 and later read, 7.0.13
/// run: unsigned (specification, 3.3 and 12.12). Images of 6.12.43 to 6.12.90 are signed, of 6.12.94 and later unsigned. Sure.
pub(super) const fn pmu_is_signed(tree: Tree) -> bool {
    tree < T7_0 && tree != T6_12_117
}

/// Whether 0 in `ID_AA64PFR0_EL1.EL0` or `.EL1` is EINVAL at once: 6.16.12 run, 6.17.8 and later read; not in 6.12.117
/// (specification, 3.6 and 12.12). Sure.
pub(super) const fn needs_exception_levels(tree: Tree) -> bool {
    tree >= T6_16_12
}

/// Whether a nested VM may hide a stage-2 granule (`ID_AA64MMFR0_EL1.TGRAN*_2` = 1): 6.16.12 run, not; 7.0.13 and 7.3.4
/// run, it may; between them the rule was not seen.
pub(super) fn hides_granules(tree: Tree) -> Option<bool> {
    match tree {
        ..=T6_16_12 => Some(false),
        T7_0.. => Some(true),
        _ => None,
    }
}

/// Whether `ID_AA64MMFR2_EL1.NV` as the hardware has it is taken and dropped: 6.16.12 run, 6.17.8 and later read; not
/// in 6.12.117 (specification, 3.6 and 12.12). Sure.
pub(super) const fn tolerates_nv(tree: Tree) -> bool {
    tree >= T6_16_12
}

/// Whether `MTE_frac` 0 stands for 0xf on hardware with `MTE2` only: commit fe21ff5d4b46 of the KVM pull for 6.16, with
/// 5799a2983fea that makes it a field; 6.17.8 and later read, not in 6.12.117 (specification, 3.6).
pub(super) const fn tolerates_mte_frac(tree: Tree) -> bool {
    tree >= T6_16_12
}

/// Whether a nested VM's `DoubleLock` is taken and rewritten: 6.18.15 and later read, not in 6.17.8 (specification, 3.6).
pub(super) const fn tolerates_double_lock(tree: Tree) -> bool {
    tree >= T6_18_15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_younger_is_said_as_it_is() {
        let (major, minor) = (LAST.1.major, LAST.1.minor);
        assert!(YOUNGER.contains(&format!(" end with {major}.{minor};")));
    }

    #[test]
    fn pmu_versions_were_signed_before_7_0_but_for_one_fix() {
        let signed: Vec<Tree> = all().into_iter().filter(|tree| pmu_is_signed(*tree)).collect();
        assert_eq!(signed, [T6_12_8, T6_12_43, T6_12_69, T6_16_12, T6_17_8, T6_17_13, T6_18_15, T6_19]);
    }

    #[test]
    fn a_release_stands_between_the_trees_next_to_it() {
        for (release, trees) in [
            ((6, 12, 117), vec![T6_12_117]),
            ((6, 12, 8), vec![T6_12_8]),
            ((6, 12, 50), vec![T6_12_43]),
            ((6, 12, 60), vec![T6_12_43, T6_12_69]),
            ((6, 12, 80), vec![T6_12_69]),
            ((6, 12, 92), vec![T6_12_69, T6_12_117]),
            ((6, 12, 100), vec![T6_12_117]),
            ((6, 12, 3), vec![T6_12_8]),
            ((6, 14, 2), vec![T6_12_8, T6_12_43, T6_12_69, T6_12_117, T6_16_12]),
            ((6, 9, 2), vec![T6_12_8, T6_12_43, T6_12_69, T6_12_117]),
            ((6, 16, 1), vec![T6_12_8, T6_12_43, T6_12_69, T6_12_117, T6_16_12]),
            ((6, 16, 3), vec![T6_16_12]),
            ((6, 16, 7), vec![T6_16_12]),
            ((6, 17, 1), vec![T6_16_12, T6_17_8]),
            ((6, 17, 10), vec![T6_17_8, T6_17_13]),
            ((6, 18, 30), vec![T6_18_15, T6_19, T7_0, T7_1, T7_2, T7_3]),
            ((7, 2, 12), vec![T7_1, T7_2]),
            ((7, 3, 9), vec![T7_3]),
            ((7, 3, 0), vec![T7_2, T7_3]),
        ] {
            assert_eq!(around(Release::new(release.0, release.1, release.2)), trees, "{release:?}");
        }
        assert_eq!(around(Release::new(6, 12, 0)), all());
        for (line, first) in
            [((6, 8), T6_12_8), ((6, 12), T6_12_8), ((6, 14), T6_12_8), ((6, 17), T6_16_12), ((7, 3), T7_2)]
        {
            assert_eq!(since(Release::new(line.0, line.1, 9)), (first..=NEWEST).collect::<Vec<_>>(), "{line:?}");
        }
        assert!(is_younger(Release::new(7, 4, 0)) && !is_younger(Release::new(7, 3, 99)));
    }

    #[test]
    fn a_vendors_kernel_is_like_one_whose_point_release_is_not_known() {
        let vendors = |major, minor, patch| {
            plausible(&Facts { release: Some(Release::new(major, minor, patch)), is_vendors: true, ..Facts::default() })
        };
        assert_eq!(vendors(7, 2, 13), [T7_1, T7_2, T7_3], "it may carry what came with 7.3");
        assert_eq!(vendors(6, 6, 60), all());
        assert_eq!(plausible(&Facts::default()), all());
        let mainline = Facts { release: Some(Release::new(7, 2, 13)), ..Facts::default() };
        assert_eq!(plausible(&mainline), [T7_2]);
    }
}
