//! Restore policies by name, and how hosts judge under them. The table of VMMs is in [`crate::vmms`].

use std::fmt;
use std::num::NonZeroU8;

use crate::catalog::{self, Gate, Kind};
use crate::host::{context_gate, context_in};
use crate::id::{Group, RegisterId};
use crate::making::NotMade;
use crate::rules::{self, Context};
use crate::set::RegisterSet;
use crate::value::Value;
use crate::vcpu::VcpuConfig;
use crate::vmms::{OWN, Order, VMMS, VmmRow, VmmRule, name_of, number_of};

/// `VENDOR_HYP_BMAP_2`: QEMU 11.1 lets it be in the stream only, if its value is 0.
pub(crate) const TOLERATED_ZERO: RegisterId = RegisterId::firmware_bitmap(3);

/// How a VMM restores a register set: a handle to a row of the table of VMMs. The default is `kvm`, no VMM at all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Policy(u8);

/// One way in which a VM may be restored.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// The releases of the VMM that restore so.
    pub(crate) names: Vec<&'static str>,
    /// Their rule.
    pub(crate) rule: &'static VmmRule,
    /// How the VM's vCPU was made.
    pub(crate) vcpu: VcpuConfig,
}

impl Policy {
    /// All policies, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..).zip(VMMS).map(|(number, _)| Self(number))
    }

    /// Each pair by the VMM that its host tells, else by that of its VM. No row of the table, and no VMM.
    pub const OWN: Self = Self(u8::MAX);

    /// The row of the table.
    pub fn row(self) -> &'static VmmRow {
        VMMS.get(usize::from(self.0)).unwrap_or(&OWN)
    }

    /// The number by which sets and hosts tell it; none of [`Policy::OWN`].
    pub fn number(self) -> Option<NonZeroU8> {
        number_of(self.row().name)
    }

    /// How pairs of a fleet are judged by this name: as [`Policy::named`], or [`Policy::OWN`].
    ///
    /// # Errors
    ///
    /// As for [`Policy::named`].
    pub fn asked(name: &str) -> Result<Self, String> {
        if name == OWN.name { Ok(Self::OWN) } else { Self::named(name) }
    }

    fn told(number: NonZeroU8) -> Option<Self> {
        name_of(number).and_then(Self::from_name)
    }

    /// The policy by which a pair is judged whose VM and host tell these VMMs. The host's decides: it is what restores. One that
    /// tells `kvm` tells of no VMM.
    pub(crate) fn of_pair(self, vm: Option<NonZeroU8>, host: Option<NonZeroU8>) -> Result<Self, NotMade> {
        if self != Self::OWN {
            return Ok(self);
        }
        let (vm, host) = (vm.and_then(Self::told), host.and_then(Self::told));
        let plain = Some(Self::default());
        match (vm.filter(|_| vm != plain), host.filter(|_| host != plain)) {
            (Some(vm), Some(host)) if vm.row().family() != host.row().family() => {
                Err(NotMade::OtherVmm { vm: vm.row().name, host: host.row().name })
            }
            (_, Some(one)) | (Some(one), None) => Ok(one),
            (None, None) => host.or(vm).ok_or(NotMade::VmmNotTold),
        }
    }

    /// The policy of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|policy| policy.row().name == name)
    }

    /// The policy of this name, or a sentence that names the nearest or all.
    ///
    /// # Errors
    ///
    /// When there is no such row in the table.
    pub fn named(name: &str) -> Result<Self, String> {
        Self::from_name(name).ok_or_else(|| {
            let unknown = format!("vmm `{name}` is not known");
            nearest(name).map_or_else(
                || {
                    let names: Vec<&str> = VMMS.iter().map(|row| row.name).collect();
                    format!("{unknown}; expected one of {}", names.join(", "))
                },
                |near| format!("{unknown}; the nearest is {near}"),
            )
        })
    }

    /// The policy that speaks for VMs, or hosts, of all these: one of them where they restore alike, else the name without a
    /// release that is judged by the rules of them all; `None` where there is none.
    ///
    /// # Errors
    ///
    /// When there is no such row in the table; the sentence is that of [`Policy::named`].
    pub fn of_all(names: &[&str]) -> Result<Option<Self>, String> {
        let mut policies = names.iter().map(|name| Self::named(name)).collect::<Result<Vec<Self>, String>>()?;
        policies.sort_unstable();
        policies.dedup();
        let Some(first) = policies.first().copied() else { return Ok(None) };
        let is_like_first = |one: &Self| one.row().releases.is_empty() && one.row().is_judged_as(first.row());
        if policies.len() == 1 || policies.iter().all(is_like_first) {
            return Ok(Some(first));
        }
        let rules = |policy: Self| policy.row().each().map(|row| &row.rule);
        let covers = |family: &Self| {
            let covered = |rule| rules(*family).any(|known| known == rule);
            policies.iter().flat_map(|one| rules(*one)).all(covered)
        };
        Ok(Self::all().filter(|one| !one.row().releases.is_empty()).find(covers))
    }

    /// The registers of `set` that this VMM writes with `KVM_SET_ONE_REG`, in its order.
    pub fn writes(self, set: &RegisterSet) -> Vec<RegisterId> {
        let rule = &self.row().rule;
        let mut found: Vec<RegisterId> =
            set.registers().iter().map(|(register, _)| *register).filter(|register| rule.carries(*register)).collect();
        found.sort_by_key(|register| rule.write_order(*register, set));
        found
    }

    /// The ways in which this policy is judged for a VM made like `saved`: each vCPU that it may have, by each rule.
    pub(crate) fn ways(self, saved: VcpuConfig) -> Vec<Way> {
        let by_rule = |vcpu| self.rules(vcpu).into_iter().map(move |(names, rule)| Way { names, rule, vcpu });
        saved.may_be().into_iter().flat_map(by_rule).collect()
    }

    /// The rules as which this policy is judged for a VM made like `saved`, each once, with the names that share it.
    fn rules(self, saved: VcpuConfig) -> Vec<(Vec<&'static str>, &'static VmmRule)> {
        let row = self.row();
        let releases = || VMMS.iter().filter(|release| row.releases.contains(&release.name));
        // Snapshots of one release are not those of another: a VM with a capability that only some of them enable is
        // restored by one of these.
        let any_made = releases().any(|release| release.rule.may_have_made(saved));
        let mut found: Vec<(Vec<&'static str>, &'static VmmRule)> = Vec::new();
        for release in releases().filter(|release| !any_made || release.rule.may_have_made(saved)) {
            match found.iter_mut().find(|(_, rule)| **rule == release.rule) {
                Some((names, _)) => names.push(release.name),
                None => found.push((vec![release.name], &release.rule)),
            }
        }
        if found.is_empty() { vec![(vec![row.name], &row.rule)] } else { found }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().name)
    }
}

