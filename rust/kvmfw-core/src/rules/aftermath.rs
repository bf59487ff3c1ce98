//! What becomes of a set that was taken: its registers and the first `KVM_RUN` change each other (specification, 5).
//!
//! KVM answers to single writes; a guest sees what is there once it runs. This is the one place that knows the
//! difference. The verdict and the fleet ask it for a set as a whole, in the list unit.

pub use self::change::Mask;
use self::change::find;
pub(crate) use self::change::{Change, Fate};
use self::does::Does;
use self::reload::Reload;
pub(crate) use self::reload::{Resets, holds_a_count, left_resets, reset_by};
use super::facts::Facts;
use super::release::Release;
use super::trees;
use crate::answers::{Answer, State};
use crate::catalog::{
    self, CNTPCT, CNTVOFF_EL2, ID_AA64ISAR2, ID_AA64MMFR1, ID_AA64MMFR3, ID_AA64PFR0, ID_PFR1, Kind, SCTLR, TIMER_CNT,
    VMPIDR_EL2,
};
use crate::id::RegisterId;
use crate::judgement::Evidence;
use crate::value::Value;

/// A 4-bit field: its register, its lowest bit, its name.
pub(crate) type Field = (RegisterId, u32, &'static str);

const GIC: Field = catalog::GIC.place();
const GIC_32: Field = (ID_PFR1, 28, "GIC");
const GCIE: Field = catalog::GCIE.place();
const TCRX: Field = catalog::TCRX.place();
const S1PIE: Field = catalog::S1PIE.place();
const S1POE: Field = catalog::S1POE.place();
const ATS1A: Field = (ID_AA64ISAR2, 60, "ATS1A");
const HPDS: Field = (ID_AA64MMFR1, 12, "HPDS");
/// The fields that decide in every VM.
pub(crate) const FIELDS: [Field; 8] = [GIC, GIC_32, GCIE, TCRX, S1PIE, S1POE, ATS1A, HPDS];

/// Fields that the first run takes away where one of others is 0 (`id_aa64mmfr3_el1_feat_map` in `config.c`, 7.3.4).
const DEPENDENT: [(Field, &[Field]); 2] = [(S1PIE, &[TCRX, ATS1A]), (S1POE, &[TCRX, ATS1A, HPDS])];

const GIC_UNKNOWN: &str = "the first run of a VM without an interrupt controller clears GIC on known kernels from 6.12 on; \
    probe this host";
const GIC_SET_UNKNOWN: &str = "the first run of a VM with an interrupt controller sets GIC on known kernels from 7.1 on; \
    probe this host";
const GIC_MADE_UNKNOWN: &str = "making the interrupt controller after the registers sets GIC on known kernels from 6.18.15 on; \
    probe this host";
const GIC_V2_UNKNOWN: &str = "6.12 and 7.2 clear GIC of a VM with a GICv2 at its first run, releases between do not, or when the GICv2 is \
    made; of this one it is not known";
const SETS_GIC: &str = "making the interrupt controller late, or the first run, sets GIC to what it is";
const DEPENDENT_UNKNOWN: &str = "7.3.4 takes the field away at the first run, 7.2.12 does not; probe this host";
const MASK_UNKNOWN: &str =
    "what the first run leaves of its bits is not known; probe this host with this vCPU configuration";

/// The last release that was seen to leave to a VM with an interrupt controller what it has (run).
const LAST_WITHOUT: Release = Release::new(7, 0, 13);

const fn bits(field: Field) -> u64 {
    0xf << field.1
}

/// The saved registers that the aftermath looks at, with the bits of them, ascending by id: `ids` ascend. `nested`: whether the
/// vCPU has EL2.
pub(crate) fn looked_at(ids: &[RegisterId], nested: bool) -> Vec<(RegisterId, u64)> {
    let looked_at = ids.iter().filter_map(|id| {
        let whole = id.size() <= 8 && (is_masked(*id) || *id == CNTVOFF_EL2 || is_identification(*id));
        let some = fields_of(*id) | reload::bits(*id) | version::bits(*id);
        let bits = if nested && whole { u64::MAX } else { some };
        (bits != 0).then_some((*id, bits))
    });
    looked_at.collect()
}

/// Whether a register has a field that tells of an interrupt controller, which the first run may rewrite.
pub(crate) fn tells_of_vgic(register: RegisterId) -> bool {
    [GIC, GIC_32, GCIE].iter().any(|field| field.0 == register)
}

fn fields_of(register: RegisterId) -> u64 {
    FIELDS.into_iter().filter(|field| field.0 == register).fold(0, |all, field| all | bits(field))
}

fn is_identification(register: RegisterId) -> bool {
    catalog::kind_of(register) == Kind::Identification
}

/// Whether nested VMs have reserved bits in this register (`kvm_init_nv_sysregs` in `nested.c`, 7.3.4).
pub(super) fn is_masked(register: RegisterId) -> bool {
    match catalog::kind_of(register) {
        Kind::Masked => true,
        // Of those behind a field, permission indirection and overlay have none.
        Kind::Gated(gate) => {
            let [_, op1, ..] = register.encoding();
            gate.field == "SCTLRX" || (op1 == 4 && gate.field != "S1PIE" && gate.field != "S1POE")
        }
        _ => register == SCTLR,
    }
}

/// The masks that are known, with their evidence: those of `VMPIDR_EL2`, the same in all kernels (run on 6.16.12, 7.0.13,
/// 7.3.4), and what a vCPU that had run made of all ones and of zeros.
pub(super) fn masks(facts: &Facts<'_>) -> Vec<(RegisterId, Mask, Evidence)> {
    const VMPIDR: Mask = Mask { zeros: 0xffff_ff00_7f00_0000, ones: 0x8000_0000 };
    let mut masks = vec![(VMPIDR_EL2, VMPIDR, Evidence::Derived)];
    let answers = facts.answers.unwrap_or_default();
    for (register, _, answers) in answers.iter().filter(|(id, state, _)| *state == State::Exited && is_masked(*id)) {
        let reads = |word: u64| match answers.answer(&Value::Word(word), false)? {
            Answer::Kept => Some(word),
            Answer::Changed(read) => read?.word(),
            Answer::Refused(_) => None,
        };
        if let (Some(ones), Some(zeros)) = (reads(u64::MAX), reads(0)) {
            masks.retain(|(known, ..)| known != register);
            masks.push((*register, Mask { zeros: !ones, ones: zeros }, Evidence::Measured));
        }
    }
    masks
}

/// The interrupt controller of a VM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Controller {
    /// Whether the VM runs with one in the kernel.
    pub(crate) runs: bool,
    /// Whether the VMM makes it after the registers.
    pub(crate) late: bool,
    /// Whether the VM of which the facts were recorded had one.
    pub(crate) recorded: bool,
}

