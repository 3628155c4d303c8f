//! Outages of reception: telling someone what can't come back, settling that once an export accounts for it, and counting.
//! What an outage means is `domain::outage`'s.

use super::reconcile::{self, ReconcileError};
use crate::app::App;
use crate::domain::amount::Amount;
use crate::domain::event::rfc3339;
use crate::domain::ids::CallbackId;
use crate::domain::order::{Finding, Order};
use crate::domain::outage::{Span, outlook, schedule_us};
use crate::domain::reason::Reason;
use crate::domain::reconcile::Verdict;
use crate::store::exports::Export;
use crate::store::{Db, StoreError, callbacks, outages};

/// What the key of a finding about an outage begins with; the moment at which it began follows.
const KEY: &str = "outage/";

/// Opens a discrepancy for each merchant. The order follows from the outage alone: told again, it opens nothing.
pub async fn report(app: &App, outage: Span, lost: &[Span]) -> anyhow::Result<()> {
    for (merchant, _) in app.merchants() {
        let finding = Finding {
            key: format!("{KEY}{}", outage.from_us),
            reason: Reason::Outage.code(),
            currency: String::new(),
            amount: Amount::ZERO,
            note: sentence(lost),
            foreign_id: None,
        };
        super::report(app, merchant, finding, "reception").await?;
    }
    Ok(())
}

/// What someone must do about callbacks that can't come back.
fn sentence(lost: &[Span]) -> String {
    let when = |span: &Span| format!("from {} to {}", rfc3339(span.from_us), rfc3339(span.to_us));
    let spans: Vec<_> = lost.iter().map(when).collect();
    format!(
        "callbacks first sent {} can't come back by themselves: import the dashboard's export of that time, or repeat them there",
        spans.join(" and ")
    )
}

/// The latest outages, each with what becomes of its callbacks, in a sentence.
pub async fn latest(db: &Db, limit: u64) -> Result<Vec<(Span, String)>, StoreError> {
    let mut rows = Vec::new();
    for outage in outages::list(db, i64::MAX, limit).await? {
        let outlook = outlook(outage.span, &outages::around(db, outage.span).await?);
        let until = rfc3339(outlook.until_us);
        let sentence = match outlook.lost.as_slice() {
            [] => format!("the processor repeats what this missed by itself until {until}"),
            lost => format!("{}; it repeats the rest until {until}", sentence(lost)),
        };
        rows.push((outage.span, sentence));
    }
    Ok(rows)
}

/// Settles what was told of outages that an export covers, every row of which is over. Only if the balances agree to the last
/// digit as well: an export of some currencies or kinds says nothing about the others. Answers the outages.
pub async fn settle(app: &App, export: &Export) -> Result<Vec<Span>, ReconcileError> {
    let mut covered = Vec::new();
    for (discrepancy, order) in outages::open(&app.db, export.merchant).await? {
        if let Some(outage) = told_by(&app.db, order).await?
            && is_covered(&app.db, outage, export).await?
        {
            covered.push((discrepancy, outage));
        }
    }
    if covered.is_empty() {
        return Ok(Vec::new());
    }
    let run = reconcile::run(app, export.merchant, "import").await?;
    if run.error.is_some() || run.lines.iter().any(|line| line.verdict != Verdict::Matched) {
        return Ok(Vec::new());
    }
    let note = format!("the imported export {} accounts for it, and the balances agree", export.file);
    for (discrepancy, _) in &covered {
        super::settle(app, export.merchant, *discrepancy, &note, "reconciliation").await?;
    }
    Ok(covered.into_iter().map(|(_, outage)| outage).collect())
}

/// The outage that an order told of.
async fn told_by(db: &Db, order: CallbackId) -> Result<Option<Span>, StoreError> {
    let order = callbacks::load(db, &[order]).await?.pop().and_then(|stored| Order::parse(&stored.body));
    let Some(Order::Report(finding)) = order else { return Ok(None) };
    let Some(from_us) = finding.key.strip_prefix(KEY).and_then(|at| at.parse().ok()) else { return Ok(None) };
    Ok(outages::get(db, from_us).await?.map(|outage| outage.span))
}

/// Whether an export has rows from before and from after all that can't come back.
async fn is_covered(db: &Db, outage: Span, export: &Export) -> Result<bool, StoreError> {
    let lost = outlook(outage, &outages::around(db, outage).await?).lost;
    let is_in = |span: &Span| export.from_us <= span.from_us && span.to_us <= export.until_us;
    Ok(lost.iter().all(is_in))
}

/// Sets the gauges.
pub async fn count(app: &App) -> Result<(), StoreError> {
    let (all, open) = outages::counts(&app.db, Reason::Outage).await?;
    app.metrics.outages.set(all);
    app.metrics.outages_open.set(open);
    let mut is_repeating = false;
    let latest = outages::list(&app.db, i64::MAX, 20).await?;
    let since_us = (app.clock)().saturating_sub(schedule_us());
    for outage in latest.into_iter().filter(|outage| outage.span.to_us > since_us) {
        let around = outages::around(&app.db, outage.span).await?;
        is_repeating |= outlook(outage.span, &around).until_us > (app.clock)();
    }
    app.metrics.repeats_pending.raise(is_repeating);
    Ok(())
}
