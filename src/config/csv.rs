//! The settings of the dashboard's export: what its columns are called, how it writes a time, and how exact is exact.

use super::read::Reader;
use crate::domain::amount::Amount;

/// Our names of the columns, in the order of [`Csv::headers`].
pub const COLUMNS: [&str; 12] = [
    "id",
    "foreign_id",
    "type",
    "status",
    "currency",
    "amount",
    "fee",
    "txid",
    "address",
    "end_user_reference",
    "created_at",
    "updated_at",
];

#[derive(Debug, Clone)]
pub struct Csv {
    /// What the export calls each of [`COLUMNS`].
    pub headers: [String; COLUMNS.len()],
    pub delimiter: u8,
    /// As the crate `time` describes formats.
    pub time_format: String,
    /// By how much amounts and times may differ where no id says that they are the same.
    pub amount_tolerance: Amount,
    pub time_tolerance_s: i64,
    /// How often the processor is asked about what is missing here.
    pub asks_per_minute: u32,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Csv {
    let mut headers = COLUMNS.map(|column| reader.text(&format!("reconcile.csv.columns.{column}")).trim().to_owned());
    for (at, column) in COLUMNS.iter().enumerate() {
        let (before, after) = headers.split_at_mut(at);
        let Some(header) = after.first_mut().filter(|header| header.is_empty() || before.contains(header)) else {
            continue;
        };
        reader.fault(&format!("reconcile.csv.columns.{column}"), "be the header of a column of its own");
        header.clear();
    }
    let delimiter = match reader.text("reconcile.csv.delimiter") {
        "tab" => Some(b'\t'),
        text => text.as_bytes().first().copied().filter(|byte| text.len() == 1 && b",;|".contains(byte)),
    };
    if delimiter.is_none() {
        reader.fault("reconcile.csv.delimiter", "be `,`, `;`, `|` or `tab`");
    }
    let time_format = reader.text("reconcile.csv.time_format").to_owned();
    if time::format_description::parse_borrowed::<2>(&time_format).is_err() {
        reader.fault("reconcile.csv.time_format", "be like [year]-[month]-[day] [hour]:[minute]:[second]");
    }
    let tolerance = Amount::parse(reader.text("reconcile.csv.amount_tolerance"));
    let amount_tolerance = tolerance.ok().filter(|amount| *amount >= Amount::ZERO);
    if amount_tolerance.is_none() {
        reader.fault("reconcile.csv.amount_tolerance", "be a decimal number, such as 0.00000001");
    }
    Csv {
        headers,
        delimiter: delimiter.unwrap_or(b','),
        time_format,
        amount_tolerance: amount_tolerance.unwrap_or_default(),
        time_tolerance_s: reader.number("reconcile.csv.time_tolerance_s", 0..=31_536_000),
        asks_per_minute: reader.number("reconcile.csv.asks_per_minute", 1..=60_000),
    }
}
