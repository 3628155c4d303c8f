//! Withdrawals that were sent, and of which the processor has known nothing for long: people are told once, by a
//! discrepancy, and it is settled once the withdrawal is known, whoever made it so. Nothing here moves money.

use crate::app::App;
use crate::booker::OrderError;
use crate::domain::event::rfc3339;
use crate::domain::order::Finding;
use crate::domain::reason::Reason;
use crate::store::withdrawals::{self, Open, State};

/// Of one step.
const BATCH: i64 = 100;

/// Opens a discrepancy for each that is missing. Told again by another replica, or after a crash, it is the same one.
pub async fn tell(app: &App) -> anyhow::Result<()> {
    let before_us = (app.clock)().saturating_sub(app.settings.outbound.missing_us());
    for missing in withdrawals::untold(&app.db, before_us, BATCH).await? {
        // One whose merchant is not configured here is another replica's to tell.
        if app.credentials(missing.merchant).is_some() {
            let opened = super::report(app, missing.merchant, finding(&missing), "reconciliation").await?;
            withdrawals::tell(&app.db, missing.id, opened).await?;
        }
    }
    Ok(())
}

/// Follows from the withdrawal's row alone.
fn finding(missing: &Open) -> Finding {
    let since_us = missing.missing_since_us.unwrap_or_default();
    let (name, since) = (&missing.foreign_id, rfc3339(since_us));
    Finding {
        key: format!("withdrawal/{}/{since_us}", missing.id),
        reason: Reason::WithdrawalMissing.code(),
        currency: missing.currency.clone(),
        amount: missing.amount,
        note: format!(
            "withdrawal {} ({name}) was sent, and asked about it the processor has said nothing of it since {since}: look \
             there before it is refunded",
            missing.id
        ),
        foreign_id: Some(name.clone()),
    }
}

/// Settles the discrepancies of those that are known meanwhile.
pub async fn settle(app: &App) -> anyhow::Result<()> {
    for found in withdrawals::known_again(&app.db, BATCH).await? {
        let note = match found.state {
            State::Settled | State::Failed => format!("the withdrawal is {}", found.state.word()),
            State::Requested | State::Sent | State::Unknown | State::Pending => "the processor knows it".to_owned(),
        };
        match super::settle(app, found.merchant, found.discrepancy, &note, "reconciliation").await {
            Ok(()) => withdrawals::tell(&app.db, found.id, None).await?,
            Err(OrderError::NoSeal) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
