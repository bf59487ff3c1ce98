//! Sentences about what stands beside registers.

use super::fields::{error_in_brackets, refusal};
use crate::acceptor::{Acceptor, is_absent};
use crate::catalog::{self, Kind};
use crate::errno::Errno;
use crate::finding::Finding;
use crate::id::RegisterId;
use crate::judgement::Effect;
use crate::surroundings::Handling;
use crate::value::Value;
use crate::vmms::VmmRule;

/// Why a thing is refused whose value is no number for people; `None` for what is told like a register.
pub(super) fn refusal_sentence(
    register: RegisterId,
    saved: &Value,
    acceptor: &Acceptor,
    effect: &Effect,
) -> Option<String> {
    let Effect::Refused(_) = effect else { return None };
    let own = match acceptor {
        Acceptor::Kvm(target) => target.fresh.as_ref().and_then(Value::word),
        _ => None,
    };
    let why = match (catalog::kind_of(register), own) {
        (Kind::Device, _) if !is_absent(acceptor) => {
            return Some("the VM has a GICv2, and this host makes a GICv3 for VMs".to_owned());
        }
        (Kind::Device, _) => "the VM has a GICv2, and this host makes none for VMs".to_owned(),
        (Kind::StealTime, _) if is_absent(acceptor) => "the VM has steal time, and this host has none".to_owned(),
        // Where it is kept differs between all vCPUs, and fleets know only whether 64 divides it.
        (Kind::StealTime, _) => "the address of steal time is no multiple of 64".to_owned(),
        (Kind::AddressBits, Some(own)) => {
            format!("the VM needs {} bits of guest addresses, this host has {own}", saved.word()?)
        }
        (Kind::PageSize, Some(own)) => {
            format!(
                "the VM was saved on a host with pages of {} KiB, this host has {} KiB",
                saved.word()? >> 10,
                own >> 10
            )
        }
        _ => return None,
    };
    Some(format!("{why}; {}{}", refusal(acceptor), error_in_brackets(effect)))
}

/// Says what follows for the VMM and the guest where something beside registers does not arrive.
pub(crate) fn name_consequence(finding: &mut Finding, rule: &VmmRule) {
    let Some((id, handling)) = finding.register.and_then(|id| Some((id, rule.handles(id)?))) else { return };
    let effect = &finding.judgement.effect;
    let follows = match handling {
        // That QEMU has no room for steal time follows of a host without it alone.
        Handling::Writes(_) if id == RegisterId::PVTIME_IPA && effect.errno() == Some(Errno::EINVAL) => false,
        Handling::Writes(_) | Handling::PrefersV3(_) | Handling::Compares(_) => matches!(effect, Effect::Refused(_)),
        Handling::Leaves(_) => matches!(effect, Effect::Dropped(_)),
    };
    if follows {
        finding.sentence.push_str(handling.consequence());
    }
}
