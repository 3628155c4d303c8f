//! `reconcile import-csv`: the dashboard's CSV export against the ledger. Without `--yes` it only says what it finds. Exit
//! code 4 while something is open, 1 when the processor could not be asked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::output::{Listing, Output, Usage, bar, bar_done, tell};
use crate::app::{App, Tasks};
use crate::config::Settings;
use crate::config::csv::COLUMNS;
use crate::domain::event::rfc3339;
use crate::domain::ids::MerchantId;
use crate::outbound::exports::{self, Asked, ExportError, Imported, Stage};
use crate::processor::export::Told;
use crate::store::exports::{self as kept, Row};

const FOUND: &[&str] = &[
    "line",
    "result",
    "how",
    "type",
    "id",
    "currency",
    "theirs",
    "ours",
    "their_fee",
    "our_fee",
    "their_status",
    "our_status",
    "state",
    "discrepancy",
    "note",
];

#[derive(clap::Args)]
pub struct Args {
    /// The export, as the dashboard wrote it
    pub file: PathBuf,
    /// Whose it is; may be left out when there is only one merchant
    #[arg(long)]
    pub merchant: Option<String>,
    /// Shows the first rows as they are understood, and does nothing
    #[arg(long)]
    pub preview: bool,
    /// Keeps what is found, asks the processor about what is missing here, and opens discrepancies
    #[arg(long)]
    pub yes: bool,
    /// Rows that are shown, at most
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub limit: u64,
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

pub async fn run(args: Args, settings: Settings) -> anyhow::Result<u8> {
    if args.preview {
        return preview(&args, &settings);
    }
    let mut tasks = Tasks::default();
    let app = App::start(settings, Vec::new(), &mut tasks).await?;
    let code = import(&app, &args).await;
    drop(app);
    tasks.drain(Duration::from_secs(10)).await?;
    code
}

async fn import(app: &App, args: &Args) -> anyhow::Result<u8> {
    let merchant = merchant(app, args.merchant.as_deref())?;
    let asked = Asked { merchant, path: &args.file, by: "command line", does_it: args.yes };
    let show = |stage: Stage, done: u64, of: u64| bar(done, of, word(stage));
    let imported = exports::import(app, asked, &show).await;
    bar_done();
    let imported = imported.map_err(|error| usage(error, &args.file))?;
    let id = imported.export.id;
    let rows = if imported.is_kept { kept::rows(&app.db, id, 0, None, args.limit).await? } else { Vec::new() };
    let shown = if imported.is_kept { &rows } else { &imported.rows };
    let mut listing = Listing::new(FOUND);
    let most = usize::try_from(args.limit).unwrap_or(usize::MAX);
    shown.iter().take(most).for_each(|row| listing.push(cells(row)));
    listing.print(args.output)?;
    let counts = imported.export.counts;
    let open = match imported.is_kept {
        true => kept::open_rows(&app.db, id).await?,
        false => shown.iter().filter(|row| row.state == kept::RowState::Found).count().try_into()?,
    };
    tell_all(&imported, open);
    for outage in &imported.outages {
        let (from, to) = (rfc3339(outage.from_us), rfc3339(outage.to_us));
        tell(&format!("tallyhook: the outage from {from} to {to} is accounted for"));
    }
    if imported.unasked > 0 {
        tell(&format!(
            "tallyhook: the processor could not be asked about {} rows ({}); import the file again to go on",
            imported.unasked,
            imported.trouble.as_deref().unwrap_or("unknown"),
        ));
        return Ok(1);
    }
    if !imported.is_kept && counts.differences() > 0 {
        tell("tallyhook: nothing was changed; --yes keeps this, asks the processor and opens discrepancies");
    }
    Ok(if open > 0 { 4 } else { 0 })
}

const fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Reading => "reading",
        Stage::Matching => "matching",
        Stage::Settling => "settling",
    }
}

/// A file that is not right is no failure of ours.
fn usage(error: ExportError, file: &Path) -> anyhow::Error {
    let is_files = matches!(error, ExportError::Faults(_) | ExportError::Empty | ExportError::File(_));
    let error = anyhow::Error::new(error);
    if is_files { Usage(format!("{}: {error:#}", file.display())).into() } else { error }
}

fn merchant(app: &App, name: Option<&str>) -> anyhow::Result<MerchantId> {
    let mut merchants = app.merchants();
    let found = match name {
        Some(name) => merchants.find(|(_, known)| *known == name),
        None => merchants.next().filter(|_| merchants.next().is_none()),
    };
    let help = || match name {
        Some(name) => Usage(format!("there is no merchant `{name}` in the settings")),
        None => Usage("there are several merchants: say whose export it is with --merchant".to_owned()),
    };
    Ok(found.map(|(id, _)| id).ok_or_else(help)?)
}

fn tell_all(imported: &Imported, open: u64) {
    let Imported { export, is_known, .. } = imported;
    let counts = export.counts;
    if *is_known {
        tell(&format!("tallyhook: this file was imported on {}", rfc3339(export.began_us)));
    }
    tell(&format!(
        "{} rows from {} to {} against {} payments: {} matched, {} missing here, {} missing there, {} amounts, {} fees, \
         {} statuses, {} duplicates; {open} open",
        export.rows,
        rfc3339(export.from_us),
        rfc3339(export.until_us),
        export.payments,
        counts.matched,
        counts.missing_here,
        counts.missing_there,
        counts.amounts,
        counts.fees,
        counts.statuses,
        counts.duplicates,
    ));
}

fn cells(row: &Row) -> [Value; 15] {
    [
        json!(row.line),
        json!(row.verdict.word()),
        json!(row.how.map(crate::domain::pairing::How::word)),
        json!(row.family.name()),
        json!(row.ext_id),
        json!(row.currency),
        json!(row.theirs),
        json!(row.ours),
        json!(row.their_fee),
        json!(row.our_fee),
        json!(row.their_status),
        json!(row.our_status.map(crate::domain::payment::Status::word)),
        json!(row.state.word()),
        json!(row.discrepancy.map(|id| id.to_string())),
        json!(row.note),
    ]
}

/// The first rows in our words, with whatever is wrong with one of them.
fn preview(args: &Args, settings: &Settings) -> anyhow::Result<u8> {
    const SHOWN: usize = 10;
    let mut listing = Listing::new(&[
        "line",
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
    ]);
    let mut faults = Vec::new();
    let layout = &settings.reconcile.csv;
    let read = exports::preview(&args.file, layout, SHOWN, |row| match row {
        Ok(told) => listing.push(understood(&told)),
        Err(fault) => faults.push(fault),
    });
    read.map_err(|error| usage(error, &args.file))?;
    listing.print(args.output)?;
    for (column, header) in COLUMNS.iter().zip(&layout.headers).filter(|(column, header)| *column != header) {
        tell(&format!("`{column}` is read from the column `{header}`"));
    }
    for fault in &faults {
        tell(&format!("tallyhook: {fault}"));
    }
    Ok(if faults.is_empty() { 0 } else { 4 })
}

fn understood(told: &Told<'_>) -> [Value; COLUMNS.len() + 1] {
    let text = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    [
        json!(told.line),
        json!(told.id),
        text(told.foreign_id),
        json!(told.kind),
        json!(told.status),
        json!(told.currency),
        json!(told.amount),
        json!(told.fee),
        text(told.txid),
        text(told.address),
        text(told.end_user_reference),
        json!(rfc3339(told.created_us)),
        json!(told.updated_us.map(rfc3339)),
    ]
}
