//! Discrepancies and what people do about them: lists, notes, owners, proposals and their approval, and the log of it
//! all. What moves money is the booker's.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::callbacks::read;
use super::query::{Params, merchant, moment, text};
use super::resolution_shape as shape;
use super::shape::{Row, page};
use crate::app::App;
use crate::booker::resolve::{Action, Asking, Linked, Named, ResolveError, Resolver};
use crate::domain::account::AccountKind;
use crate::domain::reason::Reason;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::audit_log;
use crate::store::discrepancies::{self, Filter, NoteKind};
use crate::store::proposals::{self, State};
use crate::store::{Db, StoreError, callbacks, merchants};

type Answer = Result<HttpResponse, ApiError>;
type Body = Result<web::Bytes, actix_web::Error>;

pub(in crate::http) const PARAMS: [&str; 8] =
    ["state", "merchant", "reason", "owner", "since", "until", "after", "limit"];

/// `GET /api/discrepancies`: the open ones unless asked otherwise.
pub(super) async fn list(request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &PARAMS)?;
    let (limit, after) = (params.limit()?, params.position("after")?);
    let filter = filter(&mut params, &app.db, (app.clock)()).await.map_err(ApiError::Invalid)?;
    let found = discrepancies::list(&app.db, &filter, after, limit).await?;
    let rows = found.rows.iter().map(shape::discrepancy).collect();
    Ok(HttpResponse::Ok().json(page(rows, found.next.map(|next| next.to_string()))))
}

/// Which ones a query means.
pub async fn filter(params: &mut Params, db: &Db, now_us: i64) -> Result<Filter, String> {
    let mut at = |name: &str| params.take(name).map(|text| moment(name, &text, now_us)).transpose();
    let (since_us, until_us) = (at("since")?, at("until")?);
    let is_open = match params.take("state").as_deref() {
        None | Some("open") => Some(true),
        Some("resolved") => Some(false),
        Some("all") => None,
        Some(word) => return Err(format!("`state` must be one of open, resolved, all, not `{word}`")),
    };
    let reason = params.take("reason").map(|word| {
        let known = Reason::ALL.iter().copied().find(|reason| reason.word() == word);
        known.ok_or_else(|| format!("`{word}` is no reason"))
    });
    let names = merchants::all(db).await.map_err(|error| error.to_string())?;
    let merchant = params.take("merchant").map(|name| merchant(&name, &names)).transpose()?;
    Ok(Filter { is_open, merchant, reason: reason.transpose()?, owner: params.take("owner"), since_us, until_us })
}

/// `GET /api/discrepancies/{id}`
pub(super) async fn show(id: web::Path<String>, app: web::Data<App>) -> Answer {
    told(&id, &app).await
}

async fn told(id: &str, app: &App) -> Answer {
    let row = detail(&app.db, number(id, "discrepancy")?).await?;
    Ok(HttpResponse::Ok().json(row.ok_or_else(|| none("discrepancy", id))?))
}

/// A discrepancy with all there is about it; the command line shows the same.
pub async fn detail(db: &Db, id: i64) -> Result<Option<Row>, StoreError> {
    let Some(listed) = discrepancies::get(db, id).await? else { return Ok(None) };
    let callback = callbacks::get(db, listed.discrepancy.callback).await?;
    let about = shape::About {
        notes: discrepancies::notes(db, id).await?,
        proposals: proposals::about(db, id).await?,
        claims: callback.as_ref().and_then(|callback| shape::claims(callback.body.as_deref()?)),
        callback,
    };
    Ok(Some(shape::discrepancy_detail(&listed, &about)))
}

/// The actions with what each needs, flat: a field too many is refused, so that nothing is understood by half.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    pub action: Option<String>,
    pub note: Option<String>,
    pub customer: Option<Named>,
    pub payment: Option<Linked>,
    pub debit: Option<AccountKind>,
    pub credit: Option<AccountKind>,
    pub currency: Option<String>,
    pub amount: Option<String>,
}

impl Wanted {
    pub fn action(self) -> Result<(Action, String), String> {
        let Self { action, note, customer, payment, debit, credit, currency, amount } = self;
        let note = text("note", note.unwrap_or_default())?;
        let word = action.unwrap_or_default();
        let action = match (word.as_str(), customer, payment, debit, credit, currency, amount) {
            ("assign", Some(customer), None, None, None, None, None) => Action::Assign { customer },
            ("book_anyway", None, None, None, None, None, None) => Action::BookAnyway { although: Vec::new() },
            ("ignore", None, None, None, None, None, None) => Action::Ignore,
            ("link", None, Some(payment), None, None, None, None) => Action::Link { payment },
            ("correct", customer, None, Some(debit), Some(credit), Some(currency), Some(amount)) => {
                Action::Correct { debit, credit, customer, currency, amount }
            }
            _ => return Err(shape::ACTIONS.to_owned()),
        };
        let params = serde_json::to_string(&action).map_err(|error| error.to_string())?;
        if params.contains("\\u0000") || params.len() > 4_000 {
            return Err("a field has a NUL, or is too long".to_owned());
        }
        Ok((action, note))
    }
}

/// `POST /api/discrepancies/{id}/resolve`: 200 when it is done, 202 when a second person must agree.
pub(super) async fn resolve(caller: Caller, id: web::Path<String>, body: Body, app: web::Data<App>) -> Answer {
    let number = number(&id, "discrepancy")?;
    let (action, note) = read::<Wanted>(body)?.action().map_err(ApiError::Invalid)?;
    match resolver(&app).ask(number, &action, &note, &caller.actor()).await? {
        Asking::Done => told(&id, &app).await,
        Asking::Proposed(proposal) => match proposal.state {
            State::Waiting => Ok(HttpResponse::Accepted().json(shape::proposal(&proposal))),
            State::Declined => Err(declined(proposal.outcome)),
            State::Approved | State::Done | State::Refused => told(&id, &app).await,
        },
    }
}

