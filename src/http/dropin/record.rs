//! Addresses, invoices and exchanges: written down before they are forwarded, so that a callback finds its customer
//! however fast it comes.

use tracing::{info, warn};

use super::reply::Said;
use super::{Ask, forward};
use crate::app::App;
use crate::booker::OrderError;
use crate::domain::customer::ReferenceKind;
use crate::domain::ids::CustomerId;
use crate::domain::order::Order;
use crate::processor::client::{Answer, Trouble};
use crate::store::requests::{self, Kind, New, State};

pub(super) async fn serve(app: &App, ask: &Ask, kind: Kind) -> Result<Answer, Said> {
    let asked = ask.asked()?;
    // What can't be read the processor will refuse by itself: then there is nobody to be known, and nothing to find.
    let foreign_id = asked.name("foreign_id").ok().flatten();
    let reference = asked.name("end_user_reference").ok().flatten();
    let customer = make_known(app, ask, kind, foreign_id.clone(), reference).await?;
    let new = New {
        merchant: ask.merchant,
        kind,
        customer,
        foreign_id: foreign_id.as_deref().unwrap_or_default(),
        request: &ask.body,
        asked_us: (app.clock)(),
    };
    let id = requests::add(&app.db, &new).await?;
    let answered = forward(app, ask).await;
    let (state, answer) = match &answered {
        Ok(answer) => (state_of(answer), Some((answer.status, answer.body.as_slice()))),
        Err(_) => (State::Unknown, None),
    };
    if let Err(error) = requests::complete(&app.db, id, state, answer, (app.clock)()).await {
        warn!(error = format!("{:#}", anyhow::Error::new(error)), "An answer of the processor could not be stored");
    }
    Ok(answered?)
}

fn state_of(answer: &Answer) -> State {
    if matches!(answer.status, 200 | 201) {
        return State::Answered;
    }
    match Trouble::of(answer) {
        Trouble::Refused(_) | Trouble::Limited => State::Refused,
        Trouble::NotSent { .. } | Trouble::Unknown { .. } => State::Unknown,
    }
}

/// A customer is known before the processor knows of them: an address by its `foreign_id`, an invoice by its own.
async fn make_known(
    app: &App,
    ask: &Ask,
    kind: Kind,
    foreign_id: Option<String>,
    reference: Option<String>,
) -> Result<Option<CustomerId>, Said> {
    let user = reference.map(|value| (ReferenceKind::EndUserReference, value));
    let own = match kind {
        Kind::Address => foreign_id.map(|value| (ReferenceKind::ForeignId, value)),
        // An invoice that names nobody would make a customer of itself.
        Kind::Invoice => foreign_id.filter(|_| user.is_some()).map(|value| (ReferenceKind::Invoice, value)),
        Kind::Exchange => return Ok(None),
    };
    let references: Vec<_> = user.into_iter().chain(own).collect();
    if references.is_empty() {
        return Ok(None);
    }
    match app.booker.order(ask.merchant, Order::Customer { references }).await {
        Ok(placed) => Ok(placed.customer),
        // The references belong to different customers. The processor takes it; what comes of it goes to suspense.
        Err(OrderError::Declined(reason)) => {
            info!(reason = reason.word(), "A request names two customers");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
