//! The dashboard's export against the ledger, from the file to the end of every difference: read whole or refused,
//! matched, kept once and for ever, and then acted on row by row. A file is known by its bytes: importing it again goes
//! on where it was left, and changes nothing twice.

mod act;
mod against;
mod paper;
mod story;

use std::path::Path;

use act::Act;
pub use paper::{Digest, Paper, preview};

use super::outages;
use super::reconcile::ReconcileError;
use crate::app::App;
use crate::booker::OrderError;
use crate::domain::ids::MerchantId;
use crate::domain::matching::Rules;
use crate::domain::outage::Span;
use crate::store::exports::{self, Export, Row};
use crate::store::{Db, StoreError};

/// Why an export was not imported, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("the file can't be read")]
    File(#[from] std::io::Error),
    #[error("the export can't be read as it stands, so nothing was imported:\n{}", .0.join("\n"))]
    Faults(Vec<String>),
    #[error("the export has no rows")]
    Empty,
    #[error("more than {0} payments of the time it covers are not in it: is it this merchant's, and whole?")]
    Foreign(usize),
    #[error("the merchant is not configured here")]
    NoCredentials,
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error(transparent)]
    Compare(#[from] ReconcileError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is being done, for whoever waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Reading,
    Matching,
    /// Asking the processor, and telling someone.
    Settling,
}

/// What an import came to.
#[derive(Debug)]
pub struct Imported {
    pub export: Export,
    /// What did not plainly match. Of one that is kept: see [`exports::rows`].
    pub rows: Vec<Row>,
    /// The same file was imported before.
    pub is_known: bool,
    /// It is in the database.
    pub is_kept: bool,
    /// Rows about which the processor could not be asked.
    pub unasked: u64,
    /// Why, the last time.
    pub trouble: Option<String>,
    /// Outages that are settled by it.
    pub outages: Vec<Span>,
}

/// A file that is to be imported.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub merchant: MerchantId,
    pub path: &'a Path,
    pub by: &'a str,
    /// Otherwise it is only matched, and nothing is kept.
    pub does_it: bool,
}

/// Imports a file. `tell` hears how far it is.
pub async fn import(
    app: &App,
    asked: Asked<'_>,
    tell: &(impl Fn(Stage, u64, u64) + Sync),
) -> Result<Imported, ExportError> {
    let Asked { merchant, path, by, does_it } = asked;
    let digest = paper::digest(path)?;
    let known = exports::find(&app.db, merchant, &digest.sha256).await?;
    let is_known = known.is_some();
    let (export, rows) = match known {
        Some(export) => (export, Vec::new()),
        None => {
            let began_us = (app.clock)();
            let settings = &app.settings.reconcile.csv;
            let paper = tokio::task::block_in_place(|| {
                Paper::read(path, settings, &digest, &|done| tell(Stage::Reading, done, digest.bytes))
            })?;
            let rules = rules(app, &paper);
            let credit = app.settings.merchant(app.merchant_name(merchant)).map(|merchant| merchant.policy.credit);
            let credit = credit.ok_or(ExportError::NoCredentials)?;
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let (read, from_us, until_us) = (paper.count(), paper.from_us, paper.until_us);
            let matched = against::match_all(&app.db, merchant, paper, (rules, credit), tell).await?;
            let export = Export {
                id: 0,
                merchant,
                sha256: digest.sha256,
                file,
                asked_by: by.to_owned(),
                began_us,
                ended_us: None,
                from_us,
                until_us,
                rows: read,
                payments: matched.payments,
                counts: matched.counts,
            };
            (export, matched.rows)
        }
    };
    if !does_it {
        return Ok(Imported {
            export,
            rows,
            is_known,
            is_kept: is_known,
            unasked: 0,
            trouble: None,
            outages: Vec::new(),
        });
    }
    let export = if is_known { export } else { kept(&app.db, export, &rows).await? };
    let mut act = Act::new(app, &export)?;
    act.all(tell).await?;
    let (unasked, trouble) = (act.unasked, act.trouble);
    if unasked == 0 {
        exports::end(&app.db, export.id, (app.clock)()).await?;
    }
    let export = exports::get(&app.db, export.id).await?.unwrap_or(export);
    let is_over = exports::open_rows(&app.db, export.id).await? == 0;
    let outages = if is_over { outages::settle(app, &export).await? } else { Vec::new() };
    Ok(Imported { export, rows: Vec::new(), is_known, is_kept: true, unasked, trouble, outages })
}

/// Whoever keeps the same file at the same time shares what is kept first.
async fn kept(db: &Db, export: Export, rows: &[Row]) -> Result<Export, ExportError> {
    let is_ours = exports::keep(db, &export, rows).await?;
    let found = exports::find(db, export.merchant, &export.sha256).await?;
    let gone = || StoreError::Corrupt(format!("the export that was just kept ({is_ours:?}) is gone"));
    Ok(found.ok_or_else(gone)?)
}

fn rules(app: &App, paper: &Paper) -> Rules {
    let settings = &app.settings.reconcile.csv;
    Rules {
        amount: settings.amount_tolerance,
        time_us: settings.time_tolerance_s.saturating_mul(1_000_000),
        from_us: paper.from_us,
        until_us: paper.until_us,
    }
}
