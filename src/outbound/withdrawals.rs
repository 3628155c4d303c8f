//! The one way by which a stored withdrawal goes out, and the one way by which an unknown one becomes known.
//!
//! 1. `Order::Withdrawal` sets the money aside and writes the row: requested.
//! 2. [`send`] takes the row in one statement, which also looks at the switch: sent. Only whoever took it calls.
//! 3. One call. Its answer makes the row pending, or gives the money back, or leaves it unknown.
//! 4. A row that stays requested or sent for too long was left by a process that died: unknown.
//!
//! An unknown withdrawal is never sent again, under no name. It is only read about ([`resolve`]), and:
//!
//! - when not a byte of it has gone out, the first "not found" gives the money back;
//! - when the processor's stored answer is a certain refusal, the money goes back;
//! - when the processor knows it, what it says is booked like the callback it stands for. What goes to another address,
//!   or names another customer, is held: it is an older withdrawal of the same name, and nothing is known of this one;
//! - when it was sent and the processor knows nothing of it, the money stays set aside. A request may still be on its
//!   way, and what "not found" looks like is not documented. After the time of the setting `outbound.missing_s` it is
//!   missing: people are told ([`super::missing`]), and only they may give the money back
//!   ([`Resolver::end`](crate::booker::resolve::Resolver::end)).

use std::sync::Arc;

use tracing::{error, info, warn};

use crate::app::App;
use crate::booker::{self, OrderError, Refusal};
use crate::domain::ids::{CallbackId, MerchantId};
use crate::domain::order::{Order, Withdrawal};
use crate::domain::payment::Family;
use crate::domain::reason::Reason;
use crate::processor::client::{Answer, Exact, Method, Placed, Subject, Trouble};
use crate::processor::wire;
use crate::store::withdrawals::{self, Doubt, Open};
use crate::store::{StoreError, callbacks};

/// The first questions about an unknown withdrawal are this far apart, the later ones ever further.
const ASK_MIN_US: i64 = 5_000_000;
const ASK_MAX_US: i64 = 1_800_000_000;
/// How often what came of one is offered to a database that is not there, before the resolver finds it out.
const TRIES: u32 = 5;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

/// Whether a customer is the merchant itself, by the settings.
pub fn is_treasury(app: &App, merchant: MerchantId, reference: &str) -> bool {
    let settings = app.settings.merchant(app.merchant_name(merchant));
    settings.is_some_and(|settings| settings.treasury.iter().any(|own| own == reference))
}

/// Sets the money aside and writes the intent, whichever door it came through. Nobody may send what they do not have but
/// the merchant itself: its balance becomes what it took out.
pub async fn place(app: &App, merchant: MerchantId, withdrawal: Withdrawal) -> Result<booker::Placed, OrderError> {
    let reference =
        withdrawal.customer.as_ref().filter(|(_, reference)| is_treasury(app, merchant, reference)).cloned();
    let Some(reference) = reference else {
        return app.booker.order(merchant, Order::Withdrawal(withdrawal)).await;
    };
    app.booker.order(merchant, Order::Customer { references: vec![reference] }).await?;
    app.booker.order(merchant, Order::Withdrawal(Withdrawal { customer: None, ..withdrawal })).await
}

/// A requested withdrawal, and how it is to be sent.
#[derive(Debug)]
pub struct Outgoing {
    /// What `Booker::order` gave for it.
    pub id: i64,
    pub merchant: MerchantId,
    pub foreign_id: String,
    /// Below the base URL: `/withdrawal/crypto`.
    pub path: String,
    /// The client's own headers, which have its signature; `None`: we sign.
    pub headers: Option<Vec<(String, Vec<u8>)>>,
}

/// What became of it.
#[derive(Debug)]
pub enum Fate {
    /// The processor took it: its callbacks tell the rest.
    Taken { answer: Answer, processor_id: String },
    /// The processor refused it, and the money is back.
    Refused(Answer),
    /// Nobody knows; it will be read about.
    Unknown { trouble: Trouble, answer: Option<Answer> },
    /// Outgoing money is stopped: nothing was sent, and the money is back.
    Stopped,
    /// It is not requested any more: someone else sends it, or sent it.
    Elsewhere,
}

/// Sends a requested withdrawal, at most once. Runs to its end whoever still waits for it.
pub async fn send(app: &Arc<App>, outgoing: Outgoing) -> Result<Fate, StoreError> {
    let own = Arc::clone(app);
    let ended = app.see_through(async move { send_now(&own, outgoing).await }).await;
    ended.unwrap_or_else(|| Ok(Fate::Unknown { trouble: Trouble::unknown("the process is ending"), answer: None }))
}

