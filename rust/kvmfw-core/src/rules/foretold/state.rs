//! All other registers: what a fresh vCPU reads in them.

use super::kernel::{Kernel, Told};
use crate::catalog::{self, CNTPCT, CTR, Kind, PMCR, TIMER_CNT};
use crate::id::RegisterId;
use crate::rules::facts::Facts;
use crate::rules::release::Release;

/// What `reset_unknown` writes (`sys_regs.c`, 5.10 to 7.3).
const UNKNOWN: u64 = 0x1de7_ec7e_dbad_c0de;
const OSLSR: RegisterId = RegisterId::system(2, 0, 1, 1, 4);
/// Whether the OS lock is implemented.
const OS_LOCK: u64 = 0x8;
const EXPIRED: u64 = 0x4;
/// `PMCR_EL0.LC`.
const LONG_CYCLES: u64 = 0x40;

/// The value, as far as it follows; `None` where nothing does.
pub(super) fn told(
    register: RegisterId,
    now: Option<u64>,
    facts: &Facts<'_>,
    was: &Kernel,
    will: &Kernel,
) -> Option<Told> {
    let is_nested = facts.config.has("has_el2");
    match catalog::kind_of(register) {
        Kind::CacheLevels => cache_levels(now, facts, was, will),
        Kind::CacheSize => cache_size(register, now, facts, was, will),
        // From 6.18 on reads give what is stored (specification, 4). Those of EL2 are another matter.
        Kind::TimerControl if register.encoding()[1] == 3 => Some(match will.at_least(6, 18) {
            Some(true) => Told::word(0),
            Some(false) => Told::word(EXPIRED),
            None => Told::but(0, EXPIRED),
        }),
        Kind::OsLockStatus => Some(Told::word(now.unwrap_or(OS_LOCK))),
        _ if is_pmu(register) => pmu(register, now, facts, was, will),
        _ if is_nested && register.encoding()[1] >= 4 => None,
        Kind::Unlisted if now.is_none() => None,
        _ => now.map(Told::word).or_else(|| appeared(register).map(Told::word)),
    }
}

/// Registers that came with a younger kernel: what a fresh vCPU reads in them (6.1 to 7.3 run).
fn appeared(register: RegisterId) -> Option<u64> {
    match register {
        OSLSR => Some(OS_LOCK),
        CNTPCT | TIMER_CNT => Some(0),
        _ => match register.encoding() {
            // TCR2_EL1, SCTLR2_EL1, FPMR, CNTP_CVAL_EL0.
            [3, 0, 1 | 2, 0, 3] | [3, 3, 4, 4, 2] | [3, 3, 14, 2, 2] => Some(0),
            // PIRE0_EL1, PIR_EL1.
            [3, 0, 10, 2, 2 | 3] => Some(UNKNOWN),
            _ => None,
        },
    }
}

/// Whether caches are free for the VM, from 6.3 on.
fn are_free(kernel: &Kernel) -> Option<bool> {
    kernel.at_least(6, 3)
}

/// From 6.3 on made up from `CTR_EL0` (`reset_clidr`, 6.12.117 read), before what the hardware has.
fn cache_levels(now: Option<u64>, facts: &Facts<'_>, was: &Kernel, will: &Kernel) -> Option<Told> {
    const DATA: u64 = 2;
    const INSTRUCTIONS: u64 = 1;
    const UNIFIED: u64 = 4;
    match (are_free(was), are_free(will)) {
        (Some(false), Some(false)) => return now.map(Told::word),
        (_, Some(true)) => {}
        _ => return None,
    }
    let ctr = facts.word(CTR)?;
    let (idc, dic) = (ctr >> 28 & 1 != 0, ctr >> 29 & 1 != 0);
    let coherency: u64 = if idc && !dic { 2 } else { 1 };
    let mut word = if idc { UNIFIED << (3 * (coherency - 1)) } else { 1 << 27 | 1 << 21 | DATA };
    if !dic {
        word |= INSTRUCTIONS;
    }
    if facts.config.is_enabled("mte") {
        word |= 2 << (33 + 2 * (coherency - 1));
    }
    Some(Told::word(word | coherency << 24))
}

/// From 6.3 on one set and one way of the shortest line (`get_ccsidr`), before what the hardware has.
fn cache_size(register: RegisterId, now: Option<u64>, facts: &Facts<'_>, was: &Kernel, will: &Kernel) -> Option<Told> {
    match (are_free(was), are_free(will)) {
        (Some(false), Some(false)) => now.map(Told::word),
        (_, Some(true)) => {
            let ctr = facts.word(CTR)?;
            let line = if register.raw() & 1 == 1 { ctr & 0xf } else { ctr >> 16 & 0xf };
            // CTR counts words of 4 bytes, CCSIDR lines of 16 bytes, both as logarithms.
            line.checked_sub(2).map(Told::word)
        }
        _ => None,
    }
}

/// Registers of the PMU: `PMCR_EL0` and its neighbours, counters and their types.
pub(super) fn is_pmu(register: RegisterId) -> bool {
    matches!(register.encoding(), [3, 3, 9, 12..=14, _] | [3, 0, 9, 14, _] | [3, 3, 14, 8..=15, _])
}

/// Their values after a reset: of 5.10 unknown ones as they are, from 6.1 on masked, from 6.12 on by the version of the PMU.
fn pmu(register: RegisterId, now: Option<u64>, facts: &Facts<'_>, was: &Kernel, will: &Kernel) -> Option<Told> {
    let era = |kernel: &Kernel| match (
        kernel.at_least(5, 11),
        kernel.has(Release::new(5, 10, u32::MAX), Release::new(6, 1, 192)),
        kernel.has(Release::new(6, 1, u32::MAX), Release::new(6, 12, 43)),
        kernel.has(Release::new(6, 12, 118), Release::new(6, 16, 3)),
    ) {
        (Some(false), ..) => Some(0),
        (.., Some(true)) => Some(3),
        (_, _, Some(true), Some(false)) => Some(2),
        (_, Some(true), Some(false), _) => Some(1),
        _ => None,
    };
    let (old, new) = (era(was)?, era(will)?);
    match register {
        _ if old == new => now.map(Told::word),
        // Two names that set and clear in 6.12, and replace afterwards.
        catalog::PMOVSSET => None,
        _ if old >= 2 && new >= 2 => now.map(Told::word),
        // The number of counters, and what is always set without AArch32.
        PMCR if new >= 2 => {
            let (set, hidden) = match facts.has_aarch32() {
                Some(true) => (0, 0),
                Some(false) => (LONG_CYCLES, 0),
                None => (0, LONG_CYCLES),
            };
            now.map(|now| Told::but(now & 0xf800 | set, hidden))
        }
        _ => None,
    }
}
