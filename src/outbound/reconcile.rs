//! One run of reconciliation: a merchant's balances at the processor against the ledger, in both directions. A lasting
//! difference opens a discrepancy, once; when it is gone, the discrepancy is settled. Nothing here moves money.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use crate::app::App;
use crate::booker::OrderError;
use crate::domain::amount::Amount;
use crate::domain::ids::{CallbackId, MerchantId};
use crate::domain::order::{Finding, Order};
use crate::domain::reason::Reason;
use crate::domain::reconcile::{Sides, Verdict};
use crate::processor::client::{Credentials, Trouble};
use crate::store::StoreError;
use crate::store::cursor::database_now_us;
use crate::store::reconcile::{self, Line, Run};

/// A surplus is looked at so often again, within `reconcile.settle_s`.
const LOOKS: u32 = 5;
const NOTHING: Sides = Sides { ours: Amount::ZERO, theirs: Amount::ZERO, in_flight: Amount::ZERO };

/// Why a run could not even be kept.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error("the merchant is not configured here")]
    NoCredentials,
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Compares, opens and settles, and keeps what was found; its times are the database's. A processor that does not answer is a run with an error.
pub async fn run(app: &App, merchant: MerchantId, by: &str) -> Result<Run, ReconcileError> {
    let began_us = database_now_us(&app.db).await?;
    let credentials = app.credentials(merchant).ok_or(ReconcileError::NoCredentials)?;
    let before = reconcile::last(&app.db, merchant).await?;
    let mut run =
        Run { merchant, began_us, ended_us: began_us, asked_by: by.to_owned(), error: None, lines: Vec::new() };
    match compare(app, merchant, credentials).await? {
        Err(trouble) => run.error = Some(trouble.to_string()),
        Ok(sides) => {
            for (currency, sides) in sides {
                let was = before.iter().flat_map(|run| &run.lines).find(|line| line.currency == currency);
                run.lines.push(line(app, &run, currency, sides, was).await?);
            }
        }
    }
    run.ended_us = database_now_us(&app.db).await?;
    reconcile::keep(&app.db, &run).await?;
    Ok(run)
}

type Seen = Result<BTreeMap<String, Sides>, Trouble>;

/// Both sides of every currency. Of a busy merchant some deposits are always on their way: the processor has them, and
/// their callbacks come a moment later. So a surplus is looked at again for that moment, and the smallest one counts.
async fn compare(app: &App, merchant: MerchantId, by: &Credentials) -> Result<Seen, StoreError> {
    let mut sides = match look(app, merchant, by).await? {
        Ok(sides) => sides,
        Err(trouble) => return Ok(Err(trouble)),
    };
    let pause = Duration::from_secs(app.settings.reconcile.settle_s).checked_div(LOOKS).unwrap_or_default();
    for _ in 0..LOOKS {
        if pause.is_zero() || !sides.values().any(|sides| sides.surplus().is_positive()) {
            break;
        }
        sleep(pause).await;
        // What was seen stands.
        let Ok(again) = look(app, merchant, by).await? else { break };
        for (currency, later) in again {
            sides.entry(currency).and_modify(|sides| *sides = sides.or_later(later)).or_insert(later);
        }
    }
    Ok(Ok(sides))
}

/// One look. The ledger's balances are read before the processor's, so that what is booked meanwhile is on its way rather
/// than missing there; what is under way is read before and after, because withdrawals are sent and end meanwhile.
async fn look(app: &App, merchant: MerchantId, by: &Credentials) -> Result<Seen, StoreError> {
    let ours = reconcile::ours(&app.db, merchant).await?;
    let theirs = match app.client.accounts(by).await {
        Ok(theirs) => theirs,
        Err(trouble) => return Ok(Err(trouble)),
    };
    let after = reconcile::ours(&app.db, merchant).await?;
    let mut seen: BTreeMap<String, Sides> = BTreeMap::new();
    for (currency, (ours, in_flight)) in ours {
        seen.insert(currency, Sides { ours, theirs: Amount::ZERO, in_flight });
    }
    for (currency, (_, in_flight)) in after {
        let sides = seen.entry(currency).or_insert(NOTHING);
        sides.in_flight = sides.in_flight.max(in_flight);
    }
    for account in theirs {
        seen.entry(account.currency).or_insert(NOTHING).theirs = account.balance;
    }
    Ok(Ok(seen))
}