async fn send_now(app: &App, outgoing: Outgoing) -> Result<Fate, StoreError> {
    let body = if app.settings.outbound.enabled {
        withdrawals::take(&app.db, outgoing.id, (app.clock)()).await?
    } else {
        None
    };
    let Some(body) = body else { return stopped_or_elsewhere(app, &outgoing).await };
    match call(app, &outgoing, body).await {
        Ok(answer) => Ok(answered(app, &outgoing, answer).await),
        Err(trouble) => Ok(unknown(app, outgoing.id, trouble, None).await),
    }
}

/// Judges an answer, and writes down what it says.
async fn answered(app: &App, outgoing: &Outgoing, answer: Answer) -> Fate {
    match Placed::read(&answer) {
        Ok(placed) => {
            let stored = (answer.status, answer.body.as_slice());
            keep(outgoing.id, || withdrawals::taken(&app.db, outgoing.id, &placed.id, stored)).await;
            Fate::Taken { answer, processor_id: placed.id }
        }
        Err(Trouble::Refused(refused)) if !refused.is_about_the_foreign_id() => {
            let error = Trouble::Refused(refused).to_string();
            doubt(app, outgoing.id, &error, Some(&answer), false).await;
            refund(app, outgoing.merchant, &outgoing.foreign_id, &error).await;
            Fate::Refused(answer)
        }
        Err(trouble) => unknown(app, outgoing.id, trouble, Some(answer)).await,
    }
}

async fn unknown(app: &App, id: i64, trouble: Trouble, answer: Option<Answer>) -> Fate {
    let was_never_sent = matches!(trouble, Trouble::NotSent { .. });
    doubt(app, id, &trouble.to_string(), answer.as_ref(), was_never_sent).await;
    warn!(withdrawal = id, error = %trouble, "A withdrawal is unknown; it will be asked about");
    Fate::Unknown { trouble, answer }
}

async fn call(app: &App, outgoing: &Outgoing, body: Vec<u8>) -> Result<Answer, Trouble> {
    let headers = outgoing.headers.as_ref();
    if let Some(headers) = headers {
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        return app.client.send(Exact { method: Method::POST, path: &outgoing.path, headers, body }).await;
    }
    let by = app.credentials(outgoing.merchant);
    let by = by.ok_or_else(|| Trouble::not_sent("the merchant is not configured here"))?;
    app.client.call(by, Method::POST, &outgoing.path, body).await
}

/// A withdrawal that could not be taken. When that is the switch's doing, not a byte of it goes out any more.
async fn stopped_or_elsewhere(app: &App, outgoing: &Outgoing) -> Result<Fate, StoreError> {
    if !super::is_stopped(app).await? {
        return Ok(Fate::Elsewhere);
    }
    let stop = "nothing was sent: outgoing money is stopped";
    if !withdrawals::doubt_requested(&app.db, outgoing.id, stop, soon(app)).await? {
        return Ok(Fate::Elsewhere);
    }
    refund(app, outgoing.merchant, &outgoing.foreign_id, stop).await;
    Ok(Fate::Stopped)
}

async fn doubt(app: &App, id: i64, error: &str, answer: Option<&Answer>, was_never_sent: bool) {
    let answer = answer.map(|answer| (answer.status, answer.body.as_slice()));
    let doubt = Doubt { error, answer, was_never_sent, next_us: soon(app) };
    keep(id, || withdrawals::doubt(&app.db, id, &doubt)).await;
}

/// Writes down what came of it, also when the database is away for a moment. What can't be written down is found by the
/// resolver: the row stays as sent.
async fn keep<T>(id: i64, write: impl Fn() -> T)
where
    T: Future<Output = Result<(), StoreError>>,
{
    for tries in 1..=TRIES {
        match write().await {
            Ok(()) => return,
            Err(failure) if failure.is_passing() && tries < TRIES => tokio::time::sleep(PAUSE).await,
            Err(failure) => {
                let failure = anyhow::Error::new(failure);
                error!(
                    withdrawal = id,
                    error = format!("{failure:#}"),
                    "What came of a withdrawal could not be stored"
                );
                return;
            }
        }
    }
}

/// Gives the money of a withdrawal back that is certain not to have been done. What fails here the resolver does again.
async fn refund(app: &App, merchant: MerchantId, foreign_id: &str, error: &str) {
    for tries in 1..=TRIES {
        let order = Order::Refund { foreign_id: foreign_id.to_owned(), error: error.to_owned() };
        match app.booker.order(merchant, order).await {
            Ok(_) => return,
            Err(OrderError::Refused(Refusal::Busy | Refusal::Unavailable)) if tries < TRIES => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(failure) => {
                warn!(error = %failure, "The money of a refused withdrawal is not back yet");
                return;
            }
        }
    }
}

/// How an unknown withdrawal stands after it was read about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It is known now, one way or the other.
    Resolved,
    /// The processor knows nothing of it, or only another one of its name; the money stays set aside.
    Missing,
    /// The processor could not be asked, or said nothing that ends it.
    Later,
}