/// The ledger said no, and why.
pub fn declined(outcome: Option<String>) -> ApiError {
    let detail = format!("the ledger declined it: {}", outcome.unwrap_or_default());
    ApiError::Conflict { code: "declined", detail }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Said {
    kind: Option<String>,
    text: Option<String>,
}

/// `POST /api/discrepancies/{id}/comments`
pub(super) async fn comment(caller: Caller, id: web::Path<String>, body: Body, app: web::Data<App>) -> Answer {
    let number = number(&id, "discrepancy")?;
    let said: Said = read(body)?;
    let kind = match said.kind.as_deref() {
        None | Some("comment") => NoteKind::Comment,
        Some("evidence") => NoteKind::Evidence,
        Some(word) => {
            return Err(ApiError::Invalid(format!("`kind` must be one of comment, evidence, not `{word}`")));
        }
    };
    let text = text("text", said.text.unwrap_or_default()).map_err(ApiError::Invalid)?;
    discrepancies::get(&app.db, number).await?.ok_or_else(|| none("discrepancy", &id))?;
    discrepancies::say(&app.db, number, kind, &text, (&caller.actor(), (app.clock)())).await?;
    told(&id, &app).await
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Owned {
    owner: Option<String>,
}

/// `POST /api/discrepancies/{id}/owner`: somebody, or nobody.
pub(super) async fn own(caller: Caller, id: web::Path<String>, body: Body, app: web::Data<App>) -> Answer {
    let number = number(&id, "discrepancy")?;
    let Owned { owner } = read(body)?;
    let owner = owner.map(|owner| text("owner", owner)).transpose().map_err(ApiError::Invalid)?;
    discrepancies::get(&app.db, number).await?.ok_or_else(|| none("discrepancy", &id))?;
    discrepancies::give(&app.db, number, owner.as_deref(), &caller.actor(), (app.clock)()).await?;
    told(&id, &app).await
}

/// `GET /api/proposals`
pub(super) async fn proposals(request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["state", "after", "limit"])?;
    let (limit, after) = (params.limit()?, params.position("after")?);
    let state = params.take("state").map(|word| {
        let words = State::ALL.map(State::word).join(", ");
        let known = State::ALL.into_iter().find(|state| state.word() == word);
        known.ok_or_else(|| ApiError::Invalid(format!("`state` must be one of {words}, not `{word}`")))
    });
    let states = state.transpose()?.map_or(State::ALL.to_vec(), |state| vec![state]);
    let found = proposals::list(&app.db, &states, after, limit).await?;
    let rows = found.rows.iter().map(shape::proposal).collect();
    Ok(HttpResponse::Ok().json(page(rows, found.next.map(|next| next.to_string()))))
}

/// `GET /api/proposals/{id}`
pub(super) async fn proposal(id: web::Path<String>, app: web::Data<App>) -> Answer {
    let number = number(&id, "proposal")?;
    let found = proposals::get(&app.db, number).await?.ok_or_else(|| none("proposal", &id))?;
    Ok(HttpResponse::Ok().json(shape::proposal(&found)))
}

/// `POST /api/proposals/{id}/approve`: once, however often.
pub(super) async fn approve(caller: Caller, id: web::Path<String>, app: web::Data<App>) -> Answer {
    let number = number(&id, "proposal")?;
    let done = resolver(&app).approve(number, &caller.actor()).await?;
    match done.state {
        State::Declined => Err(declined(done.outcome)),
        State::Waiting | State::Approved | State::Done | State::Refused => {
            Ok(HttpResponse::Ok().json(shape::proposal(&done)))
        }
    }
}

/// `POST /api/proposals/{id}/refuse`
pub(super) async fn refuse(caller: Caller, id: web::Path<String>, app: web::Data<App>) -> Answer {
    let number = number(&id, "proposal")?;
    let refused = resolver(&app).refuse(number, &caller.actor()).await?;
    Ok(HttpResponse::Ok().json(shape::proposal(&refused)))
}

/// `GET /api/audit`
pub(super) async fn audit(request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["who", "action", "subject", "after", "limit"])?;
    let (limit, after) = (params.limit()?, params.position("after")?);
    let filter =
        audit_log::Filter { who: params.take("who"), action: params.take("action"), subject: params.take("subject") };
    let found = audit_log::list(&app.db, &filter, after, limit).await?;
    let rows = found.rows.iter().map(shape::deed).collect();
    Ok(HttpResponse::Ok().json(page(rows, found.next.map(|next| next.to_string()))))
}

/// What resolving goes by in this process.
pub fn resolver(app: &App) -> Resolver<'_> {
    Resolver {
        db: &app.db,
        booker: &app.booker,
        rules: &app.settings.admin,
        missing_us: app.settings.outbound.missing_us(),
        now_us: (app.clock)(),
    }
}

fn number(id: &str, what: &str) -> Result<i64, ApiError> {
    id.parse().map_err(|_not_a_number| none(what, id))
}

fn none(what: &str, id: &str) -> ApiError {
    ApiError::NotFound(format!("{what} {id}"))
}

impl From<ResolveError> for ApiError {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::NotFound(what) => Self::NotFound(what),
            ResolveError::Unfit(why) => Self::Unfit(why),
            ResolveError::Conflict { code, detail } => Self::Conflict { code, detail },
            ResolveError::SelfApproval => Self::SelfApproval,
            ResolveError::Refused(refusal) => Self::Refused(refusal),
            ResolveError::Store(error) => Self::Store(error),
        }
    }
}