/// What a host makes of sets, in one vCPU configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Aftermath {
    /// Whether the VM runs with an interrupt controller in the kernel.
    vgic: bool,
    /// Whether the first run clears the GIC fields (no interrupt controller), or sets them (a `GICv3`).
    gic: Does,
    /// Whether the fields are 0 where the interrupt controller is a `GICv2`.
    gic_v2: Does,
    /// Whether the first run takes [`DEPENDENT`] fields away.
    dependent: Does,
    masks: Vec<(RegisterId, Mask, Evidence)>,
    /// What becomes of a PMU; `None` without one.
    reload: Option<Reload>,
    /// Whether the registers that show its version are one number.
    one_version: Does,
    /// The host's own values of what is looked at, ascending by id.
    own: Vec<(RegisterId, u64)>,
}

impl Aftermath {
    /// What a host with these facts makes of sets.
    pub(crate) fn derive(facts: &Facts<'_>, controller: Controller) -> Self {
        let ids: Vec<RegisterId> = facts.registers.iter().map(|(id, _)| *id).collect();
        let nested = facts.config.has("has_el2");
        let (gic, dependent, reload) = (gic(facts, controller), dependent(facts), Reload::derive(facts));
        // Values that no answer depends on would make hosts differ that judge alike.
        let is_read = |id: RegisterId| {
            nested
                || (tells_of_vgic(id) && gic != Does::No)
                || (fields_of(id) != 0 && !tells_of_vgic(id) && dependent != Does::No)
                || (reload::bits(id) != 0 && reload.is_some())
        };
        let own = looked_at(&ids, nested).into_iter().filter(|(id, _)| is_read(*id));
        let own = own.filter_map(|(id, bits)| Some((id, facts.bits(id, bits)?))).collect();
        let masks = if nested { masks(facts) } else { Vec::new() };
        let gic_v2 = if controller.runs { Does::Unknown(GIC_V2_UNKNOWN) } else { gic_v2(facts, gic) };
        let one_version = version::is_one(facts);
        Self { vgic: controller.runs, gic, gic_v2, dependent, masks, reload, one_version, own }
    }

