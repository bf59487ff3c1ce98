//! Pages of Parquet, read where most of a fleet's bytes are: flat columns of words and texts without nulls, plain or by
//! dictionary. Whatever else a file has, damage too, is left to `pyarrow`, which reads that row group in place of this.

use std::collections::HashMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use numpy::{IntoPyArray, PyArray1, PyReadwriteArray1};
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::file::reader::{FileReader, SerializedFileReader};
use pyo3::prelude::*;

use crate::arrays::slice_mut;
use crate::codes::Codes;
use crate::door::{Born, enter};

/// A flat Parquet file whose columns are words and texts.
#[pyclass(frozen, module = "kvmfw._native")]
pub(crate) struct Pages {
    file: SerializedFileReader<File>,
    /// Which columns, and whether each is text.
    columns: Vec<(usize, bool)>,
    group: Mutex<Group>,
    born: Born,
}

/// A row group that is being read.
#[derive(Default)]
struct Group {
    columns: Vec<Column>,
    rows: usize,
}

/// One column of a row group.
struct Column {
    pages: Box<dyn PageReader>,
    is_text: bool,
    has_levels: bool,
    words: Vec<u64>,
    names: Names,
    /// Where the dictionary has a name twice, for each code the first of that name.
    firsts: Vec<i32>,
    values: Option<Values>,
    /// Values of this page that were not given yet.
    left: usize,
}

/// Texts as Arrow has them.
#[derive(Clone, Default)]
struct Names {
    starts: Vec<i32>,
    bytes: Vec<u8>,
}

enum Values {
    Codes(Codes),
    /// A page, and where its next value begins.
    Plain(Page, usize),
}

/// Where texts start, and their bytes.
type Texts<'py> = (Bound<'py, PyArray1<i32>>, Bound<'py, PyArray1<u8>>);

#[pymethods]
impl Pages {
    /// Opens a file for these columns, each with whether it is text; none where one of them is something else.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf, columns: Vec<(String, bool)>) -> PyResult<Option<Self>> {
        let born = Born::now();
        let opened = || {
            let file = SerializedFileReader::new(File::open(path).ok()?).ok()?;
            let schema = file.metadata().file_metadata().schema_descr_ptr();
            let found = |(name, is_text): &(String, bool)| {
                let is_one = |at: &usize| schema.column(*at).path().parts() == [name.as_str()];
                let at = (0..schema.num_columns()).find(is_one)?;
                let column = schema.column(at);
                let kind = if *is_text { Type::BYTE_ARRAY } else { Type::INT64 };
                let is_flat = column.max_rep_level() == 0 && column.max_def_level() <= 1;
                (is_flat && column.physical_type() == kind).then_some((at, *is_text))
            };
            let columns = columns.iter().map(found).collect::<Option<Vec<_>>>()?;
            Some(Self { file, columns, group: Mutex::default(), born })
        };
        enter(py, born, || guarded(opened))
    }

    /// Begins to read a row group; false where it is not one for this.
    fn begin(&self, py: Python<'_>, group: usize) -> PyResult<bool> {
        let begun = || {
            let reader = self.file.get_row_group(group).ok()?;
            let column = |&(at, is_text): &(usize, bool)| {
                let has_levels = reader.metadata().column(at).column_descr().max_def_level() > 0;
                let pages = reader.get_column_page_reader(at).ok()?;
                let (words, names, firsts) = (Vec::new(), Names::default(), Vec::new());
                Some(Column { pages, is_text, has_levels, words, names, firsts, values: None, left: 0 })
            };
            let columns = self.columns.iter().map(column).collect::<Option<Vec<_>>>()?;
            Some(Group { columns, rows: usize::try_from(reader.metadata().num_rows()).ok()? })
        };
        let begun = enter(py, self.born, || guarded(begun))?;
        let is_begun = begun.is_some();
        *self.group.lock().unwrap_or_else(PoisonError::into_inner) = begun.unwrap_or_default();
        Ok(is_begun)
    }

    /// Puts the next rows of it into these columns, as many as they hold or are left: `words`, and `codes` of texts. Gives how
    /// many, and the texts of each column; none at its end, and where it is not one for this.
    fn next<'py>(
        &self,
        py: Python<'py>,
        mut words: Vec<PyReadwriteArray1<'py, u64>>,
        mut codes: Vec<PyReadwriteArray1<'py, i32>>,
    ) -> PyResult<Option<(usize, Vec<Texts<'py>>)>> {
        let mut words = words.iter_mut().map(|out| slice_mut(py, out, "words")).collect::<PyResult<Vec<_>>>()?;
        let mut codes = codes.iter_mut().map(|out| slice_mut(py, out, "codes")).collect::<PyResult<Vec<_>>>()?;
        let read = || {
            let mut group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
            let holds = words.iter().map(|out| out.len()).chain(codes.iter().map(|out| out.len())).min()?;
            let rows = group.rows.min(holds);
            group.rows -= rows;
            let (mut words, mut codes, mut texts) = (words.iter_mut(), codes.iter_mut(), Vec::new());
            for column in group.columns.iter_mut().filter(|_| rows > 0) {
                if column.is_text {
                    texts.push(column.texts(codes.next()?.get_mut(..rows)?)?);
                } else {
                    column.words(words.next()?.get_mut(..rows)?)?;
                }
            }
            (rows > 0).then_some((rows, texts))
        };
        let Some((rows, texts)) = enter(py, self.born, || guarded(read))? else { return Ok(None) };
        let texts = texts.into_iter().map(|names| (names.starts.into_pyarray(py), names.bytes.into_pyarray(py)));
        Ok(Some((rows, texts.collect())))
    }
}

