//! Replays in the background: the list, one with how far it has come and what it found, and stopping it.

use actix_web::{HttpRequest, web};
use askama::Template;

use super::show::{Badge, Dash, Names, When, words};
use super::{Answer, Frame, html, see};
use crate::app::App;
use crate::config::Role;
use crate::domain::reason::Reason;
use crate::http::admin::query::Params;
use crate::http::admin::replays::{halt, none};
use crate::http::auth::Caller;
use crate::store::booking::State;
use crate::store::replays::{self, ChangeRow, Job, JobState, SumKey};

const ROWS: u64 = 50;
/// Accounts that are shown.
const SUMS: u64 = 500;

#[derive(Template)]
#[template(path = "replays.html")]
struct List {
    frame: Frame,
    rows: Vec<Line>,
    next: Option<i64>,
}

/// A replay as it stands.
struct Line {
    id: i64,
    state: Badge,
    kind: &'static str,
    reason: String,
    by: String,
    asked: When,
    version: String,
    percent: i64,
    decided: i64,
    changed: i64,
    differing: i64,
    failed: i64,
    pruned: i64,
    ended: Option<When>,
    stopped_by: Dash,
}

/// `GET /replays`
pub(super) async fn list(caller: Caller, request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["after", "limit"])?;
    let (limit, after) = (params.number("limit", 1, 500, ROWS)?, params.position("after")?);
    let page = replays::list(&app.db, after, limit).await?;
    let rows = page.rows.into_iter().map(line).collect();
    Ok(html(&List { frame: Frame::new(&app, &caller, "/replays", "Replays"), rows, next: page.next }))
}

fn line(job: Job) -> Line {
    let percent = job.cursor.saturating_mul(100).checked_div(job.upto).unwrap_or(100).clamp(0, 100);
    Line {
        id: job.id,
        state: Badge(job.state.word()),
        kind: if job.asked.is_dry_run { "dry run" } else { "for real" },
        reason: job.asked.reason,
        by: job.asked.by,
        asked: When(job.asked.at_us),
        version: job.asked.version,
        percent: if job.state == JobState::Done { 100 } else { percent },
        decided: job.counts.decided,
        changed: job.counts.changed,
        differing: job.counts.differing,
        failed: job.counts.failed,
        pruned: job.counts.pruned,
        ended: job.ended_us.map(When),
        stopped_by: Dash(job.stopped_by),
    }
}

#[derive(Template)]
#[template(path = "replay_job.html")]
struct One {
    frame: Frame,
    job: Line,
    may_stop: bool,
    events: Vec<(String, i64)>,
    sums: Vec<Sum>,
    changes: Vec<Change>,
}

struct Sum {
    account: String,
    merchant: String,
    currency: String,
    change: String,
    is_more: bool,
}

struct Change {
    callback: i64,
    was: Badge,
    was_reason: Dash,
    now: Badge,
    now_reason: Dash,
    stays: bool,
}

/// `GET /replays/{id}`
pub(super) async fn show(caller: Caller, id: web::Path<String>, app: web::Data<App>) -> Answer {
    let number = id.parse().map_err(|_not_a_number| none(&id))?;
    let job = replays::get(&app.db, number).await?.ok_or_else(|| none(&id))?;
    let sums = replays::sums(&app.db, number, SUMS).await?;
    let changes = replays::changes(&app.db, number).await?;
    Ok(html(&One {
        frame: Frame::new(&app, &caller, "/replays", &format!("Replay {number}")),
        may_stop: job.state == JobState::Running && caller.role >= Role::Operator,
        events: job.counts.events.clone().into_iter().collect(),
        job: line(job),
        sums: sums.into_iter().map(|(key, by)| sum(key, &by.to_string(), Names::of(&app))).collect(),
        changes: changes.iter().map(change).collect(),
    }))
}

fn sum((merchant, kind, customer, currency): SumKey, by: &str, names: Names) -> Sum {
    let is_more = !by.starts_with('-');
    let customer = Some(customer.as_str()).filter(|customer| !customer.is_empty());
    let change = if is_more { format!("+{by}") } else { by.to_owned() };
    Sum { account: names.account(&kind, customer), merchant, currency, change, is_more }
}

fn change(change: &ChangeRow) -> Change {
    let side = |(state, reason): (State, Option<Reason>)| {
        (Badge(state.word()), Dash(reason.map(|reason| words(reason.word()))))
    };
    let ((was, was_reason), (now, now_reason)) = (side(change.was), side(change.now));
    Change { callback: change.callback.0, was, was_reason, now, now_reason, stays: change.stays }
}

/// `POST /replays/{id}/stop`
pub(super) async fn stop(caller: Caller, id: web::Path<String>, app: web::Data<App>) -> Answer {
    let number = halt(&app, &caller, &id).await?;
    Ok(see(&format!("/replays/{number}")))
}
