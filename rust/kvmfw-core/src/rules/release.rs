//! Kernel releases, as far as rules need them.

/// A kernel release: version, patch level and sublevel of `uname -r`.
///
/// A release alone is a weak key: vendors port changes back. Rules look at what the host shows first and at
/// its release last (semantics, section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number; 0 where the release has none.
    pub patch: u32,
}

impl Release {
    /// A release by its numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads the leading numbers of a release string; `None` when it does not begin with two numbers.
    ///
    /// Debian's `5.10.0-32` names an ABI, not a point release (see [`Release::knows_patch`]); of `6.1.0-56` it is known from
    /// which one on.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text.get(..end)?.split('.').map(str::parse::<u32>);
        let major = numbers.next()?.ok()?;
        let minor = numbers.next()?.ok()?;
        let patch = numbers.next().and_then(Result::ok).unwrap_or(0);
        let release = Self { major, minor, patch };
        let abi = text.get(end..).and_then(abi_of).unwrap_or(0);
        let is_known = |(known, first): &&(Self, u32)| release == Self { patch: 0, ..*known } && abi >= *first;
        Some(DEBIANS.iter().find(is_known).map_or(release, |(known, _)| *known))
    }

    /// Whether the release string tells the point release: distributions that keep `.0` do not.
    pub const fn knows_patch(self) -> bool {
        self.patch != 0
    }

    /// Whether both are of one line.
    pub const fn is_of_line(self, other: Self) -> bool {
        self.major == other.major && self.minor == other.minor
    }

    /// Whether this release is of the line `major.minor` or a later one.
    pub const fn at_least(self, major: u32, minor: u32) -> bool {
        self.major > major || (self.major == major && self.minor >= minor)
    }
}

/// Whether a kernel has what came with this line, see [`super::Facts::at_least`].
pub(super) fn has_line(release: Release, is_vendors: bool, (major, minor): (u32, u32)) -> Option<bool> {
    let reached = release.at_least(major, minor);
    (reached || !is_vendors).then_some(reached)
}

/// Features of vCPUs that came late, with the last release without and the first seen with them: an unknown bit is ENOENT, a
/// known one that the host does not support EINVAL (12.15; recorded on 5.10 to 7.3).
pub(crate) const LATE_FEATURES: [(&str, Release, Release); 3] = [
    ("has_el2", Release::new(6, 12, u32::MAX), Release::new(6, 16, 3)),
    ("has_el2_e2h0", Release::new(6, 12, u32::MAX), Release::new(6, 16, 3)),
    ("pmu_v3_strict", Release::new(7, 2, u32::MAX), Release::new(7, 3, 4)),
];

/// Whether a release has a change that was last seen absent in one and first seen in another; `None` between them, and for a name that
/// does not tell its point release where that matters.
pub(crate) fn has_change(release: Release, absent: Release, present: Release) -> Option<bool> {
    let line = |release: Release| (release.major, release.minor);
    let (before, after) = if release.knows_patch() {
        (release <= absent, release >= present)
    } else {
        let came_with_line = !present.knows_patch() && line(release) == line(present);
        (line(release) < line(absent), line(release) > line(present) || came_with_line)
    };
    (before || after).then_some(after)
}

/// Point releases of Debian's kernels that are named by their ABI, the last ones first, with the first ABI that was made of them or a later one
/// (the archive's packages: `6.1.0-44` is 6.1.164; `6.1.0-56`, which was run, 6.1.192; `5.10.0-32`, which was run, 5.10.223).
const DEBIANS: &[(Release, u32)] =
    &[(Release::new(6, 1, 192), 56), (Release::new(6, 1, 164), 44), (Release::new(5, 10, 223), 32)];

/// The ABI in what follows the numbers of one of Debian's names.
fn abi_of(rest: &str) -> Option<u32> {
    let digits = rest.strip_prefix('-').filter(|_| is_debians(rest))?;
    digits.split('-').next()?.parse().ok()
}

/// Whether a release string is one of mainline or a stable series, or of Debian, which builds these with few changes: what
/// was read and run. Every other one names a vendor's kernel, which may carry changes of younger releases.
///
/// Mainline adds to the number `-rc3`; Debian the ABI (`6.1.0-56-arm64`, `6.1.0-0.deb11.21-cloud-arm64`) or its suite
/// (`6.12.117+deb13-arm64-16k`, `6.12.74+deb13+1-arm64`, `6.10.6+bpo-rt-arm64`). A local version of one's own (`6.12.8-mine`) tells nothing of what is in
/// it, and no more do commits on top of a release (`6.12.8+`, `6.13.0-rc3-00012-g0123456789ab`, `-dirty`): a tree on its way to
/// the next release is named so.
pub fn is_upstream(text: &str) -> bool {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let numbers = numbers.split('.').count();
    (2..=3).contains(&numbers) && (rest.is_empty() || is_candidate(rest) || is_debians(rest))
}

