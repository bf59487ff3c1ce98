//! Which registers a kernel lists that is known by its release alone (specification, 1.2 and 2; `sys_reg_descs` in the images of 36
//! kernels of Debian, 5.10.223 to 7.3.4).

use super::kernel::{Kernel, Surface};
use super::state::is_pmu;
use super::value::foretell;
use crate::catalog::{self, CNTPCT, Gate, ID_AA64ISAR1, ID_AA64MMFR1, Kind};
use crate::id::{Group, RegisterId};
use crate::rules::facts::Facts;
use crate::rules::release::{LATE_FEATURES, Release};

/// What shows a register to a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Nothing: the kernel does not have it.
    Nothing,
    Always,
    /// A word by which the vCPU is made.
    Pmu,
    Mte,
    /// A field of the VM's ID registers.
    Field(Gate),
}

const fn system(op1: u64, crn: u64, crm: u64, op2: u64) -> RegisterId {
    RegisterId::system(3, op1, crn, crm, op2)
}

const PMMIR: RegisterId = system(0, 9, 14, 6);
const SCTLR2: RegisterId = system(0, 1, 0, 3);
/// Registers that some known kernels have and others do not, beside those of a PMU.
#[rustfmt::skip]
const CHANGING: [RegisterId; 24] = [
    RegisterId::system(2, 0, 1, 1, 4),                                                      // OSLSR_EL1
    system(0, 1, 0, 5), system(0, 1, 0, 6), system(0, 5, 6, 0), system(0, 5, 6, 1),         // RGSR, GCR, TFSR, TFSRE0
    SCTLR2, system(0, 2, 0, 3), system(0, 10, 2, 2), system(0, 10, 2, 3),                   // TCR2, PIRE0, PIR
    system(0, 10, 2, 4), system(3, 10, 2, 4), system(3, 4, 4, 2),                           // POR_EL1, POR_EL0, FPMR
    CNTPCT, system(3, 14, 2, 1), system(3, 14, 2, 2),                                       // CNTP_CTL, CNTP_CVAL
    PMMIR,
    RegisterId::firmware(0), RegisterId::firmware(1), RegisterId::firmware(2), RegisterId::firmware(3),
    RegisterId::firmware_bitmap(0), RegisterId::firmware_bitmap(1), RegisterId::firmware_bitmap(2),
    RegisterId::firmware_bitmap(3),
];

/// All registers that a host may list under another kernel that it does not list now, of those that known kernels have: a nested
/// VM's apart.
fn candidates() -> Vec<RegisterId> {
    let mut found = CHANGING.to_vec();
    found.extend((0..14).map(RegisterId::ccsidr));
    found.extend([
        system(0, 9, 14, 1),
        system(0, 9, 14, 2),
        system(3, 9, 13, 0),
        system(3, 9, 14, 0),
        system(3, 9, 14, 3),
    ]);
    found.extend((0..6).map(|op2| system(3, 9, 12, op2)));
    found.extend((8..16).flat_map(|crm| (0..8).map(move |op2| system(3, 14, crm, op2))));
    found.retain(|register| *register != system(3, 14, 11, 7));
    found
}

/// What shows `register` under `kernel`; `None` where that is not known.
fn by(register: RegisterId, now: bool, kernel: &Kernel) -> Option<By> {
    let since = |has: Option<bool>, by: By| has.map(|has| if has { by } else { By::Nothing });
    let field = |has: Option<bool>| match catalog::kind_of(register) {
        Kind::Gated(gate) => since(has, By::Field(gate)),
        _ => None,
    };
    let since_6_12 = || kernel.has(Release::new(6, 1, 192), Release::new(6, 12, 8));
    match (register.group(), register.encoding()) {
        (Group::Core | Group::Sve, _) => Some(if now { By::Always } else { By::Nothing }),
        (Group::Firmware, _) => since(
            match register.raw() & 0xffff {
                0 => Some(true),
                1 | 2 => kernel.at_least(5, 3),
                3 => has_bhb(kernel),
                _ => Some(false),
            },
            By::Always,
        ),
        (Group::FirmwareBitmap, _) => since(
            match register.raw() & 0xffff {
                0..=2 => kernel.at_least(5, 19),
                3 => kernel.at_least(6, 15),
                _ => Some(false),
            },
            By::Always,
        ),
        (Group::System, [2, 0, 1, 1, 4]) => since(kernel.at_least(5, 18), By::Always),
        (Group::System, [3, 0, 1, 0, 5 | 6] | [3, 0, 5, 6, 0 | 1]) => since(kernel.at_least(5, 13), By::Mte),
        (Group::System, [3, 0, 2, 0, 3] | [3, 0, 10, 2, 2 | 3]) => match (since_6_12(), kernel.at_least(6, 13)) {
            (Some(true), Some(false)) => Some(By::Always),
            (Some(true), gated) => field(gated),
            (has, _) => since(has, By::Always).filter(|by| *by == By::Nothing),
        },
        (Group::System, [3, 0 | 3, 10, 2, 4] | [3, 3, 4, 4, 2]) => field(since_6_12()),
        (Group::System, _) if register == SCTLR2 => field(kernel.has(Release::new(6, 16, 12), Release::new(6, 17, 8))),
        (Group::System, [3, 3, 14, 0, 1] | [3, 3, 14, 2, 1 | 2]) => since(kernel.at_least(6, 4), By::Always),
        (Group::System, _) if register == PMMIR => {
            since(kernel.has(Release::new(7, 2, 13), Release::new(7, 3, 4)), By::Pmu)
        }
        (Group::System, _) if is_pmu(register) => {
            kernel.at_least(5, 11).map(|by_feature| if by_feature { By::Pmu } else { By::Always })
        }
        // What else known kernels have they have alike.
        (Group::System, _) if !now => Some(By::Nothing),
        (Group::System, _) if catalog::kind_of(register) != Kind::Unlisted => Some(By::Always),
        _ => None,
    }
}

