//! The register list as a unit: registers that only the set or only the host has, and what becomes of the set as a whole.

mod saved;

pub(crate) use self::saved::{Layout, SavedList, gates};
use crate::Scheme;
use crate::acceptor::Acceptor;
use crate::answers::State;
use crate::catalog::{self, Kind};
use crate::errno::Errno;
use crate::host::HostConfig;
use crate::id::RegisterId;
use crate::judgement::Outcome;
use crate::policy::{TOLERATED_ZERO, is_judged_by_value};
use crate::question::Question;
use crate::rules::aftermath::{Aftermath, Change};
use crate::rules::{Rule, other_name};
use crate::value::Value;
use crate::vmms::{ListTest, VmmRule};

/// `TCR2_EL1`, `PIRE0_EL1` and `PIR_EL1`: QEMU 11.1 lets them be on one side only.
pub(crate) const TOLERATED: [RegisterId; 3] =
    [RegisterId::system(3, 0, 2, 0, 3), RegisterId::system(3, 0, 10, 2, 2), RegisterId::system(3, 0, 10, 2, 3)];

/// What the list unit looks at in a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostList {
    ids: Vec<RegisterId>,
    /// Registers that the target may list, ascending: nobody knows. None of them is in `ids`. Beside each the number of the gate that
    /// hides it where the target lists it, if that is sure.
    unsure: Vec<(RegisterId, Option<u32>)>,
    /// For each entry of `ids` that an ID field may hide: its place, the number of its gate, its rule.
    gated: Vec<(u32, u32, Rule)>,
    /// What becomes of a set that was restored; `None` where it is not restored, or only compared.
    aftermath: Option<Box<Aftermath>>,
    /// Whether the vCPU has SVE, and so no V registers.
    sve: bool,
    rule: &'static VmmRule,
    scheme: Scheme,
}

/// One part of the list unit's judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListFinding {
    /// The VMM could not have saved so many registers.
    Unsaveable { saved: usize, longest: usize },
    /// More registers were saved than the target lists.
    TooMany { saved: usize, own: usize },
    /// The VMM refuses a register that the target does not list.
    Unexpected(RegisterId),
    /// The VMM drops a register that the target does not list.
    Lost(RegisterId),
    /// KVM is asked for a register that the target does not list.
    Missing(RegisterId),
    /// A register of the target that the set lacks is written, but the set's ID registers hide it.
    HiddenOwn(RegisterId, Errno),
    /// A register of the target that the set lacks keeps the target's default.
    HostOnly(RegisterId),
    /// It is not known whether the target lists this register, and that matters.
    Unsure(RegisterId),
    /// A register was taken, but does not stay as it was saved.
    Aftermath(Change),
}

impl ListFinding {
    /// The outcome of this part.
    pub(crate) fn outcome(self, scheme: Scheme) -> Outcome {
        match self {
            Self::Unsaveable { .. }
            | Self::TooMany { .. }
            | Self::Unexpected(_)
            | Self::Missing(_)
            | Self::HiddenOwn(..) => Outcome::Refuse,
            Self::Unsure(_) => Outcome::Unknown,
            Self::Lost(_) | Self::HostOnly(_) if scheme == Scheme::Equal => Outcome::Refuse,
            Self::Lost(_) | Self::HostOnly(_) => Outcome::Change,
            Self::Aftermath(change) => change.effect(None).outcome(),
        }
    }
}

/// Whether this gate hides what is behind it from a VM with these fields.
fn is_hidden_by(gate: Option<u32>, saved: &SavedList) -> bool {
    let Some(number) = gate.and_then(|number| usize::try_from(number).ok()) else { return false };
    gates().get(number).zip(saved.field(number)).is_some_and(|(gate, field)| field < gate.least)
}

