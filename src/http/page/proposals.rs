//! Proposals to move money: the list, and letting one pass or refusing it. Whoever asked never gets the button, and is
//! refused without it as well.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, web};
use askama::Template;

use super::held;
use super::show::{Badge, Dash, Names, When, words};
use super::{Answer, Frame, html, see};
use crate::app::App;
use crate::booker::resolve::{Action, Named};
use crate::config::Role;
use crate::domain::account::AccountKind;
use crate::http::admin::query::Params;
use crate::http::admin::resolution::{declined, resolver};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::proposals::{self, Proposal, State};

const ROWS: u64 = 50;

/// A proposal, and what whoever looks may do about it.
pub(super) struct Proposed {
    pub id: i64,
    /// 0: it is about a withdrawal.
    pub discrepancy: i64,
    pub what: String,
    pub moves: String,
    pub note: String,
    pub state: Badge,
    pub asked_by: String,
    pub asked: When,
    pub decided_by: Dash,
    pub outcome: Dash,
    pub step: Step,
}

/// What whoever looks may do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Decide,
    /// It is their own: they may take it back.
    TakeBack,
    /// It was let pass, and interrupted before it was carried out.
    CarryOut,
    Wait,
    Nothing,
}

impl Proposed {
    pub(super) fn of(proposal: Proposal, caller: &Caller, names: Names) -> Self {
        let is_approver = caller.role >= Role::Approver;
        let step = match proposal.state {
            State::Waiting if proposal.asked_by == caller.name && caller.role >= Role::Operator => Step::TakeBack,
            State::Waiting if is_approver => Step::Decide,
            State::Waiting => Step::Wait,
            State::Approved if is_approver => Step::CarryOut,
            State::Approved | State::Done | State::Refused | State::Declined => Step::Nothing,
        };
        Self {
            id: proposal.id,
            discrepancy: proposal.discrepancy,
            what: what(&proposal, names),
            moves: moves(&proposal.moves),
            note: proposal.note,
            state: Badge(proposal.state.word()),
            asked_by: proposal.asked_by,
            asked: When(proposal.asked_us),
            decided_by: Dash(proposal.decided_by),
            outcome: Dash(proposal.outcome),
            step,
        }
    }
}

/// The action as a sentence.
fn what(proposal: &Proposal, names: Names) -> String {
    let named = |customer: &Named| match customer {
        Named::EndUserReference(name) => format!("end user {}", names.show(name.clone())),
        Named::ForeignId(name) => format!("foreign id {}", names.show(name.clone())),
    };
    let Ok(action) = serde_json::from_str::<Action>(&proposal.params) else { return words(&proposal.action) };
    match action {
        Action::Assign { customer } => format!("Assign to {}", named(&customer)),
        Action::BookAnyway { although } => {
            let although: Vec<_> = although.iter().map(|word| words(word)).collect();
            format!("Book it anyway, although: {}", although.join(", "))
        }
        Action::Ignore => "Ignore it".to_owned(),
        Action::Link { payment } => format!("Link to {}/{}", payment.r#type, payment.id),
        Action::Correct { debit, credit, customer, currency, amount } => {
            let side = |kind: AccountKind| match customer.as_ref().filter(|_| kind.is_customers()) {
                Some(customer) => format!("{} of {}", kind.name(), named(customer)),
                None => kind.name().to_owned(),
            };
            format!("Post {amount} {currency}: debit {}, credit {}", side(debit), side(credit))
        }
        Action::Refund => format!("Give the money of withdrawal {} back: it was never done", proposal.withdrawal),
        Action::Conclude { settled: true } => format!("End withdrawal {}: it was paid out", proposal.withdrawal),
        Action::Conclude { settled: false } => {
            format!("End withdrawal {}: it failed, and its money comes back", proposal.withdrawal)
        }
    }
}

/// `0.1 BTC, 5 EUR`
fn moves(json: &str) -> String {
    let moves: BTreeMap<String, String> = serde_json::from_str(json).unwrap_or_default();
    moves.iter().map(|(currency, amount)| format!("{amount} {currency}")).collect::<Vec<_>>().join(", ")
}

#[derive(Template)]
#[template(path = "proposals.html")]
struct List {
    frame: Frame,
    state: String,
    states: [&'static str; 5],
    proposals: Vec<Proposed>,
    next: Option<String>,
}

/// `GET /proposals`: those that wait, or were let pass and not carried out to their end, unless asked otherwise.
pub(super) async fn list(caller: Caller, request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["state", "after", "limit"])?;
    let (limit, after) = (params.number("limit", 1, 500, ROWS)?, params.position("after")?);
    let asked = params.take("state").unwrap_or_else(|| "open".to_owned());
    let states = match asked.as_str() {
        "open" => State::OPEN.to_vec(),
        "all" => State::ALL.to_vec(),
        word => {
            let found = State::ALL.into_iter().find(|state| state.word() == word);
            vec![found.ok_or_else(|| ApiError::Invalid(format!("no proposal can be `{word}`")))?]
        }
    };
    let page = proposals::list(&app.db, &states, after, limit).await?;
    let next = page.next.map(|next| format!("/proposals?state={asked}&after={next}"));
    let proposals = page.rows.into_iter().map(|proposal| Proposed::of(proposal, &caller, Names::of(&app))).collect();
    let frame = Frame::new(&app, &caller, "/proposals", "Proposals");
    Ok(html(&List { frame, state: asked, states: State::ALL.map(State::word), proposals, next }))
}

/// `POST /proposals/{id}/approve`
pub(super) async fn approve(caller: Caller, id: web::Path<String>, app: web::Data<App>) -> Answer {
    let proposal = find(&app, &id).await?;
    let done = resolver(&app).approve(proposal.id, &caller.actor()).await.map_err(ApiError::from);
    let done = done.and_then(|done| match done.state {
        State::Declined => Err(declined(done.outcome)),
        State::Waiting | State::Approved | State::Done | State::Refused => Ok("resolved"),
    });
    answer(&app, &caller, proposal.discrepancy, done).await
}

/// `POST /proposals/{id}/refuse`: whoever asked takes it back with it.
pub(super) async fn refuse(caller: Caller, id: web::Path<String>, app: web::Data<App>) -> Answer {
    let proposal = find(&app, &id).await?;
    let refused = resolver(&app).refuse(proposal.id, &caller.actor()).await;
    answer(&app, &caller, proposal.discrepancy, refused.map(|_| "refused").map_err(ApiError::from)).await
}

async fn find(app: &App, id: &str) -> Result<Proposal, ApiError> {
    let none = || ApiError::NotFound(format!("proposal {id}"));
    let number = id.parse().map_err(|_not_a_number| none())?;
    proposals::get(&app.db, number).await?.ok_or_else(none)
}

async fn answer(app: &App, caller: &Caller, discrepancy: i64, done: Result<&'static str, ApiError>) -> Answer {
    if discrepancy == 0 {
        return done.map(|_| see("/proposals?state=all"));
    }
    match done {
        Ok(done) => Ok(see(&format!("/held/{discrepancy}?done={done}"))),
        Err(error) => held::refused(app, caller, discrepancy, error).await,
    }
}
