//! Outgoing money: how the switch stands, who turned it, and what a person decides about a withdrawal that is missing.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::callbacks::read;
use crate::app::App;
use crate::domain::event::rfc3339;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::outbound::withdrawals::{self, NotGivenBack};
use crate::outbound::{self};
use crate::store::outbound::{Switch, state};

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
pub(super) async fn refund(
    caller: Caller,
    id: web::Path<String>,
    body: Body,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let none = || ApiError::NotFound(format!("open withdrawal {id}"));
    let number = id.parse().map_err(|_not_a_number| none())?;
    let note = why(body)?;
    if note.is_empty() {
        return Err(ApiError::Invalid("note: say why this withdrawal was never done".to_owned()));
    }
    match withdrawals::give_back(&app, number, &caller.name, &note).await {
        Ok(()) => Ok(HttpResponse::Ok().json(json!({ "id": number.to_string(), "state": "failed" }))),
        Err(NotGivenBack::NotOpen) => Err(none()),
        Err(error @ NotGivenBack::NotMissing) => Err(ApiError::Invalid(error.to_string())),
        Err(NotGivenBack::Order(error)) => Err(error.into()),
        Err(NotGivenBack::Store(error)) => Err(error.into()),
    }
}

async fn turn(app: &App, is_stopped: bool, caller: &Caller, body: Body) -> Result<HttpResponse, ApiError> {
    let switch = outbound::turn(app, is_stopped, &caller.name, &why(body)?).await?;
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
