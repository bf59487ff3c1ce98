//! Strips: bits of many hosts at once.

/// The bits of 1,024 hosts, which stay in registers while rows are joined.
#[repr(align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::fleet) struct Strip(pub(in crate::fleet) [u64; STRIP]);

/// 64-bit words of a strip.
pub(in crate::fleet) const STRIP: usize = 16;
