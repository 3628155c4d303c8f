//! A file of the dashboard's export in memory: every row, small. It is read whole or refused with its faults.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::ExportError;
use crate::config::csv::Csv;
use crate::domain::matching::{Code, Currencies, Row, Rows, id_of, name_of, reference_of, transaction_of};
use crate::domain::payment::Family;
use crate::processor::export::{Export, Fault, Told};

/// Faults that are named before reading stops.
const FAULTS_MAX: usize = 20;
/// Bytes read at once.
const BLOCK: usize = 1 << 20;
/// Rows between two words about how far it is.
const TELL_EVERY: u64 = 16_384;

/// What a file is known by.
#[derive(Debug, Clone, Copy)]
pub struct Digest {
    pub sha256: [u8; 32],
    pub bytes: u64,
    pub lines: usize,
}

/// A file's rows, and what their numbers stand for.
#[derive(Debug)]
pub struct Paper {
    pub rows: Rows,
    pub currencies: Currencies,
    /// Ids that are no plain numbers.
    ids: HashMap<u64, String>,
    /// Words for a status that we do not know, by line.
    statuses: HashMap<u32, String>,
    /// The types and currencies that it has at all: of others it says nothing.
    covered: HashSet<(Family, Code)>,
    /// The least id of each family: older payments are not in it.
    least: HashMap<Family, u64>,
    pub from_us: i64,
    pub until_us: i64,
}

/// Reads a file once, without keeping it.
pub(super) fn digest(path: &Path) -> std::io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut block = vec![0; BLOCK];
    let (mut hash, mut bytes, mut lines) = (Sha256::new(), 0_u64, 1_usize);
    loop {
        let count = file.read(&mut block)?;
        let Some(part) = block.get(..count).filter(|part| !part.is_empty()) else { break };
        hash.update(part);
        bytes = bytes.saturating_add(u64::try_from(count).unwrap_or_default());
        lines = lines.saturating_add(part.iter().filter(|byte| **byte == b'\n').count());
    }
    Ok(Digest { sha256: hash.finalize().into(), bytes, lines })
}

/// The first rows as they are understood, or why they are not.
pub fn preview<T>(
    path: &Path,
    layout: &Csv,
    limit: usize,
    mut show: impl FnMut(Result<Told<'_>, String>) -> T,
) -> Result<Vec<T>, ExportError> {
    let mut export = open(path, layout)?;
    let mut shown = Vec::new();
    while shown.len() < limit
        && let Some(row) = export.row()
    {
        shown.push(show(row.map_err(|fault| fault.to_string())));
    }
    Ok(shown)
}

fn open(path: &Path, layout: &Csv) -> Result<Export<BufReader<File>>, ExportError> {
    let input = BufReader::with_capacity(BLOCK, File::open(path)?);
    Export::try_new(input, layout).map_err(|fault| ExportError::Faults(vec![fault.to_string()]))
}

impl Paper {
    /// Reads every row.
    pub fn read(path: &Path, layout: &Csv, digest: &Digest, tell: &impl Fn(u64)) -> Result<Self, ExportError> {
        let mut export = open(path, layout)?;
        let mut rows = Vec::with_capacity(digest.lines);
        let mut faults = Vec::new();
        let mut paper = Self {
            rows: Rows::new(Vec::new()),
            currencies: Currencies::default(),
            ids: HashMap::new(),
            statuses: HashMap::new(),
            covered: HashSet::new(),
            least: HashMap::new(),
            from_us: i64::MAX,
            until_us: i64::MIN,
        };
        let mut read = 0_u64;
        while let Some(told) = export.row() {
            match told {
                Ok(told) => rows.push(paper.take(&told)),
                Err(fault @ Fault::File(_)) => return Err(ExportError::Faults(vec![fault.to_string()])),
                Err(fault) => faults.push(fault.to_string()),
            }
            if faults.len() >= FAULTS_MAX {
                faults.push("and so on".to_owned());
                return Err(ExportError::Faults(faults));
            }
            read = read.saturating_add(1);
            if read.is_multiple_of(TELL_EVERY) {
                let lines = u64::try_from(digest.lines).unwrap_or(u64::MAX).max(1);
                tell(digest.bytes.saturating_mul(read).div_euclid(lines));
            }
        }
        if !faults.is_empty() {
            return Err(ExportError::Faults(faults));
        }
        if rows.is_empty() {
            return Err(ExportError::Empty);
        }
        paper.rows = Rows::new(rows);
        Ok(paper)
    }

    fn take(&mut self, told: &Told<'_>) -> Row {
        let (family, name) = (told.family(), name_of(told.id));
        let line = u32::try_from(told.line).unwrap_or(u32::MAX);
        let currency = self.currencies.code(told.currency);
        if id_of(name).is_none() {
            self.ids.insert(name, told.id.to_owned());
        } else {
            let least = self.least.entry(family).or_insert(name);
            *least = name.min(*least);
        }
        let status = told.status();
        if status.is_none() {
            self.statuses.insert(line, told.status.to_owned());
        }
        self.covered.insert((family, currency));
        self.from_us = self.from_us.min(told.created_us);
        self.until_us = self.until_us.max(told.created_us);
        Row {
            name,
            amount: told.amount,
            fee: told.fee.unwrap_or_default(),
            at_us: told.created_us,
            transaction: transaction_of(told.txid, told.address),
            reference: reference_of(family, told.foreign_id),
            line,
            currency,
            family,
            status,
            has_fee: told.fee.is_some(),
        }
    }

    pub fn count(&self) -> i64 {
        i64::try_from(self.rows.len()).unwrap_or(i64::MAX)
    }

    /// The id of a row, as it stands there.
    pub fn id(&self, row: &Row) -> String {
        id_of(row.name).or_else(|| self.ids.get(&row.name).cloned()).unwrap_or_default()
    }

    /// The status of a row, as it stands there.
    pub fn status(&self, row: &Row) -> String {
        let known = row.status.map(|status| status.word().to_owned());
        known.or_else(|| self.statuses.get(&row.line).cloned()).unwrap_or_default()
    }

    /// Whether it should have a payment of this family, id, time and one of these currencies.
    pub fn covers(&self, family: Family, name: u64, seen_us: i64, mut currencies: impl Iterator<Item = Code>) -> bool {
        let is_its_time = self.from_us <= seen_us && seen_us <= self.until_us;
        let is_older = id_of(name).is_some() && self.least.get(&family).is_some_and(|least| name < *least);
        is_its_time && !is_older && currencies.any(|code| self.covered.contains(&(family, code)))
    }
}
