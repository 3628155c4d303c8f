//! Publishing events again: what that would mean, asking for it, and how far it has come. The work itself is the
//! publisher's; the command line goes by the same rules.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::callbacks::read;
use super::query::{Params, text};
use super::shape::{Row, page, row};
use crate::app::App;
use crate::domain::event::rfc3339;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::redelivery::{self, Asked, Redelivery};
use crate::store::{Db, events};

type Answer = Result<HttpResponse, ApiError>;

/// Events that may be asked for at once.
pub const MOST: i64 = 100_000;

/// Which events are meant, both ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub first: i64,
    pub last: i64,
}

impl Stretch {
    pub const fn events(self) -> i64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    dry_run: Option<bool>,
    from: Option<String>,
    to: Option<String>,
    reason: Option<String>,
}

/// `POST /api/events/redeliver`: says how many it would be unless it is told `"dry_run": false`.
pub(super) async fn ask(caller: Caller, body: Result<web::Bytes, actix_web::Error>, app: web::Data<App>) -> Answer {
    let Wanted { dry_run, from, to, reason } = read(body)?;
    let from = from.ok_or_else(|| ApiError::Invalid("`from` must be the sequence of an event".to_owned()))?;
    let stretch = stretch(&app.db, has_broker(&app), (&from, to.as_deref())).await?;
    if dry_run.unwrap_or(true) {
        return Ok(HttpResponse::Ok().json(plan(stretch)));
    }
    let asked = carry(&app, &caller, stretch, reason.unwrap_or_default()).await?;
    Ok(HttpResponse::Accepted().json(line(&asked)))
}

/// `GET /api/events/redeliveries`
pub(super) async fn list(request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["after", "limit"])?;
    let (limit, after) = (params.limit()?, params.position("after")?);
    let found = redelivery::list(&app.db, after, limit).await?;
    let rows = found.rows.iter().map(line).collect();
    Ok(HttpResponse::Ok().json(page(rows, found.next.map(|next| next.to_string()))))
}

pub(in crate::http) fn has_broker(app: &App) -> bool {
    !app.settings.broker.urls.is_empty()
}

/// Which events two sequences mean, or why they can't be published again. Without an end it is one event.
pub async fn stretch(db: &Db, has_broker: bool, (from, to): (&str, Option<&str>)) -> Result<Stretch, ApiError> {
    let number = |name: &str, text: &str| {
        let number = text.trim().parse().ok().filter(|number: &i64| *number >= 1);
        number.ok_or_else(|| ApiError::Invalid(format!("`{name}` must be the sequence of an event, from 1 on")))
    };
    let first = number("from", from)?;
    let last = to.map_or(Ok(first), |to| number("to", to))?;
    if last < first {
        return Err(ApiError::Invalid("`to` must not be before `from`".to_owned()));
    }
    let stretch = Stretch { first, last };
    if stretch.events() > MOST {
        return Err(ApiError::Invalid(format!("at most {MOST} events at once: ask again for the rest")));
    }
    if !has_broker {
        let detail = "there is no broker to publish to (AMQP_URL is empty): consumers read /api/events, and may read \
            again from any position";
        return Err(ApiError::Conflict { code: "no_broker", detail: detail.to_owned() });
    }
    let head = events::last_position(db).await?;
    if last > head {
        return Err(ApiError::Unfit(format!("there is no event {last}: the last is {head}")));
    }
    Ok(stretch)
}

/// Writes it down for whoever publishes.
pub(in crate::http) async fn carry(
    app: &App,
    caller: &Caller,
    Stretch { first, last }: Stretch,
    reason: String,
) -> Result<Redelivery, ApiError> {
    let reason = text("reason", reason).map_err(ApiError::Invalid)?;
    let asked = Asked { first, last, reason, at_us: (app.clock)() };
    let asked = redelivery::ask(&app.db, &asked, &caller.actor()).await?;
    tracing::info!(redelivery.id = asked.id, "Publishing {} events again was asked for", asked.events());
    Ok(asked)
}

/// What it would be.
pub fn plan(stretch: Stretch) -> Row {
    row([
        ("dry_run", true.into()),
        ("from", stretch.first.to_string().into()),
        ("to", stretch.last.to_string().into()),
        ("events", stretch.events().into()),
    ])
}

/// How far it has come; the command line shows the same.
pub fn line(asked: &Redelivery) -> Row {
    row([
        ("dry_run", false.into()),
        ("id", asked.id.to_string().into()),
        ("from", asked.first.to_string().into()),
        ("to", asked.last.to_string().into()),
        ("events", asked.events().into()),
        ("position", asked.position.to_string().into()),
        ("state", asked.state().into()),
        ("reason", asked.reason.as_str().into()),
        ("asked_by", asked.by.as_str().into()),
        ("asked_at", rfc3339(asked.asked_us).into()),
        ("ended_at", asked.ended_us.map(rfc3339).into()),
    ])
}