/// The known release of the same VMM that is nearest to `name`.
fn nearest(name: &str) -> Option<&'static str> {
    let split = |name: &str| {
        let (vmm, version) = name.rsplit_once('-').filter(|(_, version)| version.starts_with(char::is_numeric))?;
        let mut parts = version.split('.').map_while(|part| part.parse::<u64>().ok());
        Some((vmm.to_owned(), parts.next()?.min(1 << 32), parts.next().unwrap_or(0).min((1 << 20) - 1)))
    };
    let (wanted, major, minor) = split(name).or_else(|| Some((name.to_owned(), 0, 0)))?;
    let place = |major: u64, minor: u64| major << 20 | minor;
    VMMS.iter()
        .filter(|row| row.releases.is_empty())
        .filter_map(|row| {
            let (vmm, known, part) = split(row.name)?;
            (vmm == wanted).then(|| (place(known, part).abs_diff(place(major, minor)), row.name))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, near)| near)
}

/// The groups in the order in which KVM lists them; other groups stand with the system registers.
const LISTED_GROUPS: [Group; 6] =
    [Group::Core, Group::Sve, Group::Firmware, Group::FirmwareBitmap, Group::System, Group::Demux];

/// What kernels before `VENDOR_HYP_BMAP_2` (6.15) list before all other system registers: timers, until 6.18 where that lists them
/// among the others; then the registers that they listed as invariant, until 6.15 (CLIDR and CTR up to 6.1; seen on 5.10, 6.1, 6.12).
pub const LISTED_FIRST: [RegisterId; 11] = [
    RegisterId::system(3, 3, 14, 3, 1),
    TIMER_CNT,
    TIMER_CVAL,
    RegisterId::system(3, 3, 14, 2, 1),
    RegisterId::system(3, 3, 14, 0, 1),
    RegisterId::system(3, 3, 14, 2, 2),
    RegisterId::system(3, 0, 0, 0, 0),
    RegisterId::system(3, 0, 0, 0, 6),
    RegisterId::system(3, 1, 0, 0, 1),
    RegisterId::system(3, 1, 0, 0, 7),
    RegisterId::system(3, 3, 0, 0, 1),
];
/// The ids of these two are swapped in KVM; newer kernels list them at the places that the architecture gives them.
const TIMER_CNT: RegisterId = RegisterId::system(3, 3, 14, 3, 2);
const TIMER_CVAL: RegisterId = RegisterId::system(3, 3, 14, 0, 2);

