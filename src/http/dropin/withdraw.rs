//! Withdrawals: the money is set aside before anything is sent, and what can't be set aside is refused in the
//! processor's envelope without asking it.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Ask;
use super::path::Fields;
use super::reply::Said;
use crate::app::App;
use crate::booker::{OrderError, Placed};
use crate::domain::customer::ReferenceKind;
use crate::domain::order::{Api, Withdrawal};
use crate::domain::reason::Reason;
use crate::outbound;
use crate::outbound::withdrawals::{self, Fate, Outgoing};
use crate::processor::asked::Wrong;
use crate::processor::client::Answer;

pub(super) async fn serve(app: &Arc<App>, ask: Ask, fields: Fields) -> Result<Answer, Said> {
    refuse_when_stopped(app).await?;
    // Nothing documented takes a query here, and it is not signed.
    if ask.path.contains('?') {
        return Err(Said::BadFormat);
    }
    let withdrawal = read(app, &ask, fields)?;
    let foreign_id = withdrawal.foreign_id.clone();
    let placed = place(app, &ask, withdrawal).await?;
    // The same bytes again: whatever became of them, they are not sent twice.
    if placed.is_duplicate {
        return Err(taken().into());
    }
    let outgoing =
        Outgoing { id: placed.id, merchant: ask.merchant, foreign_id, path: ask.path, headers: Some(ask.headers) };
    match withdrawals::send(app, outgoing).await? {
        Fate::Taken { answer, .. } | Fate::Refused(answer) => Ok(answer),
        // A 429, say: its name is taken now, and nobody is asked to send it again.
        Fate::Unknown { answer: Some(answer), .. } => Ok(Answer { retry_after: None, ..answer }),
        Fate::Unknown { trouble, answer: None } => Err(trouble.into()),
        Fate::Stopped => Err(Said::Stopped),
        Fate::Elsewhere => Err(taken().into()),
    }
}

pub(super) async fn refuse_when_stopped(app: &App) -> Result<(), Said> {
    if outbound::is_stopped(app).await? { Err(Said::Stopped) } else { Ok(()) }
}

fn taken() -> Wrong {
    Wrong::new("foreign_id", "has already been taken")
}

/// What is to be set aside, and for whom.
fn read(app: &App, ask: &Ask, fields: Fields) -> Result<Withdrawal, Said> {
    let asked = ask.asked()?;
    let (currency_field, amount_field) = match fields {
        Fields::Plain => ("currency", "amount"),
        Fields::Instant => ("sender_currency", "sender_amount"),
    };
    let required = |field: &'static str, value: Option<String>| value.ok_or_else(|| Wrong::missing(field));
    let foreign_id = required("foreign_id", asked.name("foreign_id")?)?;
    let currency = required(currency_field, asked.currency(currency_field)?)?;
    let address = required("address", asked.address("address")?)?;
    let currency_to = asked.currency("convert_to")?;
    let reference = asked.name("end_user_reference")?;
    let is_treasury = reference.as_ref().is_some_and(|user| withdrawals::is_treasury(app, ask.merchant, user));
    let is_converted = currency_to.as_ref().is_some_and(|to| *to != currency);
    let (currency, amount) = match (asked.amount(amount_field)?, asked.amount("amount_to")?) {
        (Some(amount), _) => (currency, amount),
        (None, Some(amount)) if !is_converted => (currency, amount),
        // What it will cost is known only afterwards: there is nothing exact to set aside.
        (None, Some(amount)) if is_treasury => (currency_to.clone().unwrap_or(currency), amount),
        (None, Some(_)) => return Err(inexact(amount_field).into()),
        (None, None) => return Err(Wrong::missing(amount_field).into()),
    };
    // Whose balance pays.
    let user = required("end_user_reference", reference)?;
    Ok(Withdrawal {
        foreign_id,
        customer: Some((ReferenceKind::EndUserReference, user)),
        currency,
        amount,
        currency_to,
        address,
        tag: asked.address("tag")?,
        api: Api::DropIn,
        request_sha256: const_hex::encode(Sha256::digest(&ask.body)),
        request: ask.body.clone(),
    })
}

/// Nothing goes out that was not set aside, so what it costs must be said.
fn inexact(amount_field: &'static str) -> Wrong {
    Wrong::plain(amount_field, &format!("The {} must be given: it is set aside first.", amount_field.replace('_', " ")))
}

/// Books the intent. A customer whom we don't know has nothing to take it from.
async fn place(app: &App, ask: &Ask, withdrawal: Withdrawal) -> Result<Placed, Said> {
    let placed = withdrawals::place(app, ask.merchant, withdrawal).await;
    placed.map_err(|error| match error {
        OrderError::Declined(Reason::InsufficientBalance | Reason::UnknownCustomer) => {
            Wrong::plain("amount", "Not enough amount").into()
        }
        OrderError::Declined(Reason::ForeignIdTaken) => taken().into(),
        OrderError::Declined(Reason::AmountOutOfRange) => Wrong::new("amount", "is invalid").into(),
        OrderError::Declined(_) | OrderError::Refused(_) | OrderError::NoSeal => error.into(),
    })
}