    /// What becomes of a set with these registers, and these values of what is [`looked_at`].
    pub(crate) fn changes(&self, ids: &[RegisterId], saved: &[(RegisterId, u64)]) -> Vec<Change> {
        let mut changes = Vec::new();
        self.gic_changes(saved, &mut changes);
        self.dependent_changes(ids, saved, &mut changes);
        self.mask_changes(saved, &mut changes);
        changes.extend(self.reload.iter().flat_map(|reload| reload.changes(saved, &self.own)));
        changes.extend(version::change(saved, self.one_version));
        let offset = find(saved, CNTVOFF_EL2).is_some_and(|offset| Some(offset) != find(&self.own, CNTVOFF_EL2));
        for counter in [TIMER_CNT, CNTPCT] {
            if offset && ids.contains(&counter) {
                let why = "CNTVOFF_EL2 is written after the counter and moves it";
                changes.push(Change { register: counter, fate: Fate::Moved, evidence: Evidence::Derived, why });
            }
        }
        changes.sort_by_key(|change| change.register);
        changes
    }

    fn gic_changes(&self, saved: &[(RegisterId, u64)], changes: &mut Vec<Change>) {
        let is_v2 = find(saved, RegisterId::VGIC_V2).is_some();
        let does = if is_v2 && self.gic != Does::No { self.gic_v2 } else { self.gic };
        // A set that says GIC 0 in its ID_AA64PFR0_EL1 says so for the VM; its ID_PFR1_EL1 is not looked at then.
        let said = find(saved, GIC.0).is_some_and(|word| word & bits(GIC) == 0);
        for field in [GIC, GIC_32, GCIE] {
            if field == GIC_32 && said && !self.vgic {
                continue;
            }
            let present = find(&self.own, field.0).is_some_and(|own| own & bits(field) != 0);
            let Some(word) = find(saved, field.0).filter(|_| present) else { continue };
            let (ones, why) = match (self.vgic, field) {
                (false, _) if is_v2 => (0, "the first run clears GIC, as the interrupt controller is a GICv2"),
                (false, _) => (0, "the first run clears GIC, as there is no interrupt controller in the kernel"),
                (true, GCIE) => continue,
                (true, _) => (1 << field.1, SETS_GIC),
            };
            let change = |fate, evidence| Change { register: field.0, fate, evidence, why };
            match does {
                _ if word & bits(field) == ones => {}
                Does::No => {}
                Does::NotToOwn(_) if self.is_own(saved, field) => {}
                Does::Yes(evidence) => changes.push(change(Fate::Bits(Mask { zeros: bits(field), ones }), evidence)),
                Does::NotToOwn(needs) | Does::Unknown(needs) => {
                    changes.push(change(Fate::Unknown(needs), Evidence::None));
                }
            }
        }
    }

