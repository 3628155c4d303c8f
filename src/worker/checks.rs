//! Looks again and again whether the ledger is what it must be: a stretch of the journal, the accounts it touched and
//! some others, what was published, what waits. One replica looks; all of them show what was found.
//!
//! Cheap on a big ledger: the chain goes on from the last entry that was right, accounts are compared with the lines that
//! follow the journal, and the sum of all accounts takes a hundredth of the time at most. `ledger verify` looks at all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{error, info};

use super::{Progress, Worker, about};
use crate::app::App;
use crate::domain::check::{Check, Finding};
use crate::domain::journal::chain;
use crate::store::checks::{self, Kept, Mark, Which};
use crate::store::proof::Snapshot;
use crate::store::{StoreError, cursor};

const CURSOR: &str = "checks";
const LEASE_US: i64 = 300_000_000;
const LOOK: Duration = Duration::from_secs(1);
/// Entries that are read at once, and that one round looks at.
const PAGE: i64 = 1_000;
const ENTRIES: i64 = 20_000;
/// Accounts of a round beside those that the entries touched, and of one question.
const ACCOUNTS: i64 = 1_000;
const QUESTION: usize = 1_000;
/// While the journal is this far ahead of the account lines, balances wait for them.
const AHEAD: i64 = 50_000;
/// Rest after a round that did not reach the end, and after summing all accounts, by how long it took.
const REST: u32 = 9;
const SUM_REST: u32 = 100;
/// Accounts that a finding names.
const NAMED: usize = 10;

/// What checking needs.
pub struct Checker {
    app: Arc<App>,
    owner: String,
    /// This process has looked once, to the journal's end.
    has_begun: bool,
    /// When all accounts may be summed again.
    sum_at: Instant,
}

impl Checker {
    pub fn new(app: Arc<App>, owner: String) -> Self {
        Self { app, owner, has_begun: false, sum_at: Instant::now() }
    }

    /// Looks now. Whether there is more of the journal to look at.
    pub async fn look(&mut self) -> anyhow::Result<bool> {
        let app = &*self.app;
        let (mut findings, is_behind) = ledger(app).await?;
        let begun = Instant::now();
        if begun >= self.sum_at {
            findings.push(zero(app).await?);
            let rest = begun.elapsed().saturating_mul(SUM_REST);
            self.sum_at = begun.checked_add(rest).unwrap_or(begun);
        }
        findings.push(outbox(app).await?);
        findings.push(holds(app).await?);
        keep(app, findings).await?;
        self.has_begun = !is_behind;
        show(app).await?;
        Ok(is_behind)
    }
}

impl Worker for Checker {
    const NAME: &'static str = "checking of the ledger";

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let db = self.app.db.clone();
        show(&self.app).await?;
        let every_us = if self.has_begun { self.app.settings.checks.every_s.saturating_mul(1_000_000) } else { 0 };
        let Some(turn) = cursor::take_turn(&db, CURSOR, &self.owner, every_us, LEASE_US).await? else {
            return Ok(Progress::Idle);
        };
        let begun = Instant::now();
        let is_behind = self.look().await?;
        cursor::end_turn(&db, CURSOR, &self.owner, turn).await?;
        if is_behind {
            sleep(begun.elapsed().saturating_mul(REST)).await;
        }
        Ok(if is_behind { Progress::More } else { Progress::Idle })
    }

    async fn woken(&mut self) {
        about(LOOK).await;
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(cursor::release(&self.app.db, CURSOR, &self.owner).await?)
    }
}

/// A row that makes no sense is a finding; a database that does not answer is not.
fn found<T>(result: Result<T, StoreError>) -> Result<Result<T, String>, StoreError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(StoreError::Corrupt(what)) => Ok(Err(what)),
        Err(error) => Err(error),
    }
}

