//! Callbacks: the list, one with all that came of it, and deciding held and failed ones anew. A replay says what it
//! would do unless it is told `"dry_run": false`.

use actix_web::error::PayloadError;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::query::{LIMIT_DEFAULT, LIMIT_MAX, Params, Words, position};
use super::shape;
use crate::app::App;
use crate::booker::replay::{Diff, replay};
use crate::domain::ids::CallbackId;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::audit_log::{self, Deed};
use crate::store::booking::State;
use crate::store::callbacks::{self, Cursor, Filter};
use crate::store::merchants;

type Answer = Result<HttpResponse, ApiError>;

const PARAMS: [&str; 10] =
    ["merchant", "state", "type", "status", "foreign_id", "q", "since", "until", "after", "limit"];

/// `GET /api/callbacks`
pub(super) async fn list(request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &PARAMS)?;
    let limit = params.limit()?;
    let after = params.take("after").map(|text| {
        Cursor::parse(&text).ok_or_else(|| ApiError::Invalid("`after` must be the `next` of an earlier answer".into()))
    });
    let words = Words {
        merchant: params.take("merchant"),
        state: params.take("state"),
        r#type: params.take("type"),
        status: params.take("status"),
        foreign_id: params.take("foreign_id"),
        q: params.take("q"),
        since: params.take("since"),
        until: params.take("until"),
    };
    let filter = filter(words, &app).await?;
    let page = callbacks::list(&app.db, &filter, after.transpose()?, limit).await?;
    let rows = page.rows.iter().map(shape::callback).collect();
    Ok(HttpResponse::Ok().json(shape::page(rows, page.next.map(|next| next.to_string()))))
}

async fn filter(words: Words, app: &App) -> Result<Filter, ApiError> {
    let names = merchants::all(&app.db).await?;
    words.filter(&names, (app.clock)()).map_err(ApiError::Invalid)
}

/// `GET /api/callbacks/{id}`
pub(super) async fn show(id: web::Path<String>, app: web::Data<App>) -> Answer {
    let none = || ApiError::NotFound(format!("callback {id}"));
    let number = id.parse().map_err(|_not_a_number| none())?;
    let detail = callbacks::get(&app.db, CallbackId(number)).await?.ok_or_else(none)?;
    Ok(HttpResponse::Ok().json(shape::detail(&detail)))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct One {
    dry_run: Option<bool>,
}

/// `POST /api/callbacks/{id}/replay`
pub(super) async fn replay_one(
    caller: Caller,
    id: web::Path<String>,
    body: Result<web::Bytes, actix_web::Error>,
    app: web::Data<App>,
) -> Answer {
    let none = || ApiError::NotFound(format!("callback {id}"));
    let number = id.parse().map_err(|_not_a_number| none())?;
    let One { dry_run } = read(body)?;
    let is_dry_run = dry_run.unwrap_or(true);
    let diff = replay(&app.db, &app.booker, &[CallbackId(number)], is_dry_run).await?;
    if diff.changes.is_empty() && diff.pruned.is_empty() {
        return Err(none());
    }
    if !is_dry_run {
        replayed(&app, &caller, &diff).await;
    }
    Ok(HttpResponse::Ok().json(shape::diff(&diff, is_dry_run, None)))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Many {
    dry_run: Option<bool>,
    merchant: Option<String>,
    state: Option<String>,
    r#type: Option<String>,
    status: Option<String>,
    foreign_id: Option<String>,
    q: Option<String>,
    since: Option<String>,
    until: Option<String>,
    after: Option<String>,
    limit: Option<u64>,
}

/// `POST /api/callbacks/replay`: a page of what the filter means, oldest first. Without a filter: all that waits.
pub(super) async fn replay_filtered(
    caller: Caller,
    body: Result<web::Bytes, actix_web::Error>,
    app: web::Data<App>,
) -> Answer {
    let Many { dry_run, merchant, state, r#type, status, foreign_id, q, since, until, after, limit } = read(body)?;
    let is_dry_run = dry_run.unwrap_or(true);
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::Invalid(format!("`limit` must be a whole number from 1 to {LIMIT_MAX}")));
    }
    let after = after.map_or(Ok(0), |after| position("after", &after))?;
    let filter = filter(Words { merchant, state, r#type, status, foreign_id, q, since, until }, &app).await?;
    if matches!(filter.state, Some(State::Booked | State::Ignored)) {
        return Err(ApiError::Invalid("only `held` and `failed` callbacks can be decided anew".into()));
    }
    let ids = callbacks::waiting(&app.db, &filter, CallbackId(after), limit).await?;
    let is_full = u64::try_from(ids.len()).is_ok_and(|found| found == limit);
    let next = ids.last().filter(|_| is_full).map(ToString::to_string);
    let diff = replay(&app.db, &app.booker, &ids, is_dry_run).await?;
    if !is_dry_run {
        replayed(&app, &caller, &diff).await;
    }
    Ok(HttpResponse::Ok().json(shape::diff(&diff, is_dry_run, next)))
}

/// Says in the audit log who had callbacks decided anew, a row for each that changed. They are decided already: what can't
/// be written there is in this process's log.
pub(in crate::http) async fn replayed(app: &App, caller: &Caller, diff: &Diff) {
    let changed: Vec<_> = diff.changes.iter().filter(|change| !change.is_unchanged).collect();
    for change in &changed {
        let deed = Deed {
            action: "callback.replay",
            subject: format!("callback/{}", change.before.id),
            before: Some(change.before.state.word().to_owned()),
            after: Some(change.state.word().to_owned()),
            at_us: (app.clock)(),
        };
        if let Err(error) = audit_log::note(&app.db.orm, &caller.actor(), deed).await {
            let error = format!("{:#}", anyhow::Error::new(error));
            tracing::error!(by = caller.name, callback.id = %change.before.id, error, "The audit log lacks a replay");
        }
    }
    let (all, changed) = (diff.changes.len(), changed.len());
    tracing::info!(by = caller.name, batch_size = all, changed, "Decided {changed} callbacks anew, on request");
}

/// A JSON body; none is as good as an empty object.
pub(super) fn read<T: DeserializeOwned + Default>(body: Result<web::Bytes, actix_web::Error>) -> Result<T, ApiError> {
    let body = body.map_err(|error| match error.as_error() {
        Some(PayloadError::Overflow) => ApiError::TooLarge,
        Some(_) | None => ApiError::Invalid("the body ended early".into()),
    })?;
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&body).map_err(|error| ApiError::Invalid(format!("the body can't be read: {error}")))
}
