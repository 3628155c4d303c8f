//! The dashboard's CSV export: a header line and rows, read strictly, one at a time. What can't be read exactly is a fault
//! with its line; nothing is guessed and nothing left out. What a row means for the ledger is decided elsewhere.

use std::io::Read;

use time::PrimitiveDateTime;
use time::format_description::OwnedFormatItem;

use crate::config::csv::{COLUMNS, Csv};
use crate::domain::amount::Amount;
use crate::domain::payment::{Family, Status};

/// Columns without which a row says nothing, by their places in [`COLUMNS`].
const REQUIRED: [&str; 6] = ["id", "type", "status", "currency", "amount", "created_at"];
const NAME_MAX: usize = 255;
const CURRENCY_MAX: usize = 32;

/// A row in our words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told<'a> {
    pub line: u64,
    pub id: &'a str,
    pub foreign_id: &'a str,
    pub kind: &'a str,
    pub status: &'a str,
    pub currency: &'a str,
    /// Never below zero: what went out may stand there with a sign.
    pub amount: Amount,
    pub fee: Option<Amount>,
    pub txid: &'a str,
    pub address: &'a str,
    pub end_user_reference: &'a str,
    pub created_us: i64,
    pub updated_us: Option<i64>,
}

impl Told<'_> {
    pub fn family(&self) -> Family {
        Family::of(self.kind)
    }

    /// `None`: a word that we do not know.
    pub fn status(&self) -> Option<Status> {
        Status::of(self.status)
    }
}

/// Why a file, or a line of it, can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error(
        "it has no column `{header}` (our `{column}`); its columns are: {found}. Name what it has in the settings reconcile.csv.columns.*"
    )]
    NoColumn { column: &'static str, header: String, found: String },
    #[error("line {line}: {what}")]
    Line { line: u64, what: String },
    #[error("{0}")]
    File(String),
}

/// Reads an export, row by row.
pub struct Export<R> {
    csv: csv::Reader<R>,
    record: csv::StringRecord,
    /// Where each of [`COLUMNS`] stands.
    places: [Option<usize>; COLUMNS.len()],
    time: OwnedFormatItem,
    /// Where lines end with CR LF, the reader counts a line only when it has read the LF, with the next row.
    late: u64,
}

impl<R: Read> Export<R> {
    /// Reads the header line.
    pub fn try_new(input: R, layout: &Csv) -> Result<Self, Fault> {
        let mut csv = csv::ReaderBuilder::new().delimiter(layout.delimiter).from_reader(input);
        let headers = csv.headers().map_err(|error| Fault::File(error.to_string()))?;
        let names: Vec<&str> = headers.iter().map(|name| name.trim_start_matches('\u{feff}').trim()).collect();
        let places = std::array::from_fn(|at| {
            let header = layout.headers.get(at)?;
            names.iter().position(|name| name == header)
        });
        for (column, (place, header)) in COLUMNS.into_iter().zip(places.iter().zip(&layout.headers)) {
            if place.is_none() && REQUIRED.contains(&column) {
                return Err(Fault::NoColumn { column, header: header.clone(), found: names.join(", ") });
            }
        }
        let time = time::format_description::parse_owned::<2>(&layout.time_format);
        let time = time.map_err(|error| Fault::File(format!("the setting reconcile.csv.time_format: {error}")))?;
        let late = u64::from(csv.position().line() == 1);
        Ok(Self { csv, record: csv::StringRecord::new(), places, time, late })
    }

    /// The next row; `None` at the end. After a fault in a row, reading goes on with the next.
    pub fn row(&mut self) -> Option<Result<Told<'_>, Fault>> {
        match self.csv.read_record(&mut self.record) {
            Ok(false) => None,
            Ok(true) => {
                let line = self.record.position().map_or(0, csv::Position::line).saturating_add(self.late);
                let read = told(&self.record, &self.places, &self.time, line);
                Some(read.map_err(|what| Fault::Line { line, what }))
            }
            Err(error) => {
                if error.is_io_error() {
                    return Some(Err(Fault::File(error.to_string())));
                }
                let line = error.position().map_or(0, csv::Position::line).saturating_add(self.late);
                Some(Err(Fault::Line { line, what: why(&error) }))
            }
        }
    }
}

fn why(error: &csv::Error) -> String {
    if let csv::ErrorKind::UnequalLengths { expected_len, len, .. } = error.kind() {
        return format!("it has {len} fields, and the header {expected_len}");
    }
    if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) { "it is not UTF-8".to_owned() } else { error.to_string() }
}

fn told<'a>(
    record: &'a csv::StringRecord,
    places: &[Option<usize>; COLUMNS.len()],
    format: &OwnedFormatItem,
    line: u64,
) -> Result<Told<'a>, String> {
    let get = |at: usize| places.get(at).copied().flatten().and_then(|place| record.get(place)).unwrap_or("").trim();
    let [id, foreign_id, kind, status, currency, amount, fee, txid, address, user, created, updated] =
        std::array::from_fn(get);
    let is_name = |text: &str| !text.is_empty() && text.len() <= NAME_MAX && !text.contains(char::is_control);
    for (name, text) in [("id", id), ("type", kind), ("status", status)] {
        if !is_name(text) {
            return Err(format!("`{name}` must have 1 to {NAME_MAX} plain characters"));
        }
    }
    if currency.is_empty() || currency.len() > CURRENCY_MAX || !currency.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("`currency` must be a code, such as BTC, and is `{}`", shown(currency)));
    }
    Ok(Told {
        line,
        id,
        foreign_id,
        kind,
        status,
        currency,
        amount: size("amount", amount)?.ok_or("`amount` is empty")?,
        fee: size("fee", fee)?,
        txid,
        address,
        end_user_reference: user,
        created_us: moment("created_at", created, format)?.ok_or("`created_at` is empty")?,
        updated_us: moment("updated_at", updated, format)?,
    })
}

/// How much, whichever way it went.
fn size(name: &str, text: &str) -> Result<Option<Amount>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let amount = Amount::parse(text.strip_prefix('-').unwrap_or(text));
    amount.map(Some).map_err(|error| format!("`{name}` is `{}`: {error}", shown(text)))
}

fn moment(name: &str, text: &str, format: &OwnedFormatItem) -> Result<Option<i64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let at = PrimitiveDateTime::parse(text, format)
        .map_err(|_unlike| format!("`{name}` is `{}`, which is no time as the settings write it", shown(text)))?;
    let micros = at.assume_utc().unix_timestamp_nanos().div_euclid(1_000);
    i64::try_from(micros).map(Some).map_err(|_out_of_range| format!("`{name}` is too far away"))
}

fn shown(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(40).collect()
}