impl HostList {
    /// The list of one vCPU configuration of a host, as a VMM meets it. `vgic`: whether the VM runs with an interrupt
    /// controller in the kernel, which some VMMs make only after its registers.
    pub(crate) fn new(config: HostConfig<'_>, vgic: bool, rule: &'static VmmRule, question: Question) -> Self {
        let all = gates();
        let ids: Vec<RegisterId> = config.registers().iter().map(|(id, _)| *id).collect();
        let gated = ids.iter().enumerate().filter_map(|(at, id)| {
            let Kind::Gated(gate) = catalog::kind_of(*id) else { return None };
            let number = all.iter().position(|known| *known == gate)?;
            let Acceptor::Kvm(target) = config.acceptor(*id, Scheme::Kvm, State::Fresh, true) else { return None };
            Some((u32::try_from(at).ok()?, u32::try_from(number).ok()?, target.rule))
        });
        let gated = gated.collect();
        let restored = question.state == State::Fresh;
        let aftermath = restored.then(|| Box::new(config.aftermath(vgic, !rule.vgic_first, question.derive_only)));
        let gate_of = |id: RegisterId| {
            let Kind::Gated(gate) = catalog::kind_of(id) else { return None };
            let number = all.iter().position(|known| *known == gate)?;
            u32::try_from(number).ok().filter(|_| config.hides(gate))
        };
        let unsure = config.hidden().listed.iter().map(|id| (*id, gate_of(*id))).collect();
        Self { ids, unsure, gated, aftermath, sve: config.config().has("sve"), rule, scheme: question.scheme }
    }

    /// The outcome of the list unit. Missing registers that have a unit of their own are judged there.
    pub(crate) fn judge(&self, saved: &SavedList) -> Outcome {
        let mut worst = Outcome::Accept;
        self.each_finding(saved, |finding| {
            let own_unit = matches!(finding, ListFinding::Missing(register) if is_judged_by_value(register));
            if !own_unit {
                worst = worst.max(finding.outcome(self.scheme));
            }
        });
        worst
    }

    /// Every part of the list unit's judgement: the list test, then registers of the host alone.
    pub(crate) fn findings(&self, saved: &SavedList) -> Vec<ListFinding> {
        let mut findings = Vec::new();
        self.each_finding(saved, |finding| findings.push(finding));
        findings
    }

    fn each_finding(&self, saved: &SavedList, mut visit: impl FnMut(ListFinding)) {
        let longest = self.rule.longest_list;
        if saved.ids.len() > longest {
            visit(ListFinding::Unsaveable { saved: saved.ids.len(), longest });
        }
        let carried = |id: &&RegisterId| self.rule.carries(**id);
        let unsure = |id: &&RegisterId| self.unsure.binary_search_by_key(*id, |(known, _)| *known).is_ok();
        let missing =
            |id: &&RegisterId| self.ids.binary_search(id).is_err() && !unsure(id) && !self.is_always_there(**id);
        let only_saved = || saved.ids.iter().filter(carried).filter(missing).copied();
        let asked =
            |id: &&RegisterId| self.rule.asks_kvm(**id) && (self.rule.list_test == ListTest::None || !carried(id));
        saved.ids.iter().filter(asked).filter(missing).for_each(|id| visit(ListFinding::Missing(*id)));
        match self.rule.list_test {
            ListTest::None => {}
            ListTest::Merge => {
                // A target that lists all that it may.
                let own = self.ids.iter().chain(self.unsure.iter().map(|(id, _)| id)).filter(carried).count();
                let stream = saved.ids.iter().filter(carried).count();
                if stream > own {
                    visit(ListFinding::TooMany { saved: stream, own });
                }
                let last = self.ids.iter().rfind(carried);
                for id in only_saved() {
                    // Ids above the target's greatest are never compared: the walk has ended.
                    let reached = Some(&id) < last || stream > own;
                    visit(if reached { ListFinding::Unexpected(id) } else { ListFinding::Lost(id) });
                }
            }
            ListTest::Tolerant => {
                let tolerated =
                    |id: RegisterId| TOLERATED.contains(&id) || (id == TOLERATED_ZERO && !saved.bitmap_2_set);
                // The failure flag is assigned, not accumulated: the last one decides.
                let unsure_after =
                    |id: RegisterId| saved.ids.iter().filter(carried).filter(unsure).any(|other| *other > id);
                let fails = only_saved().last().is_some_and(|id| !tolerated(id) && !unsure_after(id));
                for id in only_saved() {
                    let refused = fails && !tolerated(id);
                    visit(if refused { ListFinding::Unexpected(id) } else { ListFinding::Lost(id) });
                }
            }
        }
        for (id, gate) in &self.unsure {
            let is_saved = saved.ids.binary_search(id).is_ok();
            // What nobody writes and the set's own ID registers hide is not there either way.
            let is_out_of_sight = !is_saved && !self.rule.writes_own_list() && is_hidden_by(*gate, saved);
            if !is_out_of_sight {
                visit(ListFinding::Unsure(*id));
            }
        }
        if let Some(aftermath) = &self.aftermath {
            aftermath
                .changes(&saved.ids, &saved.words)
                .into_iter()
                .filter(|change| !self.scheme.judges(change.register))
                .for_each(|change| visit(ListFinding::Aftermath(change)));
        }
        for (at, id) in self.ids.iter().enumerate() {
            if saved.ids.binary_search(id).is_ok() {
                continue;
            }
            if self.rule.restores_elsewhere(*id) || id.is_core_field() && !saved.has_core {
                continue;
            }
            if self.is_written_as_other_name(*id, saved) {
                continue;
            }
            match self.hidden(at, saved) {
                None => visit(ListFinding::HostOnly(*id)),
                Some(errno) if self.rule.writes_own_list() => visit(ListFinding::HiddenOwn(*id, errno)),
                Some(_) => {}
            }
        }
    }