fn is_candidate(rest: &str) -> bool {
    let number = rest.strip_prefix("-rc").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_debians(rest: &str) -> bool {
    let rest = ["-arm64", "-arm64-16k", "-arm64-64k"].iter().find_map(|flavour| rest.strip_suffix(flavour));
    let Some(rest) = rest else { return false };
    let rest = ["-cloud", "-rt"].iter().find_map(|flavour| rest.strip_suffix(flavour)).unwrap_or(rest);
    let is_counted = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'+'));
    let is_suite = |text: &str| {
        let counted = ["deb", "bpo"].iter().find_map(|suite| text.strip_prefix(suite));
        counted.is_some_and(is_counted)
    };
    match rest.strip_prefix('+') {
        Some(suite) => is_suite(suite),
        None => rest.strip_prefix('-').is_some_and(|abi| {
            abi.bytes().all(|byte| byte.is_ascii_digit()) && !abi.is_empty()
                || abi.strip_prefix("0.").is_some_and(is_suite)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendors_kernel_is_known_by_its_name() {
        for text in [
            "6.12.8",
            "7.3.4",
            "7.3",
            "6.13.0-rc3",
            "5.10.0-32-arm64",
            "5.10.0-0.deb10.28-arm64",
            "6.1.0-0.deb11.21-cloud-arm64",
            "6.1.0-9-arm64-16k",
            "6.12.117+deb13-arm64",
            "6.12.74+deb13+1-arm64",
            "6.12.43+deb12-rt-arm64",
            "6.18.15+deb13-arm64-16k",
            "6.10.6+bpo-arm64",
            "6.12.9+bpo-cloud-arm64",
        ] {
            assert!(is_upstream(text), "{text}");
        }
        for text in [
            "",
            "linux",
            "6",
            "6.1.79-bottlerocket",
            "6.1.172-amzn",
            "6.18.30-61.116.amzn2023.aarch64",
            "4.14.355-275.570.amzn2.aarch64",
            "6.6.0-72.0.0.64.oe2403.aarch64",
            "5.10.0-136.12.0.86.oe2203sp1.aarch64",
            "5.14.0-503.el9.aarch64",
            "4.18.0-147.el8.aarch64",
            "6.12.0-55.9.1.el10_0.aarch64+64k",
            "5.15.0-1056-aws",
            "6.8.0-45-generic",
            "6.8.0-45-generic-64k",
            "6.5.0-1014-gcp",
            "6.1.57-android14-11-g0123456789ab-ab11061363",
            "6.6.57.1-2.azl3",
            "5.15.153.1-1.cm2",
            "5.15.0-3.60.5.1.el9uek.aarch64",
            "6.4.0-150600.21-default",
            "6.12.25+rpt-rpi-v8",
            "6.11.4-301.fc41.aarch64",
            "6.12.8-1-aarch64-ARCH",
            "6.12.8-mine",
            "6.6.57.1",
            "6.12.0-x-arm64",
            "6.12.0--arm64",
            "6.12.0+rpt-arm64",
            "6.12.0-1-g01234567",
            "6.12.8+",
            "6.13.0-rc3+",
            "6.13.0-rc3-00012-g0123456789ab",
            "6.13.0-rc3-g0123456-dirty",
            "6.12.8-dirty",
            "6.6.30-08888-g0123456789ab",
            "6.6.30-rt30",
            "6.12.47+rpt-rpi-2712",
            "6.1.21-v8+",
            "6.17.0-8-generic",
            "6.12.0-124.8.1.el10_1.aarch64",
            "6.12.0-103.40.4.2.el9uek.aarch64",
            "6.12.0-rc",
            "6.12.0-rcx",
        ] {
            assert!(!is_upstream(text), "{text}");
        }
    }

    #[test]
    fn a_change_that_came_with_a_line_is_known_of_a_name_without_a_point_release() {
        let release = |minor, patch| Release::new(6, minor, patch);
        let (absent, with_line, with_point) = (release(15, u32::MAX), release(16, 0), release(16, 3));
        for (named, present, expected) in [
            (release(16, 0), with_line, Some(true)),
            (release(16, 0), with_point, None),
            (release(15, 0), with_line, None),
            (release(14, 0), with_line, Some(false)),
            (release(17, 0), with_point, Some(true)),
        ] {
            assert_eq!(has_change(named, absent, present), expected, "{named:?} of {present:?}");
        }
    }

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        for (text, release) in [
            ("6.12.117+deb13-arm64", Some((6, 12, 117))),
            ("5.10.0-31-arm64", Some((5, 10, 0))),
            ("5.10.0-32-arm64", Some((5, 10, 223))),
            ("6.1.0-43-arm64", Some((6, 1, 0))),
            ("6.1.0-44-arm64", Some((6, 1, 164))),
            ("6.1.0-55-arm64", Some((6, 1, 164))),
            ("6.1.0-56-cloud-arm64", Some((6, 1, 192))),
            ("6.1.0-56-generic", Some((6, 1, 0))),
            ("6.6.0-56-arm64", Some((6, 6, 0))),
            ("6.18.30-61.116.amzn2023.aarch64", Some((6, 18, 30))),
            ("7.3", Some((7, 3, 0))),
            ("linux", None),
            ("7", None),
            ("", None),
        ] {
            let expected = release.map(|(major, minor, patch)| Release::new(major, minor, patch));
            assert_eq!(Release::parse(text), expected, "{text}");
        }
        assert!(Release::new(6, 1, 0).at_least(5, 19) && !Release::new(5, 10, 9).at_least(5, 19));
    }
}
