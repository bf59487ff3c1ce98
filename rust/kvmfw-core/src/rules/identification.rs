//! ID registers, `CTR_EL0` among them (specification, 3.2 to 3.8).

use super::check::NOT_VERSIONED;
use crate::errno::Errno;
use crate::judgement::Effect;
use crate::value::Value;

/// `KVM_CAP_ARM_SUPPORTED_REG_MASK_RANGES`.
pub(crate) const MASKS_CAPABILITY: u32 = 230;

/// Equal but for fields that take 0 and the host's own 1.
pub(super) fn judge_lowered(value: &Value, own: u64, fields: &[u32]) -> Effect {
    let free = fields.iter().fold(0, |bits, shift| bits | 0xf_u64 << shift);
    let taken = value.word().is_some_and(|word| {
        (word ^ own) & !free == 0 && fields.iter().all(|shift| word >> shift & 0xf <= own >> shift & 0xf)
    });
    Effect::kept_if(taken, Errno::EINVAL)
}

/// 6.2 to 6.4: with a PMU any version from `least` up to the host's, without one 0 or "not versioned".
pub(super) fn judge_pmu_version(value: &Value, own: u64, shift: u32, least: u64, has_pmu: bool) -> Effect {
    let taken = value.word().is_some_and(|word| {
        let (version, limit) = (word >> shift & 0xf, own >> shift & 0xf);
        let fits =
            if has_pmu { version >= least && version <= limit } else { version == 0 || version == NOT_VERSIONED };
        (word ^ own) & !(0xf << shift) == 0 && (word == own || fits)
    });
    Effect::kept_if(taken, Errno::EINVAL)
}
