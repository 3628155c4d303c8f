//! Asking the processor about what should be over by now. What it answers is booked like the callback that it stands
//! for, so that the callback itself, if it comes after all, says nothing new. What it knows nothing of is told, once.
//! Withdrawals whose outcome is unknown have an asker of their own: `withdrawals::resolve`.

use std::time::Duration;

use tracing::{info, warn};

use super::verify;
use crate::app::App;
use crate::domain::expected::{By, Expected, is_news};
use crate::domain::order::Finding;
use crate::domain::reason::Reason;
use crate::processor::client::Subject;
use crate::processor::wire;
use crate::store::asks::{self, Ages, Ask, Due, Outcome, Standing};
use crate::store::reconcile::is_open;

/// Whoever took a question has it for this long: longer than any call.
const LEASE_US: i64 = 400_000_000;
/// While the rate allows no call.
const PAUSE: Duration = Duration::from_millis(20);
/// How often one payment is told of, if it is known in between.
const TIMES: u32 = 100;
/// Steps of looking for what is overdue that one pass takes, at most.
const STEPS: u32 = 10_000;

/// What a question came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It is over: nothing more is asked.
    Over,
    /// It is still on its way, as the processor says, or as someone looks at it.
    Open,
    /// The processor knows nothing of it.
    Missing,
    /// The processor could not be asked, or said nothing that helps.
    Later,
}

/// How many questions came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub over: u64,
    pub open: u64,
    pub missing: u64,
    pub later: u64,
}

impl Tally {
    fn add(&mut self, reading: Reading) {
        let count = match reading {
            Reading::Over => &mut self.over,
            Reading::Open => &mut self.open,
            Reading::Missing => &mut self.missing,
            Reading::Later => &mut self.later,
        };
        *count = count.saturating_add(1);
    }
}

/// Looks for what is overdue, a step further. Whether there is more to look at.
pub async fn enrol(app: &App) -> anyhow::Result<bool> {
    let settings = &app.settings.reconcile;
    let age_us = |age_s: i64| Some(age_s.saturating_mul(1_000_000)).filter(|age_us| *age_us > 0);
    let ages = Ages {
        withdrawal_us: age_us(settings.withdrawal_age_s),
        invoice_us: age_us(settings.invoice_age_s),
        deposit_us: age_us(settings.deposit_age_s),
        exchange_us: age_us(settings.exchange_age_s),
    };
    Ok(asks::enrol(&app.db, &ages, (app.clock)()).await? > 0)
}

/// Looks for deposits that wait for their verification.
pub async fn enrol_checks(app: &App) -> anyhow::Result<()> {
    Ok(asks::enrol_checks(&app.db, (app.clock)()).await?)
}

/// Asks one question, if one is due and the rate allows it.
pub async fn ask_one(app: &App, due: Due) -> anyhow::Result<Option<Reading>> {
    let now_us = (app.clock)();
    if !asks::is_any(&app.db, due, now_us).await? || !may_call(app).await? {
        return Ok(None);
    }
    let until_us = now_us.saturating_add(LEASE_US);
    let Some(ask) = asks::take(&app.db, due, now_us, until_us).await? else { return Ok(None) };
    Ok(Some(put(app, &ask).await?))
}

async fn may_call(app: &App) -> anyhow::Result<bool> {
    let every_us = 60_000_000_i64.checked_div(app.settings.reconcile.asks_a_minute).unwrap_or(60_000_000);
    Ok(asks::take_call(&app.db, every_us).await?)
}

/// Asks everything that is overdue once, whatever its turn; the rate holds.
pub async fn ask_all(app: &App) -> anyhow::Result<Tally> {
    enrol_checks(app).await?;
    let mut steps = 0_u32;
    while enrol(app).await? && steps < STEPS {
        steps = steps.saturating_add(1);
    }
    let due = Due::NotAskedSince((app.clock)());
    let mut tally = Tally::default();
    while asks::is_any(&app.db, due, (app.clock)()).await? {
        match ask_one(app, due).await? {
            Some(reading) => tally.add(reading),
            None => tokio::time::sleep(PAUSE).await,
        }
    }
    Ok(tally)
}

