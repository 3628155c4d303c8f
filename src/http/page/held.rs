//! What somebody must look at: held callbacks and money in suspense, as a list with filters, and one with its evidence
//! and the forms that deal with it. What the forms do stands in `resolving`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, web};
use askama::Template;
use serde::Deserialize;

use super::callbacks::may_load;
use super::proposals::{Proposed, Step};
use super::show::{Badge, Dash, Names, When, duration, words};
use super::story::{self, Story};
use super::{Answer, Frame, html, query_of, why};
use crate::app::App;
use crate::config::Role;
use crate::domain::account::AccountKind;
use crate::domain::callback::Money;
use crate::domain::reason::Reason;
use crate::http::admin::query::Params;
use crate::http::admin::{resolution, resolution_shape};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::processor::wire;
use crate::store::callbacks::{self, StoredBody};
use crate::store::discrepancies::{self, Listed, Note};
use crate::store::merchants;
use crate::store::proposals::{self, State};

const ROWS: u64 = 50;
/// What the state of the list may be.
const STATES: [&str; 3] = ["open", "resolved", "all"];

#[derive(Template)]
#[template(path = "held.html")]
struct List {
    frame: Frame,
    asked: Asked,
    merchants: Vec<String>,
    states: [&'static str; 3],
    reasons: Vec<&'static str>,
    rows: Vec<Line>,
    next: Option<String>,
    trouble: Option<String>,
}

/// What the form was filled in with.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    state: String,
    reason: String,
    owner: String,
    merchant: String,
    since: String,
}

struct Line {
    id: i64,
    kind: Badge,
    state: Badge,
    reason: String,
    why: &'static str,
    opened: When,
    age: String,
    amount: Dash,
    customer: Dash,
    owner: Dash,
    merchant: String,
}

/// `GET /held`
pub(super) async fn list(caller: Caller, request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &resolution::PARAMS)?;
    let (limit, after) = (params.number("limit", 1, 500, ROWS)?, params.position("after")?);
    let asked = web::Query::<Asked>::from_query(request.query_string());
    let asked = asked.map(web::Query::into_inner).unwrap_or_default();
    let (rows, next, trouble) = match resolution::filter(&mut params, &app.db, (app.clock)()).await {
        Ok(filter) => {
            let page = discrepancies::list(&app.db, &filter, after, limit).await?;
            let held = page.rows.iter().filter(|listed| listed.money.is_none());
            let ids: Vec<_> = held.map(|listed| listed.discrepancy.callback).collect();
            let bodies = callbacks::load(&app.db, &ids).await?;
            let now_us = (app.clock)();
            let next = page.next.map(|next| format!("/held{}", asked.query(&next.to_string())));
            (page.rows.into_iter().map(|listed| line(listed, &bodies, (now_us, Names::of(&app)))).collect(), next, None)
        }
        Err(trouble) => (Vec::new(), None, Some(trouble)),
    };
    let mut merchants: Vec<_> = merchants::all(&app.db).await?.0.into_values().collect();
    merchants.sort();
    let reasons = Reason::ALL.iter().map(|reason| reason.word()).collect();
    let frame = Frame::new(&app, &caller, "/held", "Held and discrepancies");
    Ok(html(&List { frame, asked, merchants, states: STATES, reasons, rows, next, trouble }))
}

impl Asked {
    /// The same again, from a cursor on.
    fn query(&self, after: &str) -> String {
        query_of(&[&self.pairs()[..], &[("after", after)]].concat())
    }

