//! What less than a capture tells of a host: a list of registers, or ranges of fields. It refuses only what the rulebook refuses
//! on every host of which it can have been told, and never accepts.

use crate::catalog::{self, Part};
use crate::errno::Errno;
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::rules::{self, Facts};
use crate::value::Value;
use crate::vcpu::VcpuConfig;

/// The registers that one vCPU of a host lists; how that vCPU is made is told by them alone.
#[derive(Clone, Debug)]
pub struct ToldList {
    listed: Vec<RegisterId>,
    parts: Vec<Part>,
}

impl ToldList {
    /// A list in any order.
    pub fn new(mut listed: Vec<RegisterId>) -> Self {
        listed.sort_unstable();
        let mut parts: Vec<Part> = Vec::new();
        for part in listed.iter().filter_map(|id| catalog::parts_of(*id)).flatten() {
            if !parts.contains(part) {
                parts.push(*part);
            }
        }
        Self { listed, parts }
    }

    /// The error with which every vCPU of the host refuses the register; `None` where one may have it: it is listed, or of a part
    /// of a vCPU that the list does not show.
    pub fn refuses(&self, register: RegisterId) -> Option<Errno> {
        let is_shown = catalog::parts_of(register)?.iter().all(|part| self.parts.contains(part));
        if !is_shown || self.listed.binary_search(&register).is_ok() {
            return None;
        }
        rules::derive(register, &Facts::default()).judge(&Value::Word(0), None).errno()
    }
}

/// What a field of an ID register can be set to on a host, lowest and highest.
#[derive(Clone, Copy, Debug)]
pub struct ToldRange {
    /// The register.
    pub register: RegisterId,
    /// The lowest bit of the field.
    pub shift: u32,
    /// How many bits it has.
    pub width: u32,
    /// The least number.
    pub lowest: u64,
    /// The greatest number.
    pub highest: u64,
}

impl ToldRange {
    /// Whether every kernel that keeps this range, and no more beside it, refuses the field of `saved` from a VM made like
    /// `config`. What the field is on a vCPU made otherwise does not tell.
    pub fn refuses(&self, saved: u64, config: VcpuConfig) -> bool {
        config.may_be().into_iter().all(|config| self.refuses_of(saved, config))
    }

    fn refuses_of(&self, saved: u64, config: VcpuConfig) -> bool {
        let Some(mask) = self.mask() else { return false };
        let has = (saved & mask) >> self.shift;
        let depends = config.has("has_el2") || catalog::bits_of_parts(self.register) & mask != 0;
        if depends || (self.lowest..=self.highest).contains(&has) {
            return false;
        }
        let mut fitting = self.hosts(saved, config).filter(|effect| self.fits(effect)).peekable();
        fitting.peek().is_some() && fitting.all(|effect| matches!(effect(has), Effect::Refused(_)))
    }

    fn mask(&self) -> Option<u64> {
        let ones = u64::MAX.checked_shr(64_u32.checked_sub(self.width)?)?;
        (self.width <= MOST_BITS).then_some(ones.checked_shl(self.shift)?)
    }

    /// What becomes of numbers in the field, in a register that is `saved` otherwise: on hosts whose own number is in the range,
    /// whose field is writable or not, with and without AArch32, which decides about more registers than its own.
    fn hosts(&self, saved: u64, config: VcpuConfig) -> impl Iterator<Item = impl Fn(u64) -> Effect> {
        let (register, shift, mask) = (self.register, self.shift, self.mask().unwrap_or(0));
        let word = move |number: u64| Value::Word(saved & !mask | number << shift);
        let hosts = (self.lowest..=self.highest)
            .flat_map(move |own| [0, mask].map(|writable| (own, writable)))
            .flat_map(|(own, writable)| [1, 2].map(|el0| (own, writable, el0)));
        hosts.map(move |(own, writable, el0)| {
            let mut registers = vec![(register, word(own))];
            if register != catalog::ID_AA64PFR0 {
                registers.push((catalog::ID_AA64PFR0, Value::Word(el0)));
                registers.sort_unstable();
            }
            let masks = [(register, writable)];
            let facts = Facts { config, registers: &registers, masks: Some(&masks), ..Facts::default() };
            let rule = rules::derive(register, &facts);
            move |number| rule.judge(&word(number), None)
        })
    }

    /// Whether this host can keep the whole range, and neither number beside it.
    fn fits(&self, effect: &impl Fn(u64) -> Effect) -> bool {
        let beside = [self.lowest.checked_sub(1), self.highest.checked_add(1).filter(|next| next >> self.width == 0)];
        (self.lowest..=self.highest).all(|number| matches!(effect(number), Effect::Kept | Effect::Unknown(_)))
            && beside.into_iter().flatten().all(|number| effect(number) != Effect::Kept)
    }
}

/// Fields that are compared as numbers have no more.
const MOST_BITS: u32 = 8;
