//! Callbacks: the list with its filters, one with its whole story, and deciding one anew, which always shows the money
//! diff first and does nothing but what was shown.

use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::show::{Badge, Dash, Names, When};
use super::story::{self, Story};
use super::{Answer, Form, Frame, html, query_of, see};
use crate::app::App;
use crate::booker::replay::{Diff, replay};
use crate::config::Role;
use crate::domain::ids::CallbackId;
use crate::http::admin::callbacks::replayed;
use crate::http::admin::query::{Params, Words};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::booking::State;
use crate::store::callbacks::{self, Cursor, Summary};
use crate::store::merchants;

const PARAMS: [&str; 9] = ["merchant", "state", "type", "status", "foreign_id", "q", "since", "after", "limit"];
const ROWS: u64 = 50;
/// The documented types, offered as a choice.
const TYPES: [&str; 6] = ["deposit", "deposit_exchange", "withdrawal", "withdrawal_exchange", "exchange", "invoice"];

#[derive(Template)]
#[template(path = "callbacks.html")]
struct List {
    frame: Frame,
    asked: Asked,
    merchants: Vec<String>,
    states: Vec<&'static str>,
    types: [&'static str; 6],
    rows: Vec<Line>,
    next: Option<String>,
    trouble: Option<String>,
}

/// What the form was filled in with.
#[derive(Default)]
struct Asked {
    q: String,
    state: String,
    kind: String,
    status: String,
    merchant: String,
    foreign_id: String,
    since: String,
}

struct Line {
    id: i64,
    at: When,
    merchant: String,
    kind: Dash,
    status: Dash,
    state: Badge,
    reason: Dash,
    payment: Dash,
    customer: Dash,
    deliveries: i64,
}

/// `GET /callbacks`
pub(super) async fn list(caller: Caller, request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &PARAMS)?;
    let limit = params.number("limit", 1, 500, ROWS)?;
    let after = params.take("after").and_then(|text| Cursor::parse(&text));
    let mut text = |name: &str| params.take(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let words = Words {
        merchant: text("merchant"),
        state: text("state"),
        r#type: text("type"),
        status: text("status"),
        foreign_id: text("foreign_id"),
        q: text("q"),
        since: text("since"),
        ..Words::default()
    };
    let names = merchants::all(&app.db).await?;
    let asked = Asked::of(&words);
    let (rows, next, trouble) = match words.filter(&names, (app.clock)()) {
        Ok(filter) => {
            let page = callbacks::list(&app.db, &filter, after, limit).await?;
            let next = page.next.map(|next| format!("/callbacks{}", asked.query(&next.to_string())));
            (page.rows.into_iter().map(|row| line(row, Names::of(&app))).collect(), next, None)
        }
        Err(trouble) => (Vec::new(), None, Some(trouble)),
    };
    let mut merchants: Vec<_> = names.0.into_values().collect();
    merchants.sort();
    let states = State::ALL.iter().map(|state| state.word()).collect();
    let frame = Frame::new(&app, &caller, "/callbacks", "Callbacks");
    Ok(html(&List { frame, asked, merchants, states, types: TYPES, rows, next, trouble }))
}

impl Asked {
    fn of(words: &Words) -> Self {
        let text = |word: &Option<String>| word.clone().unwrap_or_default();
        Self {
            q: text(&words.q),
            state: text(&words.state),
            kind: text(&words.r#type),
            status: text(&words.status),
            merchant: text(&words.merchant),
            foreign_id: text(&words.foreign_id),
            since: text(&words.since),
        }
    }

    /// The same again, from a cursor on.
    fn query(&self, after: &str) -> String {
        query_of(&[&self.pairs()[..], &[("after", after)]].concat())
    }

    fn pairs(&self) -> [(&'static str, &str); 7] {
        [
            ("q", &self.q),
            ("state", &self.state),
            ("type", &self.kind),
            ("status", &self.status),
            ("merchant", &self.merchant),
            ("foreign_id", &self.foreign_id),
            ("since", &self.since),
        ]
    }

    fn is_empty(&self) -> bool {
        self.pairs().iter().all(|(_, value)| value.is_empty())
    }
}

fn line(row: Summary, names: Names) -> Line {
    Line {
        id: row.id.0,
        at: When(row.received_us),
        merchant: row.merchant,
        kind: Dash(row.kind),
        status: Dash(row.status),
        state: Badge(row.state.word()),
        reason: Dash(row.reason.map(|reason| super::show::words(reason.word()))),
        payment: Dash(row.payment_id),
        customer: names.dash(row.customer.or(row.end_user_reference).or(row.foreign_id)),
        deliveries: row.deliveries,
    }
}

#[derive(Template)]
#[template(path = "callback.html")]
struct One {
    frame: Frame,
    story: Story,
    /// Whether the caller may decide it anew.
    may_replay: bool,
    is_done: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Shown {
    done: Option<String>,
}

/// `GET /callbacks/{id}`
pub(super) async fn show(
    caller: Caller,
    id: web::Path<String>,
    shown: web::Query<Shown>,
    app: web::Data<App>,
) -> Answer {
    let detail = callbacks::get(&app.db, number(&id)?).await?.ok_or_else(|| none(&id))?;
    let mut story = story::tell(&app, detail).await?;
    story.may_load &= may_load(&app, &caller);
    let frame = Frame::new(&app, &caller, "/callbacks", &format!("Callback {id}"));
    let may_replay = caller.role >= Role::Operator;
    Ok(html(&One { frame, story, may_replay, is_done: shown.done.is_some() }))
}

/// `GET /callbacks/{id}/body`: the exact bytes, as a file, so that no browser makes anything of them.
pub(super) async fn body(caller: Caller, id: web::Path<String>, app: web::Data<App>) -> Answer {
    if !may_load(&app, &caller) {
        return Err(ApiError::Forbidden { needs: Role::Operator.word() });
    }
    let detail = callbacks::get(&app.db, number(&id)?).await?.ok_or_else(|| none(&id))?;
    let body = detail.body.ok_or_else(|| ApiError::NotFound(format!("body of callback {id} any more")))?;
    let name = format!("attachment; filename=\"callback-{}.json\"", detail.summary.id);
    let answer = HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/octet-stream"))
        .insert_header((CONTENT_DISPOSITION, name))
        .body(body);
    Ok(answer)
}

/// A body names its customer.
pub(super) fn may_load(app: &App, caller: &Caller) -> bool {
    !app.settings.page.hides_references || caller.role >= Role::Operator
}

#[derive(Template)]
#[template(path = "replay.html")]
struct Preview {
    frame: Frame,
    id: i64,
    before: Badge,
    before_reason: Dash,
    after: Badge,
    after_reason: Dash,
    is_unchanged: bool,
    is_pruned: bool,
    postings: Vec<Moved>,
    balances: Vec<Changed>,
    /// What is shown, in one word: only this is done.
    print: String,
    is_new: bool,
}

struct Moved {
    debit: String,
    credit: String,
    currency: String,
    amount: String,
}

struct Changed {
    account: String,
    merchant: String,
    currency: String,
    change: String,
    is_more: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Wanted {
    print: String,
}

/// `POST /callbacks/{id}/replay`: the money diff; with the print of that diff, does what it says.
pub(super) async fn decide(
    caller: Caller,
    id: web::Path<String>,
    Form(wanted): Form<Wanted>,
    app: web::Data<App>,
) -> Answer {
    let id = number(&id)?;
    let ids = [id];
    let diff = replay(&app.db, &app.booker, &ids, true).await?;
    if diff.changes.is_empty() && diff.pruned.is_empty() {
        return Err(none(&id.to_string()));
    }
    let print = print(&diff);
    if wanted.print != print {
        let frame = Frame::new(&app, &caller, "/callbacks", &format!("Replay callback {id}"));
        let is_new = !wanted.print.is_empty();
        let shown = (print, is_new, Names::of(&app));
        return Ok(html(&preview(frame, id, diff, shown)));
    }
    let done = replay(&app.db, &app.booker, &ids, false).await?;
    replayed(&app, &caller, &done).await;
    Ok(see(&format!("/callbacks/{id}?done=replay")))
}

fn preview(frame: Frame, id: CallbackId, diff: Diff, (print, is_new, names): (String, bool, Names)) -> Preview {
    let balances = diff.balances.iter().map(|(account, by)| Changed {
        account: names.account(account.kind.name(), account.customer.as_deref()),
        merchant: account.merchant.clone(),
        currency: account.currency.clone(),
        change: if by.is_positive() { format!("+{by}") } else { by.to_string() },
        is_more: by.is_positive(),
    });
    let balances = balances.collect();
    let is_pruned = !diff.pruned.is_empty();
    let change = diff.changes.into_iter().next();
    let postings = change.iter().flat_map(|change| &change.postings).map(|moved| Moved {
        debit: names.account(moved.debit.kind.name(), moved.debit.customer.as_deref()),
        credit: names.account(moved.credit.kind.name(), moved.credit.customer.as_deref()),
        currency: moved.debit.currency.clone(),
        amount: moved.amount.to_string(),
    });
    let postings = postings.collect();
    let before = change.as_ref().map_or((State::Held, None), |change| (change.before.state, change.before.reason));
    let after = change.as_ref().map_or(before, |change| (change.state, change.reason));
    let words =
        |reason: Option<crate::domain::reason::Reason>| Dash(reason.map(|reason| super::show::words(reason.word())));
    Preview {
        frame,
        id: id.0,
        before: Badge(before.0.word()),
        before_reason: words(before.1),
        after: Badge(after.0.word()),
        after_reason: words(after.1),
        is_unchanged: change.is_none_or(|change| change.is_unchanged),
        is_pruned,
        postings,
        balances,
        print,
        is_new,
    }
}

fn print(diff: &Diff) -> String {
    const_hex::encode(Sha256::digest(format!("{diff:?}").as_bytes()))
}

fn number(id: &str) -> Result<CallbackId, ApiError> {
    id.parse().map(CallbackId).map_err(|_not_a_number| none(id))
}

fn none(id: &str) -> ApiError {
    ApiError::NotFound(format!("callback {id}"))
}
