//! What stands beside the registers of a vCPU (docs/semantics.md, section 7): devices and their attributes.
//!
//! `ICC_CTLR_EL1` and `GITS_IIDR` were run on 5.10 to 7.3 (tests/data/arrival). What `vgic-sys-reg-v3.c` checks was read in trees
//! before and after its rewriting (before 5.19, and RHEL's), the form of the ITS in 4.14: the same as what was run. Of steal time
//! only whether a host has it was run; alignment and error are those of `pvtime.c`.

use crate::catalog::Kind;
use crate::errno::Errno;
use crate::judgement::Effect;
use crate::value::Value;

const PRI_BITS: u64 = 0b111 << 8;
const ID_BITS: u64 = 0b111 << 11;
/// SEIS and A3V.
const EXACT: u64 = 0b11 << 14;
/// `CBPR` and `EOImode`.
const STORED: u64 = 0b11;
/// The bits of `GICD_IIDR` that say which revision of the vGIC it is.
const REVISION: u64 = 0xf << 12;
const REVISIONS: [u64; 2] = [2 << 12, 3 << 12];
const FEWEST_ADDRESS_BITS: u64 = 32;
/// The bits of `GITS_IIDR` that say in which form tables are kept; every kernel read knows the form 0 alone.
const ITS_FORM: u64 = 0xf << 12;
/// What KVM keeps of a vCPU without steal time (`INVALID_GPA`), and so what stands for none here.
const NO_STEAL_TIME: u64 = u64::MAX;
const STEAL_TIME_ALIGNED: u64 = 64;

/// How a host decides something beside registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Beside {
    /// `ICC_CTLR_EL1`: at most these priority and ID bits, this SEIS and A3V.
    VgicControl(u64),
    /// `GICD_IIDR`: the host's own value, whose revision may be another one that the kernel knows (from 7.1 on and ported
    /// back); before, any revision is taken and dropped.
    DistributorRevision {
        /// The host's own value.
        own: u64,
        /// Whether another revision is stored.
        stores: bool,
    },
    /// Only the host's own value, else this error; which one may not be known.
    Settled {
        /// The host's own value.
        own: u64,
        /// The error of others.
        errno: Option<Errno>,
    },
    /// The bits of guest addresses: from 32 to these.
    AddressBits(u64),
    /// The bytes of a page: at most these.
    PageSize(u64),
    /// `GITS_IIDR`; the host's own value.
    ItsRevision(u64),
    /// A device that a VM has (1) or has not (0), which the host makes, or refuses with this error.
    Made(Option<Errno>),
    /// Steal time, which the host has, or refuses with this error.
    StealTime(Option<Errno>),
}

impl Beside {
    pub(super) fn judge(self, value: &Value) -> Effect {
        let Some(word) = value.word() else { return Effect::Refused(Some(Errno::EINVAL)) };
        match self {
            Self::VgicControl(own) => {
                let more = |bits: u64| word & bits > own & bits;
                let taken = !more(PRI_BITS) && !more(ID_BITS) && (word ^ own) & EXACT == 0;
                stored(taken, word, word & (PRI_BITS | ID_BITS | EXACT | STORED), own)
            }
            Self::DistributorRevision { own, .. } if word == own => Effect::Kept,
            Self::DistributorRevision { own, stores: true } => {
                stored((word ^ own) & !REVISION == 0 && REVISIONS.contains(&(word & REVISION)), word, word, own)
            }
            Self::DistributorRevision { own, stores: false } => stored((word ^ own) & !REVISION == 0, word, own, own),
            Self::Settled { own, .. } if word == own => Effect::Kept,
            Self::Settled { errno, .. } => Effect::Refused(errno),
            Self::AddressBits(most) => Effect::kept_if((FEWEST_ADDRESS_BITS..=most).contains(&word), Errno::EINVAL),
            Self::PageSize(own) if word <= own => Effect::Kept,
            Self::PageSize(_) => Effect::Refused(None),
            Self::ItsRevision(own) => stored(word & ITS_FORM == 0, word, own, own),
            Self::Made(Some(errno)) if word != 0 => Effect::Refused(Some(errno)),
            Self::Made(_) => Effect::Kept,
            Self::StealTime(_) if word == NO_STEAL_TIME => Effect::Kept,
            Self::StealTime(Some(errno)) => Effect::Refused(Some(errno)),
            Self::StealTime(None) => Effect::kept_if(word.is_multiple_of(STEAL_TIME_ALIGNED), Errno::EINVAL),
        }
    }
}

fn stored(taken: bool, word: u64, reads: u64, own: u64) -> Effect {
    match taken {
        false => Effect::Refused(Some(Errno::EINVAL)),
        true if reads == word => Effect::Kept,
        true if reads == own => Effect::Dropped(Some(Value::Word(own))),
        true => Effect::Rewritten(Some(Value::Word(reads))),
    }
}

