//! ID registers, field by field: what the hardware has, as far as the running kernel shows it, and what the other one shows of that.

use super::kernel::{Kernel, Surface, Told};
use super::shown::{Show, shown};
use crate::catalog::{
    self, ID_AA64ISAR1, ID_AA64ISAR2, ID_AA64MMFR1, ID_AA64MMFR3, ID_AA64MMFR4, ID_AA64PFR0, ID_AA64PFR1, ID_AA64PFR2,
    ID_AA64ZFR0, ID_DFR0, ID_PFR1,
};
use crate::id::RegisterId;
use crate::rules::facts::Facts;
use crate::rules::fields::fields_of;
use crate::rules::release::Release;
use crate::rules::trees::{self, Tree};

const ID_AA64FPFR0: RegisterId = RegisterId::system(3, 0, 0, 4, 7);
const ID_AA64ISAR3: RegisterId = RegisterId::system(3, 0, 0, 6, 3);

/// The kernels before those of [`trees`] of which the tables are known: read from the images of Debian's.
const OLDER: [Release; 2] = [Release::new(5, 10, 223), Release::new(6, 1, 192)];
/// The bits of fields that these have, of registers in which they differ from 6.12.8.
#[rustfmt::skip]
const OLDER_FIELDS: &[(RegisterId, [u64; 2])] = &[
    (ID_AA64PFR1, [0x000f_ffff, 0x0f0f_ffff]),
    (ID_AA64PFR2, [0, 0]),
    (ID_AA64ZFR0, [0x0ff0_ff0f_00ff_00ff, 0x0ff0_ff0f_00ff_00ff]),
    (ID_AA64FPFR0, [0, 0]),
    (ID_AA64ISAR1, [0x00ff_ffff_ffff_ffff, 0x00ff_ffff_ffff_ffff]),
    (ID_AA64ISAR2, [0xf000_00f0, 0xf0f0_ffff]),
    (ID_AA64ISAR3, [0, 0]),
    (ID_AA64MMFR1, [0xf0ff_ffff_ffff, 0xf0f0_f0ff_ffff_ffff]),
    (ID_AA64MMFR3, [0, 0]),
    (ID_AA64MMFR4, [0, 0]),
];

/// Bits that a kernel's table has a field for: surely, and perhaps. The others read 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bits {
    sure: u64,
    maybe: u64,
}

fn of_tree(register: RegisterId, tree: Tree) -> u64 {
    fields_of(register).iter().filter(|field| field.since <= tree).fold(0, |bits, field| bits | field.mask())
}

fn of_older(register: RegisterId, at: usize) -> u64 {
    let own = OLDER_FIELDS.iter().find(|(id, _)| *id == register).and_then(|(_, bits)| bits.get(at));
    own.copied().unwrap_or_else(|| of_tree(register, trees::T6_12_8))
}

/// The fields of `register` in a kernel. What a kernel has a younger one has too.
fn bits(register: RegisterId, kernel: &Kernel) -> Bits {
    if let Some(fields) = &kernel.fields {
        let at = fields.binary_search_by_key(&register, |(id, _)| *id).ok();
        let own = at.and_then(|at| fields.get(at)).map_or(0, |(_, bits)| *bits);
        return Bits { sure: own, maybe: own };
    }
    let Some(release) = kernel.release else { return Bits { sure: 0, maybe: u64::MAX } };
    if !kernel.is_vendors && !kernel.is_younger() && release.at_least(6, 7) {
        let each = || trees::around(release).into_iter().map(|tree| of_tree(register, tree));
        return Bits {
            sure: each().fold(u64::MAX, |all, bits| all & bits),
            maybe: each().fold(0, |all, bits| all | bits),
        };
    }
    let line = |release: Release| (release.major, release.minor);
    let is_before = |known: Release| {
        if release.knows_patch() { known <= release } else { line(known) < line(release) }
    };
    let is_after = |known: Release| {
        if release.knows_patch() { known >= release } else { line(known) > line(release) }
    };
    let older = || OLDER.into_iter().enumerate().map(|(at, known)| (known, of_older(register, at)));
    let known = || older().chain(trees::known().map(|(tree, known)| (known, of_tree(register, tree))));
    let sure = known().filter(|(known, _)| is_before(*known)).last().map_or(0, |(_, bits)| bits);
    let next = known().find(|(known, _)| is_after(*known)).filter(|_| !kernel.is_vendors);
    let maybe = match next {
        Some((_, bits)) => bits,
        None if kernel.is_younger() => u64::MAX,
        None => of_tree(register, trees::NEWEST),
    };
    Bits { sure, maybe: maybe | sure }
}

/// What is known of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Exactly(u64),
    AtLeast(u64),
}

const UNKNOWN: Number = Number::AtLeast(0);

