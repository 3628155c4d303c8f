//! What the forms of a discrepancy's page do: the same as the admin API, with the same refusals, told on the page.

use actix_web::web;
use serde::Deserialize;

use super::held::{none, number, refused};
use super::{Answer, Form, see};
use crate::app::App;
use crate::booker::resolve::{Asking, Linked, Named};
use crate::domain::account::AccountKind;
use crate::http::admin::query::text;
use crate::http::admin::resolution::{Wanted, declined, resolver};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::discrepancies::{self, NoteKind};
use crate::store::proposals::State;

/// The fields of all forms that resolve; each form has some of them.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Filled {
    action: String,
    note: String,
    /// What kind of reference `customer` is.
    by: String,
    customer: String,
    payment_type: String,
    payment_id: String,
    debit: String,
    credit: String,
    currency: String,
    amount: String,
}

impl Filled {
    fn wanted(self) -> Result<Wanted, ApiError> {
        let Self { action, note, by, customer, payment_type, payment_id, debit, credit, currency, amount } = self;
        let given = |text: String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let customer = given(customer).map(|name| match by.as_str() {
            "end_user_reference" => Ok(Named::EndUserReference(name)),
            "foreign_id" => Ok(Named::ForeignId(name)),
            _ => Err(ApiError::Invalid("say by which reference the customer is known".to_owned())),
        });
        let payment = given(payment_id).map(|id| Linked { r#type: payment_type.trim().to_owned(), id });
        Ok(Wanted {
            action: Some(action),
            note: Some(note),
            customer: customer.transpose()?,
            payment,
            debit: account(given(debit))?,
            credit: account(given(credit))?,
            currency: given(currency),
            amount: given(amount),
        })
    }
}

fn account(word: Option<String>) -> Result<Option<AccountKind>, ApiError> {
    let Some(word) = word else { return Ok(None) };
    let found = AccountKind::ALL.into_iter().find(|kind| kind.name() == word);
    found.map(Some).ok_or_else(|| ApiError::Invalid(format!("there is no account `{word}`")))
}

/// `POST /held/{id}/resolve`
pub(super) async fn resolve(
    caller: Caller,
    id: web::Path<String>,
    Form(filled): Form<Filled>,
    app: web::Data<App>,
) -> Answer {
    let id = number(&id)?;
    match ask(&app, &caller, id, filled).await {
        Ok(done) => Ok(see(&format!("/held/{id}?done={done}"))),
        Err(error) => refused(&app, &caller, id, error).await,
    }
}

async fn ask(app: &App, caller: &Caller, id: i64, filled: Filled) -> Result<&'static str, ApiError> {
    let (action, note) = filled.wanted()?.action().map_err(|_the_api_s_words| incomplete())?;
    match resolver(app).ask(id, &action, &note, &caller.actor()).await? {
        Asking::Done => Ok("resolved"),
        Asking::Proposed(proposal) => match proposal.state {
            State::Waiting => Ok("proposed"),
            State::Declined => Err(declined(proposal.outcome)),
            State::Approved | State::Done | State::Refused => Ok("resolved"),
        },
    }
}

fn incomplete() -> ApiError {
    ApiError::Invalid("Nothing was done: fill in every field of the form, and say why.".to_owned())
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Spoken {
    text: String,
}

/// `POST /held/{id}/comments`
pub(super) async fn comment(
    caller: Caller,
    id: web::Path<String>,
    Form(spoken): Form<Spoken>,
    app: web::Data<App>,
) -> Answer {
    let id = known(&app, &id).await?;
    let text = match text("text", spoken.text) {
        Ok(text) => text,
        Err(why) => return refused(&app, &caller, id, ApiError::Invalid(why)).await,
    };
    discrepancies::say(&app.db, id, NoteKind::Comment, &text, (&caller.actor(), (app.clock)())).await?;
    Ok(see(&format!("/held/{id}?done=noted")))
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Given {
    owner: String,
}

/// `POST /held/{id}/owner`: somebody, or nobody when it is empty.
pub(super) async fn own(
    caller: Caller,
    id: web::Path<String>,
    Form(given): Form<Given>,
    app: web::Data<App>,
) -> Answer {
    let id = known(&app, &id).await?;
    let owner = match given.owner.trim() {
        "" => None,
        owner => match text("owner", owner.to_owned()) {
            Ok(owner) => Some(owner),
            Err(why) => return refused(&app, &caller, id, ApiError::Invalid(why)).await,
        },
    };
    discrepancies::give(&app.db, id, owner.as_deref(), &caller.actor(), (app.clock)()).await?;
    Ok(see(&format!("/held/{id}?done=owned")))
}

async fn known(app: &App, id: &str) -> Result<i64, ApiError> {
    let number = number(id)?;
    discrepancies::get(&app.db, number).await?.ok_or_else(|| none(id))?;
    Ok(number)
}
