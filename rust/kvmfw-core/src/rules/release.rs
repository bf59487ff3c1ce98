//! Kernel releases, as far as rules need them.

/// A kernel release: version, patch level and sublevel of `uname -r`.
///
/// A release alone is a weak key: vendors port changes back. Rules look at what the host shows first and at
/// its release last (semantics, section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number; 0 where the release has none.
    pub patch: u32,
}

impl Release {
    /// A release by its numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads the leading numbers of a release string; `None` when it does not begin with two numbers.
    ///
    /// Debian's `5.10.0-32` and `6.1.0-56` name an ABI, not a point release; see [`Release::knows_patch`].
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text.get(..end)?.split('.').map(str::parse::<u32>);
        let major = numbers.next()?.ok()?;
        let minor = numbers.next()?.ok()?;
        let patch = numbers.next().and_then(Result::ok).unwrap_or(0);
        Some(Self { major, minor, patch })
    }

    /// Whether the release string tells the point release: distributions that keep `.0` do not.
    pub const fn knows_patch(self) -> bool {
        self.patch != 0
    }

    /// Whether this release is of the line `major.minor` or a later one.
    pub const fn at_least(self, major: u32, minor: u32) -> bool {
        self.major > major || (self.major == major && self.minor >= minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        for (text, release) in [
            ("6.12.117+deb13-arm64", Some((6, 12, 117))),
            ("5.10.0-32-arm64", Some((5, 10, 0))),
            ("6.18.30-61.116.amzn2023.aarch64", Some((6, 18, 30))),
            ("7.3", Some((7, 3, 0))),
            ("linux", None),
            ("7", None),
            ("", None),
        ] {
            let expected = release.map(|(major, minor, patch)| Release::new(major, minor, patch));
            assert_eq!(Release::parse(text), expected, "{text}");
        }
        assert!(Release::new(6, 1, 0).at_least(5, 19) && !Release::new(5, 10, 9).at_least(5, 19));
    }
}