/// The value of an ID register.
pub(super) fn told(
    register: RegisterId,
    now: Option<u64>,
    facts: &Facts<'_>,
    surface: Surface<'_>,
    was: &Kernel,
    will: &Kernel,
) -> Told {
    let Some(now) = now else { return Told::but(0, u64::MAX) };
    let (old, new) = (bits(register, was), bits(register, will));
    let is_aarch32 = matches!(register.encoding(), [3, 0, 0, 1..=3, _]);
    if is_aarch32 && facts.has_aarch32() == Some(false) {
        return without_aarch32(register, facts);
    }
    // Limits of nested VMs are not known by kernel, nor are those of younger kernels; what options hide depends on which of them a
    // kernel knows.
    if facts.config.has("has_el2") || surface.overrides() || will.is_younger() || was.is_younger() {
        return Told::but(0, new.maybe);
    }
    let mut told = Told::word(0);
    for shift in (0..64).step_by(4) {
        let nibble = 0xf_u64 << shift;
        let (before, after) = (shown(register, shift, facts, was), shown(register, shift, facts, will));
        let is_mode = (register, shift) == (ID_AA64MMFR1, 8) && surface.has_mode();
        if before == Show::Hardware && after == Show::Hardware && !is_mode {
            // Bit by bit: some fields are narrower. What the old kernel shows as 0 without a field is not known.
            let known = if now & nibble == 0 { old.sure & nibble } else { nibble };
            let zero = known & !now;
            told.add(now & nibble & new.sure, nibble & ((new.sure & !known) | (new.maybe & !new.sure & !zero)));
            continue;
        }
        let field = now >> shift & 0xf;
        let has_field = old.sure & nibble == nibble;
        // A VM of the old kernel has in it what the hardware has, which the wrappers take (specification, 3.6).
        if TOLERATED.contains(&(register, shift))
            && let Number::Exactly(own) = hardware(before, field, has_field)
        {
            told.hardware = Some(own << shift);
        }
        let number = match before {
            _ if is_mode => UNKNOWN,
            // The same of the same.
            _ if before == after => same(before, field, facts),
            _ => of_hardware(after, hardware(before, field, has_field), facts, surface),
        };
        match number {
            _ if new.maybe & nibble == 0 => {}
            Number::Exactly(0) => {}
            Number::Exactly(field) if new.sure & nibble == nibble => told.add(field << shift, 0),
            Number::AtLeast(least) if new.sure & nibble == nibble => told.add(least << shift, nibble),
            _ => told.add(0, nibble & new.maybe),
        }
    }
    told
}

/// Fields that kernels hide, and take as the hardware has them: MPAM, `MPAM_frac`, NV.
const TOLERATED: [(RegisterId, u32); 3] =
    [(ID_AA64PFR0, 40), (ID_AA64PFR1, 16), (RegisterId::system(3, 0, 0, 7, 2), 24)];

/// What the hardware has in a field that a kernel shows so.
fn hardware(show: Show, field: u64, has_field: bool) -> Number {
    match show {
        Show::Hardware if field != 0 || has_field => Number::Exactly(field),
        // 0xf is no version of a PMU, and what becomes of it is not asked here.
        Show::AtMost(most) if has_field && field < most => Number::Exactly(field),
        Show::AtMost(most) if has_field && field == most => Number::AtLeast(most),
        // 1 may be KVM's own; 0 and greater numbers are not.
        Show::Csv2 | Show::Csv3 if has_field && field != 1 => Number::Exactly(field),
        Show::Gic | Show::Gic32 if has_field => Number::AtLeast(field),
        _ => UNKNOWN,
    }
}

/// A field that both kernels make in one way.
fn same(show: Show, field: u64, facts: &Facts<'_>) -> Number {
    match show {
        Show::Unknown => UNKNOWN,
        // Who is not affected stays so; who was may be in the list of a younger kernel.
        Show::Csv3 if field == 0 => UNKNOWN,
        Show::Csv2 if field == 0 && is_unaffected(facts) != Some(false) => UNKNOWN,
        _ => Number::Exactly(field),
    }
}

/// Spectre v2: whether the host says that it is not affected.
fn is_unaffected(facts: &Facts<'_>) -> Option<bool> {
    facts.word(catalog::WORKAROUND_1).map(|level| level == 2)
}

/// What a kernel shows of a number of the hardware.
fn of_hardware(show: Show, number: Number, facts: &Facts<'_>, surface: Surface<'_>) -> Number {
    let is_safe = || surface.meltdown.is_some_and(|text| text.starts_with("Not affected"));
    match (show, number) {
        (Show::Fixed(own), _) => Number::Exactly(own),
        (Show::Hardware, number) => number,
        (Show::AtMost(most), Number::Exactly(own)) if own != 0xf => Number::Exactly(own.min(most)),
        (Show::AtMost(most), Number::AtLeast(least)) if least >= most => Number::Exactly(most),
        (Show::Gic, _) if surface.makes_vgic => Number::Exactly(1),
        (Show::Gic, Number::Exactly(0)) => Number::Exactly(0),
        (Show::Gic32, Number::Exactly(1)) => Number::Exactly(1),
        (Show::AtMost(_), Number::AtLeast(_)) | (Show::Csv2 | Show::Csv3, Number::Exactly(1..)) => number,
        (Show::Csv2, Number::Exactly(0)) => {
            is_unaffected(facts).map_or(UNKNOWN, |safe| Number::Exactly(u64::from(safe)))
        }
        (Show::Csv3, Number::Exactly(0)) if is_safe() => Number::Exactly(1),
        _ => UNKNOWN,
    }
}

/// The AArch32 ID registers of a host without AArch32 read 0, but for what KVM itself puts there (specification, 3.8).
fn without_aarch32(register: RegisterId, facts: &Facts<'_>) -> Told {
    match register {
        ID_DFR0 if facts.config.has("pmu_v3") => Told::but(0, 0xf << 24),
        ID_PFR1 => Told::but(0, 0xf << 28),
        _ => Told::word(0),
    }
}

impl Surface<'_> {
    /// Whether an option chooses a mode in which kernels show or hide VHE differently.
    fn has_mode(&self) -> bool {
        self.option("kvm_arm.mode=nvhe") || self.option("kvm_arm.mode=protected")
    }

    /// Whether an option takes fields of ID registers away.
    fn overrides(&self) -> bool {
        self.option("arm64.") || self.option("id_aa64")
    }

    pub(super) fn option(&self, begins: &str) -> bool {
        self.boot_options.iter().any(|option| option.starts_with(begins))
    }
}
