//! The errors that KVM answers with.

use std::fmt;

macro_rules! errnos {
    ($($(#[$doc:meta])* $variant:ident = $number:literal,)*) => {
        /// An error number of a KVM ioctl, by the name of its constant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Errno { $($(#[$doc])* $variant,)* }

        impl Errno {
            /// Every error number that a capture can hold.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name, as in `errno.h`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// The number on Linux.
            pub const fn number(self) -> i32 {
                match self { $(Self::$variant => $number,)* }
            }
        }
    };
}

errnos! {
    /// Operation not permitted: SVE_VLS after the vCPU is finalized.
    EPERM = 1,
    /// No such register.
    ENOENT = 2,
    /// No such device or address.
    ENXIO = 6,
    /// Argument list too long.
    E2BIG = 7,
    /// The vCPU is not initialised.
    ENOEXEC = 8,
    /// Out of memory.
    ENOMEM = 12,
    /// Permission denied.
    EACCES = 13,
    /// Bad address.
    EFAULT = 14,
    /// The VM has run already.
    EBUSY = 16,
    /// No such device: the host has no `GICv3` for VMs.
    ENODEV = 19,
    /// A value that this KVM cannot honour.
    EINVAL = 22,
    /// Operation not supported.
    EOPNOTSUPP = 95,
    /// Another error, not named in the capture.
    EOTHER = 0,
}

impl Errno {
    /// The error of this name, if it is one that a capture can hold.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|errno| errno.name() == name)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for errno in Errno::ALL {
            assert_eq!(Errno::from_name(errno.name()), Some(*errno));
        }
        assert_eq!(Errno::from_name("EIEIO"), None);
    }
}