/// `WORKAROUND_3` came with 5.17, and into stable series in March 2022; 5.10.223 has it (run).
fn has_bhb(kernel: &Kernel) -> Option<bool> {
    let is_later = kernel.release.is_some_and(|release| {
        let first = Release::new(5, 10, 223);
        release.is_of_line(first) && release >= first
    });
    if is_later { Some(true) } else { kernel.at_least(5, 17).filter(|has| *has) }
}

/// Which registers the vCPU would list under `will`: those that it lists now and those that may come; `None` where that is not known.
pub fn foretell_list(
    facts: &Facts<'_>,
    surface: Surface<'_>,
    was: &Kernel,
    will: &Kernel,
) -> Vec<(RegisterId, Option<bool>)> {
    let listed = facts.registers.iter().map(|(id, _)| *id);
    let mut all: Vec<RegisterId> = listed.chain(candidates()).collect();
    all.sort_unstable();
    all.dedup();
    let nested = facts.config.has("has_el2");
    let is_listed = |register: RegisterId| {
        let now = facts.value(register).is_some();
        if was.is(will) {
            return Some(now);
        }
        if register.group() == Group::Demux {
            return match (will.at_least(6, 3)?, was.at_least(6, 3)?) {
                (true, _) => Some(true),
                (false, false) => Some(now),
                (false, true) => None,
            };
        }
        // Which registers nested VMs have changed from kernel to kernel.
        if nested && register.group() == Group::System && register.encoding()[1] >= 4 {
            return None;
        }
        match by(register, now, will)? {
            By::Nothing => Some(false),
            By::Always => Some(true),
            By::Pmu => Some(facts.config.has("pmu_v3")),
            By::Mte => Some(facts.config.is_enabled("mte")),
            By::Field(gate) => {
                let told = foretell(gate.register, facts, surface, was, will);
                let is_known = told.hidden & 0xf << gate.shift == 0;
                let field = told.value.word().filter(|_| is_known).and_then(|word| gate.of(word))?;
                Some(field >= gate.least)
            }
        }
    };
    all.into_iter().map(|register| (register, is_listed(register))).collect()
}

/// Whether `will` makes the vCPU that `facts` are of, as `was` does; `None` where that is not known.
pub fn foretell_made(facts: &Facts<'_>, surface: Surface<'_>, was: &Kernel, will: &Kernel) -> Option<bool> {
    let config = facts.config;
    let field = |register: RegisterId, shift: u32| facts.bits(register, 0xf << shift).is_some_and(|bits| bits != 0);
    // Up to 5.12 SVE needs VHE (`kvm_vcpu_enable_sve`, 5.10); 5.18 knows pointer authentication by QARMA3.
    let sve = || {
        let has_vhe = field(ID_AA64MMFR1, 8) && !surface.option("kvm_arm.mode=");
        will.at_least(5, 13).filter(|later| *later).or_else(|| has_vhe.then_some(true))
    };
    let keys = || {
        let is_old = field(ID_AA64ISAR1, 4) || field(ID_AA64ISAR1, 8);
        will.at_least(5, 18).filter(|later| *later).or_else(|| is_old.then_some(true))
    };
    let late = || LATE_FEATURES.iter().filter(|(feature, ..)| config.has(feature));
    let has_late = || late().try_fold(true, |all, (_, absent, present)| Some(all && will.has(*absent, *present)?));
    let needed: [(bool, &dyn Fn() -> Option<bool>); 5] = [
        (late().next().is_some(), &has_late),
        (config.is_enabled("mte"), &|| will.at_least(5, 13)),
        (config.is_enabled("writable_imp_id_regs"), &|| will.at_least(6, 15)),
        (config.has("sve"), &sve),
        (config.has("ptrauth_address"), &keys),
    ];
    if was.is(will) {
        return Some(true);
    }
    needed.into_iter().filter(|(is_asked, _)| *is_asked).try_fold(true, |all, (_, has)| Some(all && has()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One point release of each line in which registers came, of those that the rules know to the end.
    const LINES: [&str; 15] = [
        "5.2.21", "5.3.18", "5.10.262", "5.13.19", "5.16.20", "5.17.15", "5.18.19", "5.19.17", "6.1.192", "6.3.13",
        "6.4.16", "6.12.117", "6.14.11", "6.15.11", "7.3.4",
    ];

    #[test]
    fn what_is_foretold_of_lists_is_what_is_said_of_them() {
        let shown = |register, release: &str| {
            let by = by(register, false, &Kernel::new(release, None))?;
            Some(by != By::Nothing)
        };
        let mut compared = 0;
        for register in CHANGING {
            let Some(said) = catalog::listed_by(register) else { continue };
            let first = LINES.iter().position(|release| shown(register, release) == Some(true)).unwrap();
            let line = |release: &str| release.rsplit_once('.').unwrap().0.to_owned();
            let since = line(LINES[first]);
            let last_without = LINES[..first].iter().rfind(|release| shown(register, release) == Some(false));
            let after = last_without.map(|release| format!("after {}", line(release)));
            let is_said = said.contains(&format!("{since} and later"))
                || after.is_some_and(|after| said.contains(&after))
                || last_without.is_none();
            assert!(is_said, "{register}: `{said}`, foretold since {since}");
            compared += usize::from(last_without.is_some());
        }
        assert!(compared >= 14, "{compared}");
    }
}