    /// Whether a set has in this field what a VM of this host has.
    fn is_own(&self, saved: &[(RegisterId, u64)], field: Field) -> bool {
        let of = |words| find(words, field.0).map(|word| word & bits(field));
        of(saved).is_none_or(|word| of(&self.own) == Some(word))
    }

    fn dependent_changes(&self, ids: &[RegisterId], saved: &[(RegisterId, u64)], changes: &mut Vec<Change>) {
        let Some(word) = find(saved, ID_AA64MMFR3) else { return };
        // Every kernel lists its ID registers: what neither the set nor the host has is not judged.
        let lacks = |field: &Field| {
            let word = find(saved, field.0).or_else(|| find(&self.own, field.0));
            word.is_some_and(|word| word & bits(*field) == 0)
        };
        let taken = DEPENDENT.iter().filter(|(field, needed)| word & bits(*field) != 0 && needed.iter().any(lacks));
        let taken: Vec<Field> = taken.map(|(field, _)| *field).collect();
        let why = match taken.as_slice() {
            [] => return,
            [S1PIE] => "the first run takes S1PIE away, as TCRX or ID_AA64ISAR2_EL1.ATS1A is 0",
            [S1POE] => "the first run takes S1POE away, as TCRX, ID_AA64ISAR2_EL1.ATS1A or ID_AA64MMFR1_EL1.HPDS is 0",
            _ => "the first run takes S1PIE and S1POE away, as TCRX or ID_AA64ISAR2_EL1.ATS1A is 0",
        };
        let zeros = taken.iter().fold(0, |all, field| all | bits(*field));
        let (fate, gone, evidence) = match self.dependent {
            Does::No => return,
            Does::NotToOwn(_) if [S1PIE, S1POE, TCRX, ATS1A, HPDS].iter().all(|field| self.is_own(saved, *field)) => {
                return;
            }
            Does::Yes(evidence) => (Fate::Bits(Mask { zeros, ones: 0 }), Fate::Gone, evidence),
            Does::NotToOwn(needs) | Does::Unknown(needs) => {
                (Fate::Unknown(needs), Fate::Unknown(needs), Evidence::None)
            }
        };
        changes.push(Change { register: ID_AA64MMFR3, fate, evidence, why });
        let behind = ids.iter().filter(|id| match catalog::kind_of(**id) {
            Kind::Gated(gate) => taken.iter().any(|field| (field.0, field.2) == (gate.register, gate.field)),
            _ => false,
        });
        changes.extend(behind.map(|id| Change { register: *id, fate: gone, evidence, why }));
    }

    /// The masks are made from the VM's ID registers: what is known of them is known for those of a fresh vCPU.
    fn mask_changes(&self, saved: &[(RegisterId, u64)], changes: &mut Vec<Change>) {
        const WHY: &str = "the first run of a nested VM takes reserved bits away";
        let own_ids = || saved.iter().all(|(id, word)| !is_identification(*id) || find(&self.own, *id) == Some(*word));
        let masked =
            saved.iter().filter(|(id, word)| is_masked(*id) && find(&self.own, *id).is_some_and(|own| own != *word));
        let masked: Vec<_> = masked.collect();
        let as_seen = !masked.is_empty() && own_ids();
        for (register, word) in masked {
            let known = self.masks.iter().find(|(id, ..)| id == register);
            match known.filter(|(id, ..)| as_seen || *id == VMPIDR_EL2) {
                Some((_, mask, _)) if mask.of(*word) == *word => {}
                Some((_, mask, evidence)) => {
                    changes.push(Change {
                        register: *register,
                        fate: Fate::Bits(*mask),
                        evidence: *evidence,
                        why: WHY,
                    });
                }
                None => {
                    let fate = Fate::Unknown(MASK_UNKNOWN);
                    changes.push(Change { register: *register, fate, evidence: Evidence::None, why: WHY });
                }
            }
        }
    }
}

