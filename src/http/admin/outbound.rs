//! Outgoing money: how the switch stands, who turned it, and what people decide about a withdrawal that its
//! callbacks can't end.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::callbacks::read;
use super::query::text;
use super::resolution::{declined, resolver};
use super::resolution_shape;
use crate::app::App;
use crate::booker::ending::Ending;
use crate::domain::event::rfc3339;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::outbound::{self, withdrawals};
use crate::store::outbound::{Switch, state};
use crate::store::proposals::State as Stand;

type Answer = Result<HttpResponse, ApiError>;
type Body = Result<web::Bytes, actix_web::Error>;

/// Why. Kept and shown, so a sentence at most.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    #[serde(default)]
    note: String,
}

/// `GET /api/outbound`
pub(super) async fn show(app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    let switch = state(&app.db).await?;
    answer(&app, &switch).await
}

/// `POST /api/outbound/stop`
pub(super) async fn stop(caller: Caller, body: Body, app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    turn(&app, true, &caller, body).await
}

/// `POST /api/outbound/start`
pub(super) async fn start(caller: Caller, body: Body, app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    turn(&app, false, &caller, body).await
}

/// `POST /api/withdrawals/{id}/refund`: a missing one was never done.
pub(super) async fn refund(caller: Caller, id: web::Path<String>, body: Body, app: web::Data<App>) -> Answer {
    let Why { note } = read(body)?;
    end(&app, &caller, &id, Ending::Refunded, note).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Over {
    outcome: String,
    note: String,
}

/// `POST /api/withdrawals/{id}/conclude`: it is over, and its callbacks can't say so.
pub(super) async fn conclude(caller: Caller, id: web::Path<String>, body: Body, app: web::Data<App>) -> Answer {
    let Over { outcome, note } = read(body)?;
    let ending = match outcome.as_str() {
        "settled" => Ending::Settled,
        "failed" => Ending::Failed,
        word => return Err(ApiError::Invalid(format!("`outcome` must be one of settled, failed, not `{word}`"))),
    };
    end(&app, &caller, &id, ending, note).await
}

/// 200 when it is over, 202 when a second person must agree.
async fn end(app: &App, caller: &Caller, id: &str, ending: Ending, note: String) -> Answer {
    let number = id.parse().map_err(|_not_a_number| ApiError::NotFound(format!("withdrawal {id}")))?;
    let note = text("note", note).map_err(ApiError::Invalid)?;
    let proposal = resolver(app).end(number, ending, &note, &caller.actor()).await?;
    match proposal.state {
        Stand::Waiting => Ok(HttpResponse::Accepted().json(resolution_shape::proposal(&proposal))),
        Stand::Declined => Err(declined(proposal.outcome)),
        Stand::Approved | Stand::Done | Stand::Refused => {
            let state = if ending == Ending::Settled { "settled" } else { "failed" };
            Ok(HttpResponse::Ok().json(json!({ "id": id, "state": state })))
        }
    }
}

async fn turn(app: &App, is_stopped: bool, caller: &Caller, body: Body) -> Result<HttpResponse, ApiError> {
    let switch = outbound::turn(app, is_stopped, &caller.actor(), &why(body)?).await?;
    answer(app, &switch).await
}

fn why(body: Body) -> Result<String, ApiError> {
    let Why { note } = read(body)?;
    if note.chars().count() > 500 || note.contains('\0') {
        return Err(ApiError::Invalid("note: at most 500 characters, none of them a NUL".to_owned()));
    }
    Ok(note)
}

async fn answer(app: &App, switch: &Switch) -> Result<HttpResponse, ApiError> {
    let (unknown, missing) = withdrawals::counts(app).await?;
    let enabled = app.settings.outbound.enabled;
    let was_turned = switch.changed_us > 0;
    Ok(HttpResponse::Ok().json(json!({
        "state": if switch.is_stopped || !enabled { "stopped" } else { "running" },
        "stopped_by_switch": switch.is_stopped,
        "stopped_by_setting": !enabled,
        "changed_at": was_turned.then(|| rfc3339(switch.changed_us)),
        "changed_by": was_turned.then_some(&switch.changed_by),
        "note": was_turned.then_some(&switch.note),
        "withdrawals": { "unknown": unknown, "missing": missing },
    })))
}
