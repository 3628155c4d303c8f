//! Replays in the background: asking for one, how far it has come and what it found, stopping it. The work itself is a
//! worker's.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::callbacks::read;
use super::query::{Params, Words, text};
use super::shape::{Row, page, row};
use crate::app::App;
use crate::domain::event::rfc3339;
use crate::domain::reason::Reason;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::audit_log::{self, Deed};
use crate::store::booking::State;
use crate::store::callbacks::Scope;
use crate::store::events::MerchantNames;
use crate::store::replays::{self, Asked, ChangeRow, Job, SumKey};
use crate::store::{Db, merchants};

type Answer = Result<HttpResponse, ApiError>;

/// Callbacks that may be named one by one.
const IDS_MAX: usize = 10_000;
/// Accounts that an answer shows.
const SUMS_SHOWN: u64 = 1_000;
/// Which program decides.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    dry_run: Option<bool>,
    reason: Option<String>,
    ids: Vec<String>,
    merchant: Option<String>,
    state: Option<String>,
    r#type: Option<String>,
    status: Option<String>,
    foreign_id: Option<String>,
    q: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

/// `POST /api/replays`: without ids and filter, everything.
pub(super) async fn ask(caller: Caller, body: Result<web::Bytes, actix_web::Error>, app: web::Data<App>) -> Answer {
    let Wanted { dry_run, reason, ids, merchant, state, r#type, status, foreign_id, q, since, until } = read(body)?;
    let reason = text("reason", reason.unwrap_or_default()).map_err(ApiError::Invalid)?;
    let words = Words { merchant, state, r#type, status, foreign_id, q, since, until };
    let ids = numbers(&ids).map_err(ApiError::Invalid)?;
    if !ids.is_empty() && !words.is_empty() {
        return Err(ApiError::Invalid("give `ids` or a filter, not both".to_owned()));
    }
    let at_us = (app.clock)();
    let filter = words.filter(&merchants::all(&app.db).await?, at_us).map_err(ApiError::Invalid)?;
    let asked = Asked {
        scope: Scope { ids, filter },
        is_dry_run: dry_run.unwrap_or(true),
        reason,
        by: caller.name.clone(),
        version: VERSION.to_owned(),
        at_us,
    };
    let id = replays::ask(&app.db, &asked).await?;
    let after = format!("dry_run={}: {}", asked.is_dry_run, asked.reason);
    log(&app, &caller, "replay.ask", id, after).await?;
    tracing::info!(replay.id = id, "Replay {id} was asked for");
    let job = told(&app.db, id).await?.ok_or_else(|| none(&id.to_string()))?;
    Ok(HttpResponse::Created().insert_header(("Location", format!("/api/replays/{id}"))).json(job))
}

fn numbers(ids: &[String]) -> Result<Vec<i64>, String> {
    if ids.len() > IDS_MAX {
        return Err(format!("`ids` may have {IDS_MAX} entries: use a filter for more"));
    }
    let number = |id: &String| id.parse().map_err(|_not_a_number| format!("`{id}` is no callback's id"));
    ids.iter().map(number).collect()
}

/// `GET /api/replays`
pub(super) async fn list(request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["after", "limit"])?;
    let (limit, after) = (params.limit()?, params.position("after")?);
    let found = replays::list(&app.db, after, limit).await?;
    let names = merchants::all(&app.db).await?;
    let rows = found.rows.iter().map(|job| line(job, &names)).collect();
    Ok(HttpResponse::Ok().json(page(rows, found.next.map(|next| next.to_string()))))
}

/// `GET /api/replays/{id}`
pub(super) async fn show(id: web::Path<String>, app: web::Data<App>) -> Answer {
    let number = id.parse().map_err(|_not_a_number| none(&id))?;
    Ok(HttpResponse::Ok().json(told(&app.db, number).await?.ok_or_else(|| none(&id))?))
}

/// `POST /api/replays/{id}/stop`: one that has ended stays as it ended.
pub(super) async fn stop(caller: Caller, id: web::Path<String>, app: web::Data<App>) -> Answer {
    let number = halt(&app, &caller, &id).await?;
    Ok(HttpResponse::Ok().json(told(&app.db, number).await?.ok_or_else(|| none(&id))?))
}

/// Stops it between two batches, and writes down who did.
pub(in crate::http) async fn halt(app: &App, caller: &Caller, id: &str) -> Result<i64, ApiError> {
    let number = id.parse().map_err(|_not_a_number| none(id))?;
    replays::get(&app.db, number).await?.ok_or_else(|| none(id))?;
    replays::stop(&app.db, number, &caller.name, (app.clock)()).await?;
    log(app, caller, "replay.stop", number, String::new()).await?;
    Ok(number)
}

async fn log(app: &App, caller: &Caller, action: &'static str, id: i64, after: String) -> Result<(), ApiError> {
    let after = Some(after).filter(|after| !after.is_empty());
    let deed = Deed { action, subject: format!("replay/{id}"), before: None, after, at_us: (app.clock)() };
    Ok(audit_log::note(&app.db.orm, &caller.actor(), deed).await?)
}

pub(in crate::http) fn none(id: &str) -> ApiError {
    ApiError::NotFound(format!("replay {id}"))
}

/// A replay with what it found; the command line shows the same.
pub async fn told(db: &Db, id: i64) -> Result<Option<Row>, crate::store::StoreError> {
    let Some(job) = replays::get(db, id).await? else { return Ok(None) };
    let mut whole = line(&job, &merchants::all(db).await?);
    let sums = replays::sums(db, id, SUMS_SHOWN).await?;
    let changes = replays::changes(db, id).await?;
    whole.insert("events".to_owned(), json!(job.counts.events));
    whole.insert("balances".to_owned(), sums.iter().map(|(key, by)| sum(key, &by.to_string())).collect());
    whole.insert("changes".to_owned(), changes.iter().map(change).collect());
    Ok(Some(whole))
}

fn line(job: &Job, names: &MerchantNames) -> Row {
    let (asked, counts) = (&job.asked, &job.counts);
    let filter = &asked.scope.filter;
    let merchant = filter.merchant.and_then(|id| names.0.get(&id.0)).map(String::as_str);
    let ids: Vec<_> = asked.scope.ids.iter().map(ToString::to_string).collect();
    row([
        ("id", job.id.to_string().into()),
        ("state", job.state.word().into()),
        ("dry_run", asked.is_dry_run.into()),
        ("reason", asked.reason.as_str().into()),
        ("asked_by", asked.by.as_str().into()),
        ("asked_at", rfc3339(asked.at_us).into()),
        ("version", asked.version.as_str().into()),
        ("ids", ids.into()),
        (
            "filter",
            json!({
                "merchant": merchant,
                "state": filter.state.map(State::word),
                "type": filter.kind,
                "status": filter.status,
                "foreign_id": filter.foreign_id,
                "q": filter.q,
                "since": filter.since_us.map(rfc3339),
                "until": filter.until_us.map(rfc3339),
            }),
        ),
        ("position", job.cursor.to_string().into()),
        ("upto", job.upto.to_string().into()),
        ("decided", counts.decided.into()),
        ("changed", counts.changed.into()),
        ("differing", counts.differing.into()),
        ("failed", counts.failed.into()),
        ("pruned", counts.pruned.into()),
        ("ended_at", job.ended_us.map(rfc3339).into()),
        ("stopped_by", job.stopped_by.as_deref().into()),
    ])
}

fn sum((merchant, kind, customer, currency): &SumKey, by: &str) -> Value {
    let customer = Some(customer).filter(|customer| !customer.is_empty());
    json!({"merchant": merchant, "kind": kind, "customer": customer, "currency": currency, "change": by})
}

fn change(change: &ChangeRow) -> Value {
    let side =
        |(state, reason): (State, Option<Reason>)| json!({"state": state.word(), "reason": reason.map(Reason::word)});
    json!({
        "id": change.callback.to_string(),
        "before": side(change.was),
        "after": side(change.now),
        "stays": change.stays,
    })
}