/// The chain, and the balances of the accounts it touched and of some others. Whether there is more to look at.
async fn ledger(app: &App) -> Result<(Vec<Finding>, bool), StoreError> {
    let mut mark = checks::mark(&app.db).await?;
    let mut snapshot = Snapshot::begin(&app.db).await?;
    let (head, _) = snapshot.head().await?;
    let mut touched = BTreeSet::new();
    let chained = follow(&mut snapshot, &mut mark, head, &mut touched).await?;
    let is_behind = chained.is_ok() && mark.position < head;
    let chained = chained.map(|()| format!("right up to entry {} of {head}", mark.position));
    let mut findings = vec![Finding { check: Check::Chain, result: chained }];
    match found(balances(&mut snapshot, &mut mark, head, &touched).await)? {
        Ok(Some(result)) => findings.push(Finding { check: Check::Balances, result }),
        // What was found before stands.
        Ok(None) if checks::kept(&app.db).await?.iter().any(|kept| kept.check == Check::Balances) => {}
        Ok(None) => {
            let waits = "waits until the account lines have followed the journal".to_owned();
            findings.push(Finding { check: Check::Balances, result: Ok(waits) });
        }
        Err(what) => findings.push(Finding { check: Check::Balances, result: Err(what) }),
    }
    checks::set_mark(&app.db, &mark).await?;
    Ok((findings, is_behind))
}

/// Goes on along the chain from the mark. Where it breaks the mark stays, so that it is found again.
async fn follow(
    snapshot: &mut Snapshot,
    mark: &mut Mark,
    head: i64,
    touched: &mut BTreeSet<i64>,
) -> Result<Result<(), String>, StoreError> {
    if mark.position > 0 {
        let before = mark.position.saturating_sub(1);
        let last = match found(snapshot.journal(before, 1).await)? {
            Ok(page) => page.into_iter().next(),
            Err(what) => return Ok(Err(what)),
        };
        let is_same =
            |last: &crate::store::proof::Journaled| last.entry.position == mark.position && last.hash == mark.hash;
        if !last.as_ref().is_some_and(is_same) {
            return Ok(Err(format!("journal entry {} is not what it was when it was checked", mark.position)));
        }
    }
    let end = Ord::min(head, mark.position.saturating_add(ENTRIES));
    while mark.position < end {
        let page = match found(snapshot.journal(mark.position, PAGE).await)? {
            Ok(page) => page,
            Err(what) => return Ok(Err(what)),
        };
        let next = mark.position.saturating_add(1);
        if page.is_empty() {
            return Ok(Err(format!("journal entry {next} is missing, the head is at {head}")));
        }
        for journaled in page {
            let (entry, at) = (&journaled.entry, mark.position.saturating_add(1));
            if entry.position != at {
                return Ok(Err(format!("journal entry {at} is missing; the next is {}", entry.position)));
            }
            let digest = <&[u8; 32]>::try_from(journaled.digest.as_slice());
            let hash = digest.map(|digest| chain(&mark.hash, entry, digest));
            let Some(hash) = hash.ok().filter(|hash| hash.as_slice() == journaled.hash) else {
                return Ok(Err(format!("journal entry {at}: its hash is not that of its row and the entry before it")));
            };
            touched.extend(entry.postings.iter().flat_map(|posting| [posting.debit.0, posting.credit.0]));
            (mark.position, mark.hash) = (at, hash);
        }
    }
    Ok(Ok(()))
}

/// `None`: the lines that balances are compared with are too far behind.
async fn balances(
    snapshot: &mut Snapshot,
    mark: &mut Mark,
    head: i64,
    touched: &BTreeSet<i64>,
) -> Result<Option<Result<String, String>>, StoreError> {
    let Some((followed, moves)) = checks::moves(snapshot, head, AHEAD).await? else { return Ok(None) };
    let mut wrong = BTreeSet::new();
    let all: Vec<i64> = touched.iter().copied().collect();
    for ids in all.chunks(QUESTION) {
        let ids = ids.iter().copied().collect();
        wrong.extend(checks::differing(snapshot, Which::These(&ids), (followed, &moves)).await?.0);
    }
    let some = Which::After(mark.account, ACCOUNTS);
    let (differing, last) = checks::differing(snapshot, some, (followed, &moves)).await?;
    wrong.extend(differing);
    // After the last account the first comes again; a wrong one is looked at until it is right.
    mark.account = wrong.first().map_or_else(|| last.unwrap_or_default(), |first| first.saturating_sub(1));
    if wrong.is_empty() {
        return Ok(Some(Ok(format!("{} touched accounts and others up to {}", touched.len(), mark.account))));
    }
    let named: Vec<_> = wrong.iter().take(NAMED).map(ToString::to_string).collect();
    let (count, named) = (wrong.len(), named.join(", "));
    Ok(Some(Err(format!("{count} accounts whose balance is not the sum of their postings: {named}"))))
}

