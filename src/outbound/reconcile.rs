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
use crate::store::StoreError;
use crate::store::events;
use crate::store::reconcile::{self, Line, Run};

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

/// Compares, opens and settles, and keeps what was found. A processor that does not answer is a run with an error.
pub async fn run(app: &App, merchant: MerchantId, by: &str) -> Result<Run, ReconcileError> {
    let began_us = (app.clock)();
    let credentials = app.credentials(merchant).ok_or(ReconcileError::NoCredentials)?;
    let before = reconcile::last(&app.db, merchant).await?;
    let theirs = app.client.accounts(credentials).await;
    let position = events::last_position(&app.db).await?;
    let ours = reconcile::ours(&app.db, merchant).await?;
    let mut run =
        Run { merchant, began_us, ended_us: began_us, asked_by: by.to_owned(), error: None, lines: Vec::new() };
    match theirs {
        Err(trouble) => run.error = Some(trouble.to_string()),
        Ok(theirs) => {
            let mut sides: BTreeMap<String, Sides> = ours
                .into_iter()
                .map(|(currency, (ours, in_flight))| (currency, Sides { ours, theirs: Amount::ZERO, in_flight }))
                .collect();
            for account in theirs {
                let none = Sides { ours: Amount::ZERO, theirs: Amount::ZERO, in_flight: Amount::ZERO };
                sides.entry(account.currency).or_insert(none).theirs = account.balance;
            }
            wait_for_callbacks(app, merchant, position, &mut sides).await?;
            for (currency, sides) in sides {
                let was = before.iter().flat_map(|run| &run.lines).find(|line| line.currency == currency);
                run.lines.push(line(app, &run, currency, sides, was).await?);
            }
        }
    }
    run.ended_us = (app.clock)();
    reconcile::keep(&app.db, &run).await?;
    Ok(run)
}

/// Of a busy merchant some deposits are always on their way: the processor has them, and their callbacks come a moment
/// later. What is booked within that moment is no surplus.
async fn wait_for_callbacks(
    app: &App,
    merchant: MerchantId,
    position: i64,
    sides: &mut BTreeMap<String, Sides>,
) -> Result<(), ReconcileError> {
    let settle_s = app.settings.reconcile.settle_s;
    if settle_s == 0 || !sides.values().any(|sides| sides.surplus().is_positive()) {
        return Ok(());
    }
    sleep(Duration::from_secs(settle_s)).await;
    let came = reconcile::came_in(&app.db, merchant, position).await?;
    for (currency, sides) in sides {
        let explained = came.get(currency).copied().unwrap_or_default().min(sides.surplus());
        sides.ours = sides.ours.checked_add(explained).unwrap_or(sides.ours);
    }
    Ok(())
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
        (Verdict::Open, Some(opened)) if is_as_it_was || reconcile::is_open(&app.db, opened).await? => Some(opened),
        (Verdict::Open, _) => open(app, run.merchant, &currency, sides, run.began_us).await?,
        (Verdict::Waiting, opened) => opened,
        (Verdict::Matched | Verdict::Explained, Some(opened)) => {
            super::settle(app, run.merchant, opened, "the balances agree again", "reconciliation").await?;
            None
        }
        (Verdict::Matched | Verdict::Explained, None) => None,
    };
    let since_us = verdict.differs().then_some(since_us);
    Ok(Line { currency, sides, verdict, since_us, discrepancy })
}

fn sign(sides: Sides) -> Option<bool> {
    sides.difference().map(Amount::is_positive)
}

async fn open(
    app: &App,
    merchant: MerchantId,
    currency: &str,
    sides: Sides,
    began_us: i64,
) -> Result<Option<i64>, ReconcileError> {
    let difference = sides.difference().unwrap_or_default();
    let reason = if difference.is_positive() { Reason::BalanceSurplus } else { Reason::BalanceDeficit };
    // A run that died before it was kept has told it already.
    if let Some(told) = reconcile::open_report(&app.db, merchant, reason, currency).await? {
        return Ok(Some(told));
    }
    let finding = Finding {
        key: format!("{currency}/{began_us}"),
        reason: reason.code(),
        currency: currency.to_owned(),
        amount: if difference.is_positive() { difference } else { difference.negated() },
        note: format!(
            "the processor holds {}, the ledger says {}, withdrawals under way: {}",
            sides.theirs, sides.ours, sides.in_flight
        ),
        foreign_id: None,
    };
    let placed = app.booker.order(merchant, Order::Report(finding)).await?;
    Ok(reconcile::opened_by(&app.db, CallbackId(placed.id)).await?)
}
