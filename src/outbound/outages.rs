//! Outages of reception: telling someone what can't come back, and counting. What an outage means is `domain::outage`'s.

use crate::app::App;
use crate::domain::amount::Amount;
use crate::domain::event::rfc3339;
use crate::domain::order::Finding;
use crate::domain::outage::{Span, outlook, schedule_us};
use crate::domain::reason::Reason;
use crate::store::StoreError;
use crate::store::outages;

/// Opens a discrepancy for each merchant. The order follows from the outage alone: told again, it opens nothing.
pub async fn report(app: &App, outage: Span, lost: &[Span]) -> anyhow::Result<()> {
    for (merchant, _) in app.merchants() {
        let finding = Finding {
            key: format!("outage/{}", outage.from_us),
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
pub fn sentence(lost: &[Span]) -> String {
    let when = |span: &Span| format!("from {} to {}", rfc3339(span.from_us), rfc3339(span.to_us));
    let spans: Vec<_> = lost.iter().map(when).collect();
    format!(
        "callbacks first sent {} can't come back by themselves: import the dashboard's export of that time, or repeat them there",
        spans.join(" and ")
    )
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