    /// Whether the set holds this register by its other name, and nothing is written by this one afterwards.
    fn is_written_as_other_name(&self, id: RegisterId, saved: &SavedList) -> bool {
        let is_saved = |other: RegisterId| saved.ids.binary_search(&other).is_ok();
        !self.rule.writes_own_list() && self.scheme != Scheme::Equal && other_name(id).is_some_and(is_saved)
    }

    /// Core registers exist whether or not a dump lists them.
    fn is_always_there(&self, id: RegisterId) -> bool {
        id.is_core_field() && !(id.size() == 16 && self.sve)
    }

    /// The error of writing the host's register at `at`, if the set's ID registers hide it.
    fn hidden(&self, at: usize, saved: &SavedList) -> Option<Errno> {
        let at = u32::try_from(at).ok()?;
        let found = self.gated.binary_search_by_key(&at, |(place, ..)| *place).ok()?;
        let (_, gate, rule) = self.gated.get(found)?;
        rule.judge(&Value::Word(0), saved.field(*gate as usize)).errno()
    }
}

#[cfg(test)]
mod tests {
    use super::saved::{MOST_GATES, NO_FIELD};
    use super::*;
    use crate::policy::Policy;

    const A: RegisterId = RegisterId::system(3, 0, 1, 0, 0);
    const B: RegisterId = RegisterId::system(3, 0, 2, 0, 0);
    const Z: RegisterId = RegisterId::firmware_bitmap(3);

    fn host(vmm: &str, ids: &[RegisterId]) -> HostList {
        let rule = &Policy::from_name(vmm).unwrap().row().rule;
        HostList {
            ids: ids.to_vec(),
            unsure: Vec::new(),
            gated: Vec::new(),
            aftermath: None,
            sve: false,
            rule,
            scheme: Scheme::Kvm,
        }
    }

    fn saved(ids: &[RegisterId], bitmap_2_set: bool) -> SavedList {
        let has_core = ids.iter().any(|id| id.is_core_field());
        SavedList { ids: ids.into(), fields: [NO_FIELD; MOST_GATES], words: Vec::new().into(), bitmap_2_set, has_core }
    }

    #[test]
    fn the_merge_walk_refuses_below_and_drops_above_the_greatest_own_id() {
        let target = host("qemu-10.0", &[A, B]);
        assert_eq!(target.findings(&saved(&[A, Z], false)), [ListFinding::Lost(Z), ListFinding::HostOnly(B)]);
        let target = host("qemu-10.0", &[B, Z]);
        assert_eq!(target.findings(&saved(&[A, B], false)), [ListFinding::Unexpected(A), ListFinding::HostOnly(Z)]);
    }

    #[test]
    fn a_longer_stream_is_refused_before_any_register() {
        let target = host("qemu-7.2", &[A, B]);
        let findings = target.findings(&saved(&[A, B, Z], false));
        assert_eq!(findings, [ListFinding::TooMany { saved: 3, own: 2 }, ListFinding::Unexpected(Z)]);
        assert_eq!(target.judge(&saved(&[A, B, Z], false)), Outcome::Refuse);
    }

    #[test]
    fn in_qemu_11_1_the_last_register_decides() {
        let target = host("qemu-11.1", &[B]);
        assert_eq!(target.judge(&saved(&[A, B, Z], false)), Outcome::Change);
        assert_eq!(target.judge(&saved(&[A, B, Z], true)), Outcome::Refuse);
        assert_eq!(target.findings(&saved(&[A, B, Z], true)), [ListFinding::Unexpected(A), ListFinding::Unexpected(Z)]);
        assert_eq!(target.judge(&saved(&[A, B], false)), Outcome::Refuse);
    }