/// What it gives; none where it panics, which is what damaged files may bring others to.
fn guarded<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok().flatten()
}

impl Column {
    fn words(&mut self, out: &mut [u64]) -> Option<()> {
        let mut done = 0;
        while done < out.len() {
            let rest = out.get_mut(done..)?;
            let taken = self.here()?.min(rest.len());
            let rest = rest.get_mut(..taken)?;
            match self.values.as_mut()? {
                Values::Codes(codes) => codes.look_up(&self.words, rest)?,
                Values::Plain(page, at) => {
                    let end = at.checked_add(taken.checked_mul(8)?)?;
                    let (values, _) = page.buffer().get(*at..end)?.as_chunks();
                    rest.iter_mut().zip(values).for_each(|(out, value)| *out = u64::from_le_bytes(*value));
                    *at = end;
                }
            }
            (self.left, done) = (self.left - taken, done + taken);
        }
        Some(())
    }

    fn texts(&mut self, out: &mut [i32]) -> Option<Names> {
        let (mut done, mut last) = (0, None);
        let mut names = None;
        while done < out.len() {
            let rest = out.get_mut(done..)?;
            let taken = self.here()?.min(rest.len());
            let rest = rest.get_mut(..taken)?;
            let names = names.get_or_insert_with(|| self.names.clone());
            match self.values.as_mut()? {
                // After names that no dictionary has, one of it may be the last of these.
                Values::Codes(_) if names.len() > self.names.len() => return None,
                Values::Codes(codes) => {
                    codes.codes(self.names.len(), rest)?;
                    let twice = if self.firsts.is_empty() { &mut [][..] } else { &mut *rest };
                    for code in twice {
                        *code = *self.firsts.get(usize::try_from(*code).ok()?)?;
                    }
                }
                Values::Plain(page, at) => {
                    for out in rest.iter_mut() {
                        let start = at.checked_add(4)?;
                        let length = page.buffer().get(*at..start)?.first_chunk()?;
                        let end = start.checked_add(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
                        let name = page.buffer().get(start..end)?;
                        // A name that goes on keeps its code, also where the dictionary gave it.
                        let known = last.filter(|last| names.get(*last) == Some(name));
                        *out = known.map_or_else(|| names.push(name), Some)?;
                        (last, *at) = (Some(*out), end);
                    }
                }
            }
            last = rest.last().copied();
            (self.left, done) = (self.left - taken, done + taken);
        }
        let names = names.unwrap_or_default();
        std::str::from_utf8(&names.bytes).ok()?;
        Some(names)
    }

    /// How many values of the page that is being read are left, at least one.
    fn here(&mut self) -> Option<usize> {
        while self.left == 0 {
            let page = self.pages.get_next_page().ok()??;
            if page.is_dictionary_page() {
                self.take_dictionary(&page)?;
            } else {
                (self.left, self.values) = (usize::try_from(page.num_values()).ok()?, Some(self.values_of(page)?));
            }
        }
        Some(self.left)
    }

    fn take_dictionary(&mut self, page: &Page) -> Option<()> {
        let is_plain = matches!(page.encoding(), Encoding::PLAIN | Encoding::PLAIN_DICTIONARY);
        let (bytes, count) = (is_plain.then(|| page.buffer())?, usize::try_from(page.num_values()).ok()?);
        if !self.is_text {
            let (words, _) = bytes.get(..count.checked_mul(8)?)?.as_chunks();
            self.words = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
            return Some(());
        }
        let mut left: &[u8] = bytes;
        let mut names = Names::default();
        for _ in 0..count {
            let (length, rest) = left.split_first_chunk()?;
            let (name, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
            names.push(name)?;
            left = rest;
        }
        self.firsts = names.firsts();
        self.names = names;
        Some(())
    }

    /// The values of a data page of which none is null.
    fn values_of(&self, page: Page) -> Option<Values> {
        let count = usize::try_from(page.num_values()).ok()?;
        let (levels, start) = match &page {
            Page::DataPage { def_level_encoding: Encoding::RLE, buf, .. } if self.has_levels => {
                let length = usize::try_from(u32::from_le_bytes(*buf.first_chunk()?)).ok()?;
                (4..length.checked_add(4)?, length.checked_add(4)?)
            }
            Page::DataPage { .. } if !self.has_levels => (0..0, 0),
            Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len: 0, .. } => {
                let length = usize::try_from(*def_levels_byte_len).ok()?;
                (0..length, length)
            }
            _ => return None,
        };
        if self.has_levels && !Codes::new(page.clone(), levels, 1)?.are_all_one(count)? {
            return None;
        }
        match page.encoding() {
            Encoding::PLAIN => Some(Values::Plain(page, start)),
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
                let width = u32::from(*page.buffer().get(start)?);
                let end = page.buffer().len();
                Some(Values::Codes(Codes::new(page, start.checked_add(1)?..end, width)?))
            }
            _ => None,
        }
    }
}

impl Names {
    fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    fn get(&self, code: i32) -> Option<&[u8]> {
        let code = usize::try_from(code).ok()?;
        let (start, end) = (*self.starts.get(code)?, *self.starts.get(code + 1)?);
        self.bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// For each code the first with the same name; empty where all differ.
    fn firsts(&self) -> Vec<i32> {
        let all = || (0..).zip(self.starts.windows(2)).filter_map(|(code, _)| Some((code, self.get(code)?)));
        if all().zip(all().skip(1)).all(|((_, one), (_, next))| one < next) {
            return Vec::new();
        }
        let mut known = HashMap::new();
        let firsts: Vec<i32> = all().map(|(code, name)| *known.entry(name).or_insert(code)).collect();
        if known.len() == firsts.len() { Vec::new() } else { firsts }
    }

    /// Adds a name; gives its code.
    fn push(&mut self, name: &[u8]) -> Option<i32> {
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        let code = i32::try_from(self.len()).ok()?;
        self.bytes.try_reserve(name.len()).ok()?;
        self.bytes.extend_from_slice(name);
        self.starts.push(i32::try_from(self.bytes.len()).ok()?);
        Some(code)
    }
}