/// Reads about one unknown withdrawal.
pub async fn resolve(app: &App, open: &Open) -> anyhow::Result<Reading> {
    let now_us = (app.clock)();
    let next_us = now_us.saturating_add(wait_us(open.attempts));
    // One whose merchant is not configured here is another replica's.
    let Some(by) = app.credentials(open.merchant) else { return later(app, open, next_us).await };
    if is_refused(open) {
        return given_back(app, open, "the processor refused it").await;
    }
    match app.client.transaction(by, &Subject::ForeignId(open.foreign_id.clone())).await {
        Ok(Some(body)) => told(app, open, body, next_us).await,
        Ok(None) if open.sent_us.is_none() => {
            info!(withdrawal = open.id, "A withdrawal never went out: its money goes back");
            given_back(app, open, "nothing was sent, and the processor knows nothing of it").await
        }
        Ok(None) => {
            withdrawals::missed(&app.db, open.id, now_us, next_us).await?;
            Ok(Reading::Missing)
        }
        // How the processor says that there is none is not documented: people look before anything comes of it.
        Err(Trouble::Unknown { status: Some(404), .. }) => {
            withdrawals::missed(&app.db, open.id, now_us, next_us).await?;
            Ok(Reading::Missing)
        }
        Err(trouble) => {
            info!(withdrawal = open.id, error = %trouble, "An unknown withdrawal could not be read about");
            later(app, open, next_us).await
        }
    }
}

/// Books what the processor says of a withdrawal, if it is really that one.
async fn told(app: &App, open: &Open, body: Vec<u8>, next_us: i64) -> anyhow::Result<Reading> {
    let head = wire::read(&body).head;
    let is_other_kind = matches!(head.family(), Family::Deposit | Family::Invoice | Family::Exchange);
    let is_other_name = head.foreign_id.as_deref().is_some_and(|name| name != open.foreign_id);
    if is_other_kind || is_other_name {
        warn!(withdrawal = open.id, "The processor answered about something else than was asked");
        withdrawals::missed(&app.db, open.id, (app.clock)(), next_us).await?;
        return Ok(Reading::Missing);
    }
    if head.family() != Family::Withdrawal || head.foreign_id.is_none() {
        warn!(withdrawal = open.id, "The processor's answer could not be read as one about a withdrawal");
        return later(app, open, next_us).await;
    }
    let receipt = app.booker.answered(open.merchant, body).await?;
    if is_anothers(app, receipt.id).await? {
        if open.sent_us.is_none() {
            return given_back(app, open, "nothing was sent, and the processor knows another withdrawal by its name")
                .await;
        }
        // The processor knows something of that name, but nothing of this one.
        withdrawals::missed(&app.db, open.id, (app.clock)(), next_us).await?;
        return Ok(Reading::Missing);
    }
    // An answer that is held, or that the ledger had already, may leave it open.
    withdrawals::found(&app.db, open.id, next_us).await?;
    Ok(Reading::Resolved)
}

/// Whether the answer tells of another withdrawal of the same name: the booker holds it for that, or people ended it.
async fn is_anothers(app: &App, answer: CallbackId) -> Result<bool, StoreError> {
    let stored = callbacks::of_ids(&app.db, &[answer]).await?;
    let reason = stored.first().and_then(|stored| stored.reason);
    Ok(reason.is_some_and(|reason| reason == Reason::ContradictsRequest || reason.is_by_hand()))
}

async fn given_back(app: &App, open: &Open, error: &str) -> anyhow::Result<Reading> {
    match app.booker.order(open.merchant, order_refund(open, error)).await {
        // A callback was faster.
        Ok(_) | Err(OrderError::Declined(Reason::NotOpen)) => Ok(Reading::Resolved),
        Err(error) => Err(error.into()),
    }
}

async fn later(app: &App, open: &Open, next_us: i64) -> anyhow::Result<Reading> {
    withdrawals::ask_later(&app.db, open.id, next_us).await?;
    Ok(Reading::Later)
}

fn is_refused(open: &Open) -> bool {
    let Some((status, body)) = open.answer.clone() else { return false };
    let answer = Answer { status, content_type: None, retry_after: None, body };
    matches!(Placed::read(&answer), Err(Trouble::Refused(refused)) if !refused.is_about_the_foreign_id())
}

fn order_refund(open: &Open, error: &str) -> Order {
    Order::Refund { foreign_id: open.foreign_id.clone(), error: error.to_owned() }
}

/// 5 s, 10 s, 20 s … up to half an hour.
fn wait_us(attempts: i32) -> i64 {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or_default().min(20);
    ASK_MIN_US.saturating_mul(2_i64.saturating_pow(doublings)).min(ASK_MAX_US)
}

fn soon(app: &App) -> i64 {
    (app.clock)().saturating_add(ASK_MIN_US)
}

/// How many are unknown, and how many of those are missing.
pub async fn counts(app: &App) -> Result<(u64, u64), StoreError> {
    let before_us = (app.clock)().saturating_sub(app.settings.outbound.missing_us());
    withdrawals::unknown_counts(&app.db, before_us).await
}
