//! Comparing a held deposit with the processor's own answer, before it is booked. Where both say the same, the hold is
//! waived; where they differ, or the processor knows nothing of it, someone is told and only a person goes on.

use tracing::{info, warn};

use super::asks::Reading;
use crate::app::App;
use crate::booker::{Judgement, replay};
use crate::domain::amount::Amount;
use crate::domain::callback::Callback;
use crate::domain::decide::Waived;
use crate::domain::expected::Expected;
use crate::domain::ids::CallbackId;
use crate::domain::order::Finding;
use crate::domain::reason::Reason;
use crate::domain::verify::{Comparison, compare};
use crate::processor::client::Subject;
use crate::processor::wire;
use crate::store::asks::{self, Ask, Outcome};
use crate::store::audit_log::{self, Actor, Deed};
use crate::store::booking::State;
use crate::store::callbacks;

const UNKNOWN: &str = "the processor knows nothing of it";

/// Asks about one deposit that waits.
pub async fn check(app: &App, ask: &Ask) -> anyhow::Result<Reading> {
    let Some(id) = ask.reference.parse().ok().map(CallbackId) else { return over(app, ask).await };
    let waits = callbacks::of_ids(&app.db, &[id])
        .await?
        .pop()
        .is_some_and(|summary| summary.state == State::Held && summary.reason == Some(Reason::AwaitsVerification));
    // A pruned body can't be compared, nor booked.
    let stored = callbacks::load(&app.db, &[id]).await?.pop();
    let Some(stored) = stored.filter(|_| waits) else { return over(app, ask).await };
    if ask.discrepancy.is_some() {
        return again(app, ask, Reading::Open, None).await;
    }
    let callback = wire::read(&stored.body);
    let payment = callback.head.payment_id.as_deref().and_then(|id| id.parse().ok());
    let (Some(by), Some(payment)) = (app.credentials(ask.merchant), payment) else {
        return again(app, ask, Reading::Later, None).await;
    };
    match app.client.transaction(by, &Subject::Id(payment)).await {
        Ok(Some(body)) => match compare(&callback, &wire::read(&body)) {
            Comparison::Agrees => book(app, ask, id).await,
            Comparison::NotYet => again(app, ask, Reading::Open, None).await,
            Comparison::Differs(what) => {
                let opened = report(app, ask, (id, &callback), &what.join("; ")).await?;
                again(app, ask, Reading::Open, opened).await
            }
        },
        Ok(None) if ask.missing.saturating_add(1) >= app.settings.reconcile.misses => {
            let opened = report(app, ask, (id, &callback), UNKNOWN).await?;
            again(app, ask, Reading::Missing, opened).await
        }
        Ok(None) => again(app, ask, Reading::Missing, None).await,
        Err(trouble) => {
            info!(callback.id = %id, error = %trouble, "The processor could not be asked about a deposit that waits");
            again(app, ask, Reading::Later, None).await
        }
    }
}

/// The same code as every other decision, which books it once whoever else does.
async fn book(app: &App, ask: &Ask, id: CallbackId) -> anyhow::Result<Reading> {
    let judgement = Judgement::BookAnyway(Waived::of(Reason::AwaitsVerification));
    let diff = replay::judge(&app.db, &app.booker, &[id], Some(judgement), false).await?;
    if diff.changes.iter().any(|change| change.state == State::Booked && !change.is_unchanged) {
        let deed = Deed {
            action: "deposit.verify",
            subject: format!("callback/{id}"),
            before: Some(format!("held: {}", Reason::AwaitsVerification.word())),
            after: Some("the processor says the same: booked".to_owned()),
            at_us: (app.clock)(),
        };
        let verification = Actor { name: "verification".to_owned(), role: "worker", request_id: String::new() };
        audit_log::note(&app.db.orm, &verification, deed).await?;
    }
    over(app, ask).await
}

async fn over(app: &App, ask: &Ask) -> anyhow::Result<Reading> {
    if let Some(discrepancy) = ask.discrepancy {
        super::settle(app, ask.merchant, discrepancy, "the deposit does not wait any more", "verification").await?;
    }
    asks::end(&app.db, ask).await?;
    Ok(Reading::Over)
}

async fn again(app: &App, ask: &Ask, reading: Reading, opened: Option<i64>) -> anyhow::Result<Reading> {
    let outcome = Outcome {
        next_us: (app.clock)().saturating_add(Expected::Check.wait_us(ask.attempts)),
        missing: if reading == Reading::Missing { ask.missing.saturating_add(1) } else { ask.missing },
        discrepancy: ask.discrepancy.or(opened),
    };
    asks::again(&app.db, ask, outcome).await?;
    Ok(reading)
}

async fn report(
    app: &App,
    ask: &Ask,
    (id, callback): (CallbackId, &Callback),
    what: &str,
) -> anyhow::Result<Option<i64>> {
    let received = callback.terms.as_ref().ok().and_then(|terms| terms.received.clone());
    let (currency, amount) =
        received.map_or((String::new(), Amount::ZERO), |received| (received.currency, received.amount));
    let payment = callback.head.payment_id.as_deref().unwrap_or_default();
    let finding = Finding {
        key: format!("verify/{id}"),
        reason: Reason::VerificationDiffers.code(),
        currency,
        amount,
        note: format!("deposit {payment}, held as callback {id}: {what}"),
        foreign_id: None,
    };
    warn!(callback.id = %id, "A deposit that waits is not what the processor says");
    super::report(app, ask.merchant, finding, "verification").await
}