/// What the rules look at in a value beside registers: where steal time is kept differs between all vCPUs.
pub(crate) fn judged_beside(kind: Kind, word: u64) -> u64 {
    match kind {
        Kind::StealTime if word != NO_STEAL_TIME => word % STEAL_TIME_ALIGNED,
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: Errno) -> Effect {
        Effect::Refused(Some(errno))
    }

    fn reads(word: u64) -> Effect {
        Effect::Rewritten(Some(Value::Word(word)))
    }

    fn drops_to(word: u64) -> Effect {
        Effect::Dropped(Some(Value::Word(word)))
    }

    #[test]
    fn a_cpu_interface_may_have_less_bits_but_no_other_features() {
        let judge = |word| Beside::VgicControl(0xc00).judge(&Value::Word(word));
        for (word, effect) in [
            (0xc00, Effect::Kept),
            (0x403, Effect::Kept),
            (0, Effect::Kept),
            (0xd00, refused(Errno::EINVAL)),
            (0x1400, refused(Errno::EINVAL)),
            (0x4c00, refused(Errno::EINVAL)),
            (0x8c00, refused(Errno::EINVAL)),
            (0x4_0c40, drops_to(0xc00)),
            (0x4_0440, reads(0x400)),
            (u64::MAX, refused(Errno::EINVAL)),
        ] {
            assert_eq!(judge(word), effect, "{word:#x}");
        }
        let with_seis_and_a3v = Beside::VgicControl(0xcc00);
        assert_eq!(with_seis_and_a3v.judge(&Value::Word(0xc00)), refused(Errno::EINVAL));
        assert_eq!(with_seis_and_a3v.judge(&Value::Word(0xcc00)), Effect::Kept);
    }

    #[test]
    fn of_the_its_only_the_form_of_its_tables_is_looked_at() {
        let judge = |word| Beside::ItsRevision(0x4b00_043b).judge(&Value::Word(word));
        assert_eq!(judge(0x4b00_043b), Effect::Kept);
        assert_eq!(judge(0x4b00_143b), refused(Errno::EINVAL));
        assert_eq!(judge(0), drops_to(0x4b00_043b));
    }

    #[test]
    fn another_revision_of_the_vgic_is_stored_dropped_or_refused() {
        let judge = |stores, word| Beside::DistributorRevision { own: 0x4b00_343b, stores }.judge(&Value::Word(word));
        assert_eq!([true, false].map(|stores| judge(stores, 0x4b00_343b)), [Effect::Kept, Effect::Kept]);
        assert_eq!([true, false].map(|stores| judge(stores, 0x4b00_243b)), [Effect::Kept, drops_to(0x4b00_343b)]);
        assert_eq!(
            [true, false].map(|stores| judge(stores, 0x4b00_143b)),
            [refused(Errno::EINVAL), drops_to(0x4b00_343b)]
        );
        // A revision that is not known yet is the host's own all the same.
        let newer = Beside::DistributorRevision { own: 0x4b00_443b, stores: true };
        assert_eq!(newer.judge(&Value::Word(0x4b00_443b)), Effect::Kept);
        let others = [0x4b01_343b, 0x4b00_3c3b, 0x4a00_343b];
        assert!(others.map(|word| judge(false, word)).iter().all(|effect| *effect == refused(Errno::EINVAL)));
    }

    #[test]
    fn a_vm_has_at_most_the_address_bits_of_its_host() {
        let judge = |word| Beside::AddressBits(40).judge(&Value::Word(word));
        assert_eq!(
            [31, 32, 40, 41].map(judge),
            [refused(Errno::EINVAL), Effect::Kept, Effect::Kept, refused(Errno::EINVAL)]
        );
    }

    #[test]
    fn a_device_that_a_vm_has_not_needs_nothing() {
        let [has, lacks] = [None, Some(Errno::ENODEV)].map(Beside::Made);
        assert_eq!([0, 1].map(|word| has.judge(&Value::Word(word))), [Effect::Kept, Effect::Kept]);
        assert_eq!([0, 1].map(|word| lacks.judge(&Value::Word(word))), [Effect::Kept, refused(Errno::ENODEV)]);
    }

    #[test]
    fn pages_may_grow() {
        let judge = |word| Beside::PageSize(0x4000).judge(&Value::Word(word));
        assert_eq!([0x1000, 0x4000, 0x1_0000].map(judge), [Effect::Kept, Effect::Kept, Effect::Refused(None)]);
    }

    #[test]
    fn steal_time_needs_a_host_that_has_it() {
        let has = |word| Beside::StealTime(None).judge(&Value::Word(word));
        let lacks = |word| Beside::StealTime(Some(Errno::ENXIO)).judge(&Value::Word(word));
        assert_eq!([has(0x4000_0040), has(u64::MAX), lacks(u64::MAX)], [Effect::Kept, Effect::Kept, Effect::Kept]);
        assert_eq!([has(0x4000_0041), lacks(0x4000_0040)], [refused(Errno::EINVAL), refused(Errno::ENXIO)]);
        assert_eq!(judged_beside(Kind::StealTime, 0x4000_0040), 0);
        assert_eq!(judged_beside(Kind::StealTime, u64::MAX), u64::MAX);
        assert_eq!(judged_beside(Kind::VgicControl, 0x403), 0x403);
    }
}
