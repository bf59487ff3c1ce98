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

/// Names and homes of VMs given as columns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named<'a> {
    /// The name of each VM; none where they have none.
    pub names: Option<Texts<'a>>,
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
        match self.names.iter().chain(&self.homes).find_map(cut) {
            Some(row) => problem(row, "a name does not start and end where texts do"),
            None => Ok(()),
        }
    }
}