    fn pairs(&self) -> [(&'static str, &str); 5] {
        [
            ("state", &self.state),
            ("reason", &self.reason),
            ("owner", &self.owner),
            ("merchant", &self.merchant),
            ("since", &self.since),
        ]
    }

    fn is_empty(&self) -> bool {
        self.pairs().iter().all(|(_, value)| value.is_empty())
    }
}

fn line(listed: Listed, bodies: &[StoredBody], (now_us, names): (i64, Names)) -> Line {
    let amount = amount(&listed, bodies);
    let kind = Badge(listed.kind());
    let Listed { discrepancy, owner, customer, .. } = listed;
    Line {
        id: discrepancy.id,
        kind,
        state: state(discrepancy.resolved_us),
        reason: words(discrepancy.reason.word()),
        why: why::sentence(discrepancy.reason),
        opened: When(discrepancy.opened_us),
        age: duration(discrepancy.resolved_us.unwrap_or(now_us).saturating_sub(discrepancy.opened_us)),
        amount: Dash(amount),
        customer: names.dash(customer),
        owner: Dash(owner),
        merchant: discrepancy.merchant,
    }
}

/// What stands in suspense, or what the body of a held one says.
fn amount(listed: &Listed, bodies: &[StoredBody]) -> Option<String> {
    if let Some((currency, amount)) = &listed.money {
        return Some(format!("{amount} {currency}"));
    }
    let stored = bodies.iter().find(|stored| stored.id == listed.discrepancy.callback)?;
    let (sent, received) = claims(&stored.body);
    received.or(sent)
}

/// What a body says was sent, and received.
fn claims(body: &[u8]) -> (Option<String>, Option<String>) {
    let told = |money: Option<Money>| money.map(|money| format!("{} {}", money.amount, money.currency));
    wire::read(body).terms.map_or((None, None), |terms| (told(terms.sent), told(terms.received)))
}

const fn state(resolved_us: Option<i64>) -> Badge {
    Badge(if resolved_us.is_some() { "resolved" } else { "open" })
}

#[derive(Template)]
#[template(path = "discrepancy.html")]
struct One {
    frame: Frame,
    me: String,
    said: Option<Said>,
    id: i64,
    kind: Badge,
    state: Badge,
    reason: String,
    why: &'static str,
    opened: When,
    age: String,
    resolved: Option<Resolved>,
    merchant: String,
    customer: Dash,
    owner: Option<String>,
    amount: Dash,
    /// What a report of ours found; otherwise what the body says.
    found: Option<String>,
    sent: Dash,
    received: Dash,
    story: Option<Story>,
    notes: Vec<Spoken>,
    proposals: Vec<Proposed>,
    forms: Forms,
}

struct Resolved {
    at: When,
    how: Dash,
}

struct Spoken {
    at: When,
    who: String,
    kind: &'static str,
    text: String,
}

/// Which forms are of use to whoever looks.
struct Forms {
    /// Whoever looks may, and it is open.
    may_act: bool,
    may_comment: bool,
    is_suspense: bool,
    /// Nothing that came, but what reconciliation found.
    is_found: bool,
    is_waivable: bool,
    /// A proposal is open, and there can only be one.
    is_proposed: bool,
    /// What a correction is to move, as far as it is known.
    currency: String,
    amount: String,
    accounts: Vec<&'static str>,
}

/// What a page says first: what was done, or what went wrong.
struct Said {
    is_wrong: bool,
    text: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Shown {
    done: Option<String>,
}

/// `GET /held/{id}`
pub(super) async fn show(
    caller: Caller,
    id: web::Path<String>,
    shown: web::Query<Shown>,
    app: web::Data<App>,
) -> Answer {
    let text = match shown.done.as_deref() {
        Some("proposed") => Some("It is proposed, and nothing has moved: another approver must let it pass."),
        Some("resolved") => Some("Done. What came of it is below."),
        Some("refused") => Some("The proposal is refused, and nothing has moved."),
        Some("noted") => Some("It is written down."),
        Some("owned") => Some("The owner is changed."),
        Some(_) | None => None,
    };
    let said = text.map(|text| Said { is_wrong: false, text: text.to_owned() });
    page(&app, &caller, number(&id)?, said).await
}

/// The page again, with what went wrong on top, and a status that says so.
pub(super) async fn refused(app: &App, caller: &Caller, id: i64, error: ApiError) -> Answer {
    let status = error.kind().0;
    if !status.is_client_error() || status == StatusCode::NOT_FOUND {
        return Err(error);
    }
    let mut answer = page(app, caller, id, Some(Said { is_wrong: true, text: error.detail() })).await?;
    *answer.status_mut() = status;
    Ok(answer)
}

async fn page(app: &App, caller: &Caller, id: i64, said: Option<Said>) -> Answer {
    let listed = discrepancies::get(&app.db, id).await?.ok_or_else(|| none(&id.to_string()))?;
    let detail = callbacks::get(&app.db, listed.discrepancy.callback).await?;
    let body = detail.as_ref().and_then(|detail| detail.body.as_deref());
    let (sent, received) = body.map(claims).unwrap_or_default();
    let found = body.and_then(resolution_shape::found);
    let about = proposals::about(&app.db, id).await?;
    let mut story = match detail {
        Some(detail) => Some(story::tell(app, detail).await?),
        None => None,
    };
    if let Some(story) = &mut story {
        story.may_load &= may_load(app, caller);
    }
    let notes = discrepancies::notes(&app.db, id).await?;
    let is_proposed = about.iter().any(|one| matches!(one.state, State::Waiting | State::Approved));
    let forms = forms(&listed, caller, is_proposed);
    let kind = Badge(listed.kind());
    let Listed { discrepancy, owner, customer, money, .. } = listed;
    let until_us = discrepancy.resolved_us.unwrap_or((app.clock)());
    Ok(html(&One {
        frame: Frame::new(app, caller, "/held", &format!("Discrepancy {id}")),
        me: caller.name.clone(),
        said,
        id,
        kind,
        state: state(discrepancy.resolved_us),
        reason: words(discrepancy.reason.word()),
        why: why::sentence(discrepancy.reason),
        opened: When(discrepancy.opened_us),
        age: duration(until_us.saturating_sub(discrepancy.opened_us)),
        resolved: discrepancy.resolved_us.map(|at| Resolved { at: When(at), how: Dash(discrepancy.resolution) }),
        merchant: discrepancy.merchant,
        customer: Names::of(app).dash(customer),
        owner,
        amount: Dash(money.map(|(currency, amount)| format!("{amount} {currency}"))),
        found,
        sent: Dash(sent),
        received: Dash(received),
        story,
        notes: notes.into_iter().map(spoken).collect(),
        proposals: about.into_iter().rev().map(|proposal| Proposed::of(proposal, caller, Names::of(app))).collect(),
        forms,
    }))
}

fn forms(listed: &Listed, caller: &Caller, is_proposed: bool) -> Forms {
    let (currency, amount) = listed.money.clone().unzip();
    let may_comment = caller.role >= Role::Operator;
    Forms {
        may_act: may_comment && listed.discrepancy.resolved_us.is_none(),
        may_comment,
        is_suspense: listed.is_suspense,
        is_found: listed.is_found,
        is_waivable: listed.discrepancy.reason.can_be_waived(),
        is_proposed,
        currency: currency.unwrap_or_default(),
        amount: amount.map(|amount| amount.to_string()).unwrap_or_default(),
        accounts: AccountKind::ALL.iter().map(|kind| kind.name()).collect(),
    }
}

fn spoken(note: Note) -> Spoken {
    Spoken { at: When(note.at_us), who: note.who, kind: note.kind.word(), text: note.text }
}

pub(super) fn number(id: &str) -> Result<i64, ApiError> {
    id.parse().map_err(|_not_a_number| none(id))
}

pub(super) fn none(id: &str) -> ApiError {
    ApiError::NotFound(format!("discrepancy {id}"))
}
