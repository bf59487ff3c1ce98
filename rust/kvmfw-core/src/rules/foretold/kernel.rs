//! The words of a prediction: a kernel, what a capture tells beside vCPUs, a value that was told.

use crate::id::RegisterId;
use crate::rules::release::{self, Release};
use crate::rules::trees;
use crate::value::Value;

/// A kernel as it is known by its release, and by its image where there is one.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub(super) release: Option<Release>,
    pub(super) is_vendors: bool,
    /// Of each register with a table of fields in the image, ascending by id, the bits of these fields.
    pub(super) fields: Option<Vec<(RegisterId, u64)>>,
}

/// What a capture tells of a host beside its vCPUs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surface<'a> {
    /// The options that its kernel was booted with and that are in effect, each as `name` or `name=value` with underscores for the dashes
    /// of names; none where they were not recorded: then the kernel's default mode.
    pub boot_options: &'a [String],
    /// What sysfs says of Meltdown.
    pub meltdown: Option<&'a str>,
    /// `MIDR_EL1`.
    pub midr: u64,
    /// Whether the host made a `GICv3` for a VM.
    pub makes_vgic: bool,
}

/// A value that was told: its bits, and those that are not known; in these it has the least number that each field may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The value.
    pub value: Value,
    /// The bits that are not known.
    pub hidden: u64,
    /// What the hardware has in a field that the kernel hides and takes nevertheless, in its place, where that is known.
    pub hardware: Option<u64>,
}

impl Told {
    pub(super) fn word(word: u64) -> Self {
        Self { value: Value::Word(word), hidden: 0, hardware: None }
    }

    /// A value of which only these bits are not known.
    pub(super) fn but(word: u64, hidden: u64) -> Self {
        Self { value: Value::Word(word & !hidden), hidden, hardware: None }
    }

    pub(super) fn add(&mut self, word: u64, hidden: u64) {
        if let Value::Word(all) = &mut self.value {
            *all |= word;
        }
        self.hidden |= hidden;
    }
}

impl Kernel {
    /// A kernel by its release, with the bits of the fields that its image has a table of, ascending by id.
    pub fn new(release: &str, fields: Option<Vec<(RegisterId, u64)>>) -> Self {
        Self { release: Release::parse(release), is_vendors: !release::is_upstream(release), fields }
    }

    /// Whether the kernel has a change that was last seen absent in one release and first seen in another; `None` where that is not
    /// known. A vendor may have ported it back.
    pub(super) fn has(&self, absent: Release, present: Release) -> Option<bool> {
        release::has_change(self.release?, absent, present).filter(|has| *has || !self.is_vendors)
    }

    /// Whether the kernel has what came with this line, see [`release::has_line`].
    pub(super) fn at_least(&self, major: u32, minor: u32) -> Option<bool> {
        release::has_line(self.release?, self.is_vendors, (major, minor))
    }

    pub(super) fn is_younger(&self) -> bool {
        self.release.is_none_or(trees::is_younger)
    }

    /// Whether both are one and the same release of one make.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.release.is_some_and(Release::knows_patch)
            && self.release == other.release
            && !self.is_vendors
            && !other.is_vendors
    }
}
