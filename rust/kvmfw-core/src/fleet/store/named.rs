//! Names and homes of VMs, as columns.

use crate::error::RowError;

/// Texts one after the other: where each starts, with the end of the last one, and all of them together.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// Where each text starts in bytes, and where the last one ends.
    pub starts: &'a [i64],
    /// All texts.
    pub text: &'a str,
}

impl<'a> Texts<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them; `None` where there is none, or its ends are not those of a text.
    pub fn get(&self, at: usize) -> Option<&'a str> {
        let start = usize::try_from(*self.starts.get(at)?).ok()?;
        self.text.get(start..usize::try_from(*self.starts.get(at + 1)?).ok()?)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> {
        (0..self.len()).map(|at| self.get(at).unwrap_or(""))
    }
}

/// Names of VMs.
#[derive(Clone, Copy, Debug)]
pub enum Names<'a> {
    /// As they are.
    Texts(Texts<'a>),
    /// As numbers, whose decimal digits they are.
    Numbers(&'a [i64]),
}

impl Names<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes they have at most.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.text.len(),
            Self::Numbers(numbers) => numbers.len().saturating_mul(MOST_DIGITS),
        }
    }

    /// Writes one of them; nothing where there is none.
    pub(super) fn write(&self, at: usize, text: &mut String) {
        match self {
            Self::Texts(texts) => text.push_str(texts.get(at).unwrap_or("")),
            Self::Numbers(numbers) => numbers.get(at).into_iter().for_each(|number| write(*number, text)),
        }
    }
}

/// Digits of a number of 8 bytes, and its sign.
const MOST_DIGITS: usize = 20;

/// Writes a number in decimal digits.
fn write(number: i64, text: &mut String) {
    let (mut digits, mut left) = ([b'0'; MOST_DIGITS], number.unsigned_abs());
    let mut first = MOST_DIGITS;
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit += u8::try_from(left % 10).unwrap_or(0);
        (first, left) = (at, left / 10);
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        text.push('-');
    }
    text.push_str(digits.get(first..).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or(""));
}

/// Names and homes of VMs given as columns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named<'a> {
    /// The name of each VM; none where they have none.
    pub names: Option<Names<'a>>,
    /// Names of places where VMs run.
    pub homes: Option<Texts<'a>>,
    /// For each VM which of `homes`; negative where that is not known. Empty where nothing is known.
    pub home_of: &'a [i32],
    /// For each VM which run it is like, where many are; else each is its own run.
    pub like: Option<&'a [u32]>,
}

impl Named<'_> {
    /// How many VMs so many runs are.
    pub(super) fn vms(&self, runs: usize) -> usize {
        self.like.map_or(runs, <[u32]>::len)
    }

    /// Checks what the rest relies on: VMs are like one of so many runs, one entry for each of them, homes that there are,
    /// names that are texts.
    pub(super) fn check(&self, runs: usize) -> Result<(), RowError> {
        let problem = |row: usize, problem: &str| Err(RowError { row, problem: problem.to_owned() });
        let vms = self.vms(runs);
        if let Some(row) = self.like.and_then(|like| like.iter().position(|run| *run as usize >= runs)) {
            return problem(row, "a VM is like a run that there is not");
        }
        if self.names.is_some_and(|names| names.len() != vms) {
            return problem(vms, "`names` needs one entry for each VM");
        }
        if !self.home_of.is_empty() && self.home_of.len() != vms {
            return problem(vms, "`home_of` needs one entry for each VM");
        }
        let places = self.homes.map_or(0, |homes| homes.len());
        let stray = |home: &i32| usize::try_from(*home).is_ok_and(|home| home >= places);
        if let Some(row) = self.home_of.iter().position(stray) {
            return problem(row, "a VM names a home that there is not");
        }
        let cut = |texts: &Texts<'_>| (0..texts.len()).find(|at| texts.get(*at).is_none());
        let names = self.names.iter().filter_map(|names| match names {
            Names::Texts(texts) => Some(texts),
            Names::Numbers(_) => None,
        });
        match names.chain(&self.homes).find_map(cut) {
            Some(row) => problem(row, "a name does not start and end where texts do"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_names_by_their_digits() {
        let numbers = [0, 7, 10, -1, 1_234_567_890, i64::MAX, i64::MIN];
        let names = Names::Numbers(&numbers);
        for (at, number) in numbers.iter().enumerate() {
            let mut text = String::from("x");
            names.write(at, &mut text);
            assert_eq!(text, format!("x{number}"));
        }
        let mut text = String::new();
        names.write(numbers.len(), &mut text);
        assert_eq!((text.as_str(), names.len(), names.is_empty()), ("", 7, false));
    }

    #[test]
    fn columns_that_do_not_fit_together_are_refused_with_the_first_row() {
        let texts = |starts| Texts { starts, text: "abü" };
        let two = Named {
            names: Some(Names::Texts(texts(&[0, 1, 2]))),
            homes: Some(texts(&[0, 1])),
            home_of: &[-1, 0],
            like: None,
        };
        let many = Named { names: Some(Names::Numbers(&[1, 2, 3])), home_of: &[], like: Some(&[1, 0, 1]), ..two };
        assert_eq!((two.check(2), Named::default().check(2), many.check(2)), (Ok(()), Ok(()), Ok(())));
        let wrong = [
            (Named { like: Some(&[1, 0, 2]), ..many }, 2, "a run that there is not"),
            (Named { names: Some(Names::Numbers(&[1])), ..two }, 2, "`names` needs one entry for each VM"),
            (Named { like: Some(&[1, 0]), ..many }, 2, "`names` needs one entry for each VM"),
            (Named { home_of: &[0], ..two }, 2, "`home_of` needs one entry for each VM"),
            (Named { home_of: &[0, 1], ..two }, 1, "a home that there is not"),
            (Named { homes: None, ..two }, 1, "a home that there is not"),
            // Within a letter, before its start, behind the end.
            (Named { names: Some(Names::Texts(texts(&[0, 2, 3]))), ..two }, 1, "where texts do"),
            (Named { names: Some(Names::Texts(texts(&[0, 2, 1]))), ..two }, 1, "where texts do"),
            (Named { homes: Some(texts(&[0, 5])), ..two }, 0, "where texts do"),
            (Named { homes: Some(texts(&[-1, 1])), ..two }, 0, "where texts do"),
        ];
        for (named, row, problem) in wrong {
            let refused = named.check(2).expect_err(problem);
            assert_eq!((refused.row, refused.problem.contains(problem)), (row, true), "{}", refused.problem);
        }
    }
}