/// Where `register` stands in the list of the kernel that `set` was saved on, as far as the set tells which it was.
fn list_place(register: RegisterId, set: &RegisterSet) -> (u8, u64) {
    let group = match register.group() {
        Group::Core => return (1, register.raw() & 0xffff),
        Group::Other => Group::System,
        group => group,
    };
    let rank = (1..).zip(LISTED_GROUPS).find_map(|(rank, listed)| (listed == group).then_some(rank)).unwrap_or(u8::MAX);
    // Of a kernel from 6.15 to 6.17, which lists timers as before, a set does not tell that it is none of a later one.
    let is_new = set.get(TOLERATED_ZERO).is_some();
    let place = match LISTED_FIRST.iter().position(|first| *first == register) {
        Some(first) if !is_new => first as u64,
        _ if is_new && register == TIMER_CNT => TIMER_CVAL.raw(),
        _ if is_new && register == TIMER_CVAL => TIMER_CNT.raw(),
        _ => register.raw(),
    };
    (rank, place)
}

impl VmmRule {
    /// Where `register` stands among the writes of `set`.
    pub(crate) fn write_order(&self, register: RegisterId, set: &RegisterSet) -> (u8, u64) {
        if register == RegisterId::SVE_VLS {
            return (0, 0);
        }
        if register.is_surrounding() {
            return (u8::MAX, register.raw());
        }
        let saved = || set.place(register).map_or_else(|| list_place(register, set), |place| (1, u64::from(place)));
        match self.order {
            Order::Ascending => (1, register.raw()),
            // QEMU writes core registers when all of the list is written (`kvm_arch_put_registers`).
            Order::ListThenCore => (if register.group() == Group::Core { 2 } else { 1 }, register.raw()),
            Order::Saved => saved(),
            Order::CoreThenSaved => match register.group() {
                Group::Core => (1, register.raw() & 0xffff),
                Group::Sve => (2, register.raw()),
                _ => {
                    let (rank, place) = saved();
                    (rank + 2, place)
                }
            },
            Order::Groups => match register.group() {
                Group::Core => (1, register.raw()),
                Group::Sve | Group::System | Group::Other => (2, register.raw()),
                Group::Demux => (3, register.raw()),
                Group::Firmware | Group::FirmwareBitmap => (4, register.raw()),
                // Written after all registers, see above.
                Group::Surrounding => (u8::MAX, register.raw()),
            },
        }
    }
}

/// The field of the VM's own ID registers that decides about `register`.
pub(crate) fn gate_of(register: RegisterId) -> Option<Gate> {
    context_gate(catalog::kind_of(register))
}

/// What decides about `register` in a saved set; registers that the host `refused` keep the host's own value.
pub(crate) fn context_of(register: RegisterId, set: &RegisterSet, refused: &[RegisterId]) -> Context {
    context_in(register, |holder| set.get(holder).filter(|_| !refused.contains(&holder)))
}

/// Whether KVM looks at every value of `register`, so that it is a unit of its own.
pub(crate) fn is_judged_by_value(register: RegisterId) -> bool {
    catalog::kind_of(register).is_always_looked_at()
}

/// Whether every host keeps most values of `register`, so that it is a unit for the VMs alone that have others.
pub(crate) fn is_mostly_kept(register: RegisterId) -> bool {
    catalog::kind_of(register).is_mostly_kept()
}

/// Whether KVM looks at values of `register`: at every one, or at those that not every host keeps.
pub fn is_looked_at(register: RegisterId) -> bool {
    is_judged_by_value(register) || is_mostly_kept(register)
}

/// Whether every host keeps this value of a register that [`is_mostly_kept`].
pub(crate) fn is_kept_anywhere(register: RegisterId, value: &Value, context: Context) -> bool {
    if register.group() == Group::Sve {
        // Every vector has a quadword.
        return rules::quadwords(register, value) <= usize::from(context.unwrap_or(1));
    }
    rules::judged_state(register, value) == Some(0)
}

/// Whether a fleet may know only a part of such a value of `register`, see [`judged_value`].
pub(crate) fn is_reduced(register: RegisterId, value: Option<&Value>) -> bool {
    let paired = Some(rules::pmu_context(None, rules::PmuNames::Alike));
    value.is_some_and(|value| rules::judged_state(register, value).is_some())
        || catalog::kind_of(register) == Kind::StealTime
        || rules::judged_pmu_bits(register, u64::MAX, paired) != u64::MAX
}

#[cfg(test)]
mod tests;