async fn zero(app: &App) -> Result<Finding, StoreError> {
    let mut snapshot = Snapshot::begin(&app.db).await?;
    let unequal = match found(checks::unequal(&mut snapshot).await)? {
        Ok(unequal) => unequal,
        Err(what) => return Ok(Finding { check: Check::Zero, result: Err(what) }),
    };
    let named = unequal.iter().take(NAMED).map(|(merchant, currency)| {
        format!("the {currency} accounts of {}", app.names.0.get(merchant).map_or("?", String::as_str))
    });
    let named: Vec<_> = named.collect();
    let result = if named.is_empty() {
        Ok("every merchant and currency sums to zero".to_owned())
    } else {
        Err(format!("{} do not sum to zero", named.join(", ")))
    };
    Ok(Finding { check: Check::Zero, result })
}

async fn outbox(app: &App) -> Result<Finding, StoreError> {
    let has_broker = !app.settings.broker.urls.is_empty();
    // Without a broker nothing is published, and the newest entries are looked at.
    let from = if has_broker { None } else { Some(checks::mark(&app.db).await?.position.saturating_sub(PAGE).max(0)) };
    let standing = checks::standing(&app.db, from, ENTRIES).await?;
    let age_us = standing.oldest_us.filter(|_| has_broker).map(|at_us| (app.clock)().saturating_sub(at_us));
    let limit_us = app.settings.checks.outbox_s.saturating_mul(1_000_000);
    let result = if standing.head != standing.last {
        Err(format!("the journal's head is at {}, its last entry at {}", standing.head, standing.last))
    } else if standing.published > standing.head {
        Err(format!("published up to {}, but the journal ends at {}", standing.published, standing.head))
    } else if standing.there != standing.expected {
        let missing = standing.expected.saturating_sub(standing.there);
        Err(format!("{missing} entries are missing after what was published"))
    } else if let Some(age_us) = age_us.filter(|age_us| *age_us > limit_us) {
        Err(format!("an event waits for the broker since {} s", age_us.div_euclid(1_000_000)))
    } else {
        Ok(format!("no hole up to {}", standing.head))
    };
    Ok(Finding { check: Check::Outbox, result })
}

async fn holds(app: &App) -> Result<Finding, StoreError> {
    let limit_s = app.settings.checks.hold_s;
    let before_us = (app.clock)().saturating_sub(limit_s.saturating_mul(1_000_000));
    let old = checks::old_holds(&app.db, before_us).await?;
    let result = if old == 0 {
        Ok(format!("nothing waits for more than {limit_s} s"))
    } else {
        Err(format!("{old} discrepancies are open for more than {limit_s} s"))
    };
    Ok(Finding { check: Check::Holds, result })
}

/// A failure is logged when it begins, and when it is over.
async fn keep(app: &App, findings: Vec<Finding>) -> Result<(), StoreError> {
    let before = checks::kept(&app.db).await?;
    let now_us = (app.clock)();
    for Finding { check, result } in findings {
        let (is_fine, detail) = match result {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        let was = before.iter().find(|kept| kept.check == check);
        let is_same = was.is_some_and(|was| was.is_fine == is_fine);
        match (is_same, is_fine) {
            (false, false) => error!(check = check.word(), detail, "A check of the ledger fails: someone must look"),
            (false, true) if was.is_some() => info!(check = check.word(), "A check of the ledger is fine again"),
            (true, _) | (false, true) => {}
        }
        let changed_us = was.filter(|_| is_same).map_or(now_us, |was| was.changed_us);
        checks::keep(&app.db, &Kept { check, is_fine, checked_us: now_us, changed_us, detail }).await?;
    }
    Ok(())
}

/// What any replica found, on the gauges of this one.
async fn show(app: &App) -> Result<(), StoreError> {
    let kept = checks::kept(&app.db).await?;
    for kept in &kept {
        app.metrics.check_failed(kept.check).raise(!kept.is_fine);
    }
    if let Some(last_us) = kept.iter().map(|kept| kept.checked_us).max() {
        let age_us = (app.clock)().saturating_sub(last_us);
        app.metrics.checked_age_s.set(u64::try_from(age_us.div_euclid(1_000_000)).unwrap_or(0));
    }
    Ok(())
}