async fn put(app: &App, ask: &Ask) -> anyhow::Result<Reading> {
    if ask.expected == Expected::Check {
        return verify::check(app, ask).await;
    }
    let status = match asks::standing(&app.db, ask).await? {
        Standing::Over => return over(app, ask).await,
        Standing::Held => return again(app, ask, Reading::Open).await,
        Standing::Open(status) => status,
    };
    let (Some(by), Some(subject)) = (app.credentials(ask.merchant), subject(ask)) else {
        return again(app, ask, Reading::Later).await;
    };
    match app.client.transaction(by, &subject).await {
        Ok(Some(body)) => {
            let head = wire::read(&body).head;
            if !is_about(ask, &head) {
                warn!(kind = ask.expected.word(), "The processor answered about something else than was asked");
                return again(app, ask, Reading::Later).await;
            }
            if is_news(status, &head) {
                app.booker.answered(ask.merchant, body).await?;
            }
            match asks::standing(&app.db, ask).await? {
                Standing::Over => over(app, ask).await,
                Standing::Held | Standing::Open(_) => again(app, ask, Reading::Open).await,
            }
        }
        // Whether invoices are found this way is not documented: one that no callback spoke of is no news.
        Ok(None) if ask.expected == Expected::Invoice && status.is_none() => again(app, ask, Reading::Open).await,
        Ok(None) => again(app, ask, Reading::Missing).await,
        Err(trouble) => {
            info!(kind = ask.expected.word(), error = %trouble, "The processor could not be asked about a payment");
            again(app, ask, Reading::Later).await
        }
    }
}

fn subject(ask: &Ask) -> Option<Subject> {
    match ask.by {
        By::Id => ask.reference.parse().ok().map(Subject::Id),
        By::ForeignId => Some(Subject::ForeignId(ask.reference.clone())),
        By::Callback => None,
    }
}

fn is_about(ask: &Ask, head: &crate::domain::callback::Head) -> bool {
    let named = match ask.by {
        By::Id => head.payment_id.as_deref(),
        By::ForeignId => head.foreign_id.as_deref(),
        By::Callback => None,
    };
    head.family() == ask.expected.family() && named == Some(ask.reference.as_str())
}

async fn over(app: &App, ask: &Ask) -> anyhow::Result<Reading> {
    settle(app, ask).await?;
    asks::end(&app.db, ask).await?;
    Ok(Reading::Over)
}

async fn again(app: &App, ask: &Ask, reading: Reading) -> anyhow::Result<Reading> {
    let mut outcome = Outcome {
        next_us: (app.clock)().saturating_add(ask.expected.wait_us(ask.attempts)),
        missing: ask.missing,
        discrepancy: ask.discrepancy,
    };
    match reading {
        Reading::Over | Reading::Later => {}
        Reading::Open => {
            settle(app, ask).await?;
            (outcome.missing, outcome.discrepancy) = (0, None);
        }
        Reading::Missing => {
            outcome.missing = ask.missing.saturating_add(1);
            if outcome.missing >= app.settings.reconcile.misses && ask.discrepancy.is_none() {
                outcome.discrepancy = report(app, ask).await?;
            }
        }
    }
    asks::again(&app.db, ask, outcome).await?;
    Ok(reading)
}

/// Each time that it is missing is told once. What is told follows from the question and from how often it was settled
/// before, so telling it again is the same order, and opens nothing.
async fn report(app: &App, ask: &Ask) -> anyhow::Result<Option<i64>> {
    warn!(kind = ask.expected.word(), "The processor knows nothing of a payment that should be over by now");
    let mut opened = None;
    for time in 1..=TIMES {
        opened = super::report(app, ask.merchant, finding(ask, time), "reconciliation").await?;
        match opened {
            // It was known in between.
            Some(discrepancy) if !is_open(&app.db, discrepancy).await? => {}
            _ => break,
        }
    }
    Ok(opened)
}

fn finding(ask: &Ask, time: u32) -> Finding {
    let (kind, reference) = (ask.expected.word(), &ask.reference);
    let mut key = format!("{kind}/{reference}/{}", ask.since_us);
    if time > 1 {
        key.push_str(&format!("/{time}"));
    }
    Finding {
        key,
        reason: Reason::UnknownThere.code(),
        currency: ask.currency.clone().filter(|_| ask.amount.is_some()).unwrap_or_default(),
        amount: ask.amount.unwrap_or_default(),
        note: format!("{kind} {reference} should be over by now, and the processor knows nothing of it"),
        foreign_id: None,
    }
}

async fn settle(app: &App, ask: &Ask) -> anyhow::Result<()> {
    let Some(discrepancy) = ask.discrepancy else { return Ok(()) };
    super::settle(app, ask.merchant, discrepancy, "the processor knows it after all", "reconciliation").await?;
    Ok(())
}