/// 12.10: without an interrupt controller the first run clears the GIC fields where GIC is writable, which came in the same
/// series (6.12, commit 5cb57a1aff75). With one, 7.1 and later set them to what it is.
fn gic(facts: &Facts<'_>, controller: Controller) -> Does {
    if facts.hidden_bits(ID_AA64PFR0) & bits(GIC) != 0 {
        return Does::Unknown(GIC_UNKNOWN);
    }
    let own = facts.bits(ID_AA64PFR0, bits(GIC)).unwrap_or(0);
    if controller.runs {
        // A host without a GICv3 makes another interrupt controller.
        if own == 0 {
            return Does::No;
        }
        // 3.4: making one after the registers sets them too.
        let does = if controller.late {
            Does::between(facts, GIC_MADE_UNKNOWN, Release::new(6, 17, 8), Release::new(6, 18, 15))
        } else {
            Does::between(facts, GIC_SET_UNKNOWN, LAST_WITHOUT, Release::new(7, 1, 8))
        };
        return match does {
            // The fields read otherwise before there is an interrupt controller.
            Does::NotToOwn(needs) if !controller.recorded => Does::Unknown(needs),
            does => does,
        };
    }
    let untouched = facts.trials.unwrap_or_default().iter().find(|trial| trial.written.is_empty());
    if let Some(trial) = untouched.filter(|_| own != 0 && !controller.recorded) {
        return Does::seen(find(&trial.changed, ID_AA64PFR0).is_some());
    }
    if facts.release.is_some_and(trees::is_younger) {
        return Does::Unknown(GIC_UNKNOWN);
    }
    match (facts.mask(ID_AA64PFR0), facts.at_least(6, 12)) {
        (Some(mask), _) if mask & bits(GIC) != 0 => Does::Yes(Evidence::Derived),
        (_, Some(false)) if facts.masks.is_some() || facts.reports_masks != Some(true) => Does::No,
        (None, Some(true)) => Does::Yes(Evidence::Derived),
        _ => Does::Unknown(GIC_UNKNOWN),
    }
}

/// With a `GICv2` 6.12 clears them at the first run as it does `without` an interrupt controller (`kvm_finalize_sys_regs` of 6.12.118,
/// read), and 7.2 and 7.3 do (`kvm_vgic_finalize_idregs` of 7.2.12 and 7.3.4, read); of those between it was not looked up.
fn gic_v2(facts: &Facts<'_>, without: Does) -> Does {
    const KNOWN: [(Release, Release); 2] =
        [(Release::new(6, 12, 1), Release::new(6, 12, 118)), (Release::new(7, 2, 12), Release::new(7, 3, u32::MAX))];
    let is_known = |release: Release| KNOWN.iter().any(|(first, last)| (*first..=*last).contains(&release));
    match without {
        Does::Yes(_) if !facts.is_vendors && facts.release.is_some_and(is_known) => Does::Yes(Evidence::Derived),
        Does::No => Does::No,
        _ => Does::Unknown(GIC_V2_UNKNOWN),
    }
}

/// 7.3.4 does (`kvm_idregs_enforce_dependencies`, read; run), 7.2.12 has no such function (read), 7.0.13 and earlier do not (run).
fn dependent(facts: &Facts<'_>) -> Does {
    let fresh = |field: Field| facts.bits(field.0, bits(field)).unwrap_or(0);
    for trial in facts.trials.unwrap_or_default() {
        let of = |field: Field| find(&trial.written, field.0).map_or_else(|| fresh(field), |word| word & bits(field));
        if of(S1PIE) != 0 && (of(TCRX) == 0 || of(ATS1A) == 0) {
            return Does::seen(find(&trial.changed, ID_AA64MMFR3).is_some());
        }
    }
    Does::between(facts, DEPENDENT_UNKNOWN, Release::new(7, 2, 12), Release::new(7, 3, 4))
}

mod change;
mod does;
mod reload;
#[cfg(test)]
mod tests;
mod version;
