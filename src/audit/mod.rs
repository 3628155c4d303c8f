//! `ledger verify`: derives everything anew and compares. Every stored body's digest and signature; every decision,
//! in the order they were made; every posting from the bytes; every balance from the postings; the chain of hashes from
//! the first entry to the head. It trusts nothing but the bytes, the secrets and which customer a reference names,
//! reads one snapshot, and writes nothing.

mod books;
mod decisions;
mod orders;
mod pool;

use std::thread;

use books::Books;
use decisions::{Decisions, Reading};
use pool::Pools;
use tokio::task;

use crate::processor::signature::Keyring;
use crate::store::proof::{Snapshot, Stored};
use crate::store::{Db, StoreError};

/// Rows read at a time.
const PAGE: i64 = 4_000;
/// Differences named before it stops looking.
const NAMED_MAX: usize = 20;

/// What was looked at, and what differs: the first difference first.
#[derive(Debug, Default)]
pub struct Report {
    pub callbacks: u64,
    pub entries: u64,
    pub accounts: u64,
    /// Bodies that are pruned: their digests and the chain still hold.
    pub pruned: u64,
    pub differences: Vec<String>,
}

impl Report {
    fn differs(&mut self, what: String) {
        if self.differences.len() < NAMED_MAX {
            self.differences.push(what);
        }
    }
}

/// Verifies the whole ledger.
pub async fn verify(db: &Db, keyring: &Keyring) -> Result<Report, StoreError> {
    let mut snapshot = Snapshot::begin(db).await?;
    let mut report = Report::default();
    let references = snapshot.references().await?;
    let pools = Pools::read(&mut snapshot).await?;
    let mut decisions = Decisions::new(references, &snapshot.turns().await?, pools);
    let mut page = snapshot.callbacks(0, PAGE).await?;
    while let Some(last) = page.last().map(|stored| stored.id) {
        // The next page comes while this one is checked.
        let (read, next) = {
            let checked = task::block_in_place(|| {
                let runtime = tokio::runtime::Handle::current();
                thread::scope(|scope| {
                    let reading = scope.spawn(|| read(&page, keyring));
                    let next = runtime.block_on(snapshot.callbacks(last, PAGE));
                    (reading.join(), next)
                })
            });
            let read = checked.0.map_err(|_panic| StoreError::Corrupt("a check panicked".into()))?;
            (read, checked.1?)
        };
        for (stored, reading) in page.into_iter().zip(read) {
            report.callbacks = report.callbacks.saturating_add(1);
            decisions.take(stored, reading, &mut report);
        }
        page = next;
    }
    decisions.finish(&mut report);
    let mut after = 0;
    loop {
        let page = snapshot.withdrawals(after, PAGE).await?;
        let Some(last) = page.last().map(|row| row.id) else { break };
        page.iter().for_each(|row| decisions.around.check(row, &mut report));
        after = last;
    }
    decisions.around.finish(&mut report);
    journal(&mut snapshot, decisions, &mut report).await?;
    Ok(report)
}

async fn journal(snapshot: &mut Snapshot, decisions: Decisions, report: &mut Report) -> Result<(), StoreError> {
    let mut books = Books::new(snapshot.accounts().await?, decisions);
    loop {
        let page = snapshot.journal(books.position(), PAGE).await?;
        if page.is_empty() {
            break;
        }
        for journaled in page {
            report.entries = report.entries.saturating_add(1);
            books.take(&journaled, report);
        }
    }
    let (position, hash) = snapshot.head().await?;
    books.finish(position, &hash, report);
    Ok(())
}

/// Digests, signatures and parsing: what needs no order, on both cores.
fn read(page: &[Stored], keyring: &Keyring) -> Vec<Reading> {
    let (left, right) = page.split_at(page.len().div_euclid(2));
    thread::scope(|scope| {
        let left = scope.spawn(|| left.iter().map(|stored| Reading::of(stored, keyring)).collect::<Vec<_>>());
        let right: Vec<_> = right.iter().map(|stored| Reading::of(stored, keyring)).collect();
        let mut all = left.join().unwrap_or_default();
        all.extend(right);
        all
    })
}