    #[test]
    fn in_qemu_11_1_a_register_that_may_be_there_takes_the_failure_back_only_behind_the_one_that_fails() {
        const C: RegisterId = RegisterId::system(3, 0, 3, 0, 0);
        let target = |unsure| HostList { unsure: vec![(unsure, None)], ..host("qemu-11.1", &[B]) };
        let lost = [ListFinding::Lost(A), ListFinding::Unsure(C)];
        assert_eq!(target(C).findings(&saved(&[A, B, C], false)), lost);
        let refused = [ListFinding::Unexpected(C), ListFinding::Unsure(A)];
        assert_eq!(target(A).findings(&saved(&[A, B, C], false)), refused);
    }

    #[test]
    fn a_register_that_may_be_there_is_looked_at_unless_the_own_id_registers_hide_it_from_all_who_write() {
        let least = gates()[1].least;
        let findings = |vmm: &str, field: u8, ids: &[RegisterId]| {
            let set =
                SavedList { fields: [NO_FIELD, field].repeat(MOST_GATES / 2).try_into().unwrap(), ..saved(ids, false) };
            HostList { unsure: vec![(B, Some(1))], ..host(vmm, &[A]) }.findings(&set)
        };
        let unsure = [ListFinding::Unsure(B)];
        assert_eq!(findings("kvm", least - 1, &[A]), []);
        for field in [least, least + 1, NO_FIELD] {
            assert_eq!(findings("kvm", field, &[A]), unsure, "{field} hides nothing");
        }
        assert_eq!(findings("kvm", least - 1, &[A, B]), unsure, "it is written");
        assert_eq!(findings("qemu-10.0", least - 1, &[A]), unsure, "the target writes its own");
        let without_gate = HostList { unsure: vec![(B, None)], ..host("kvm", &[A]) };
        assert_eq!(without_gate.findings(&saved(&[A], false)), unsure);
    }

    #[test]
    fn a_list_without_core_registers_does_not_say_that_the_vm_has_none() {
        const X0: RegisterId = RegisterId::new(0x6030_0000_0010_0000);
        const PC: RegisterId = RegisterId::new(0x6030_0000_0010_0040);
        assert_eq!(host("kvm", &[PC, A]).findings(&saved(&[A], false)), []);
        assert_eq!(host("kvm", &[X0, PC]).findings(&saved(&[X0], false)), [ListFinding::HostOnly(PC)]);
        assert_eq!(host("qemu-10.0", &[X0, PC]).findings(&saved(&[X0], false)), []);
    }

    #[test]
    fn without_a_list_test_kvm_is_asked() {
        let target = host("kvm", &[B]);
        assert_eq!(target.findings(&saved(&[A, B], false)), [ListFinding::Missing(A)]);
        assert_eq!(target.judge(&saved(&[B, Z], false)), Outcome::Accept, "bitmaps have a unit of their own");
    }

    #[test]
    fn a_list_may_be_as_long_as_the_vmm_can_save() {
        let ids = |count| -> Vec<RegisterId> { (0..count).map(|at| RegisterId::new(A.raw() + at)).collect() };
        let target = host("cloud-hypervisor-53", &ids(501));
        assert_eq!(target.judge(&saved(&ids(500), false)), Outcome::Change);
        assert_eq!(target.findings(&saved(&ids(501), false)), [ListFinding::Unsaveable { saved: 501, longest: 500 }]);
    }

    #[test]
    fn core_registers_are_there_whether_or_not_the_host_lists_them_but_v_registers_beside_sve() {
        let target = |sve| HostList { sve, ..host("kvm", &[A]) };
        let set = saved(&[RegisterId::PC, A, RegisterId::V0], false);
        assert_eq!(target(false).findings(&set), []);
        assert_eq!(target(true).findings(&set), [ListFinding::Missing(RegisterId::V0)]);
    }

    #[test]
    fn where_equal_is_wanted_a_list_that_differs_is_refused() {
        for finding in [ListFinding::HostOnly(A), ListFinding::Lost(A)] {
            assert_eq!(
                [Scheme::Kvm, Scheme::Equal].map(|scheme| finding.outcome(scheme)),
                [Outcome::Change, Outcome::Refuse]
            );
        }
    }
}