async fn line(
    app: &App,
    run: &Run,
    currency: String,
    sides: Sides,
    was: Option<&Line>,
) -> Result<Line, ReconcileError> {
    let is_same_way = |was: &&Line| was.verdict.differs() && sign(was.sides) == sign(sides);
    let since_us = was.filter(is_same_way).and_then(|was| was.since_us).unwrap_or(run.began_us);
    let patience_us = app.settings.reconcile.patience_s.saturating_mul(1_000_000);
    let verdict = sides.judge(run.began_us.saturating_sub(since_us), patience_us);
    let opened = was.and_then(|was| was.discrepancy);
    let is_as_it_was = was.is_some_and(|was| was.sides.difference() == sides.difference());
    let discrepancy = match (verdict, opened) {
        // Someone may have settled it, knowing of the difference: it is opened again only when it changes.
        (Verdict::Open, Some(opened)) if is_as_it_was => Some(opened),
        (Verdict::Open, _) => {
            let from_us = run.began_us.saturating_sub(patience_us);
            let before = reconcile::since(&app.db, run.merchant, &currency, from_us).await?;
            open(app, run, &currency, sides, sides.lasting(&before)).await?
        }
        (Verdict::Waiting, opened) => opened,
        (Verdict::Matched, _) => {
            for reason in [Reason::BalanceSurplus, Reason::BalanceDeficit] {
                settle(app, run.merchant, (reason, &currency), "the balances agree again").await?;
            }
            None
        }
        // What is under way explains what is missing. There may be a surplus behind it.
        (Verdict::Explained, _) => {
            settle(app, run.merchant, (Reason::BalanceDeficit, &currency), "what is under way explains it").await?;
            reconcile::open_report(&app.db, run.merchant, Reason::BalanceSurplus, &currency).await?
        }
    };
    let since_us = verdict.differs().then_some(since_us);
    Ok(Line { currency, sides, verdict, since_us, discrepancy })
}

fn sign(sides: Sides) -> Option<bool> {
    sides.difference().map(Amount::is_positive)
}

async fn settle(
    app: &App,
    merchant: MerchantId,
    (reason, currency): (Reason, &str),
    note: &str,
) -> Result<(), ReconcileError> {
    if let Some(opened) = reconcile::open_report(&app.db, merchant, reason, currency).await? {
        super::settle(app, merchant, opened, note, "reconciliation").await?;
    }
    Ok(())
}

/// `lasting`: as much of the difference as is told.
async fn open(
    app: &App,
    run: &Run,
    currency: &str,
    sides: Sides,
    lasting: Amount,
) -> Result<Option<i64>, ReconcileError> {
    let is_surplus = lasting.is_positive();
    let reason = if is_surplus { Reason::BalanceSurplus } else { Reason::BalanceDeficit };
    // It is open since before, or a run that died before it was kept has told it.
    if let Some(told) = reconcile::open_report(&app.db, run.merchant, reason, currency).await? {
        return Ok(Some(told));
    }
    let mut note = format!(
        "the processor holds {}, the ledger says {}, withdrawals under way: {}",
        sides.theirs, sides.ours, sides.in_flight
    );
    if is_surplus && lasting < sides.surplus() {
        note.push_str("; this much was there at every comparison, the rest may be on its way");
    }
    let finding = Finding {
        key: format!("{currency}/{}", run.began_us),
        reason: reason.code(),
        currency: currency.to_owned(),
        amount: if is_surplus { lasting } else { lasting.negated() },
        note,
        foreign_id: None,
    };
    let placed = app.booker.order(run.merchant, Order::Report(finding)).await?;
    Ok(reconcile::opened_by(&app.db, CallbackId(placed.id)).await?)
}
