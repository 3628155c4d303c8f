//! The simulator's callbacks on their way: the schedule of retries, the log of attempts, repeats. It never opens a
//! connection: it says what is to be delivered, and is told how that went.

use super::operation::Status;
use super::world::{MINUTE_US, Task, World};

/// Minutes from one attempt to the next: after the last, the callback stays undelivered.
pub const RETRY_MINUTES: [i64; 12] = [1, 5, 15, 30, 60, 90, 120, 180, 240, 240, 240, 240];
/// Duplicates of one callback, at most: a rate of 100 would never end.
const DUPLICATES_MAX: u8 = 3;

/// One callback: bytes that were signed once.
#[derive(Debug, Clone)]
pub struct Callback {
    pub operation: i64,
    pub merchant: usize,
    /// The status it tells of.
    pub status: Status,
    pub body: String,
    pub signature: String,
    pub created_us: i64,
    pub state: State,
    pub attempts: Vec<Attempt>,
    /// Held back, so that nobody should wait for it.
    pub is_late: bool,
    /// It claims something else than what happened.
    pub is_untrue: bool,
    failures: usize,
    duplicates: u8,
}

/// Where a callback is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Waiting,
    Delivered,
    /// Never sent: a fault.
    Lost,
    /// Every attempt failed.
    GivenUp,
}

impl State {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Lost => "lost",
            Self::GivenUp => "given_up",
        }
    }
}

/// One try to deliver.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub at_us: i64,
    /// What the receiver answered; nothing when it could not be reached in time.
    pub status: Option<u16>,
    /// The answer was 200, and was not heard: a fault.
    pub is_unheard: bool,
}

/// Which delivery an outcome belongs to. After a reset the numbers of callbacks begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    callback: usize,
    resets: u64,
}

/// What is to be posted.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub ticket: Ticket,
    pub operation: i64,
    pub url: String,
    pub key: String,
    pub signature: String,
    pub body: String,
}

impl Callback {
    pub(super) fn new(
        operation: i64,
        merchant: usize,
        status: Status,
        body: String,
        signature: String,
        now: i64,
        is_lost: bool,
    ) -> Self {
        Self {
            operation,
            merchant,
            status,
            body,
            signature,
            created_us: now,
            state: if is_lost { State::Lost } else { State::Waiting },
            attempts: Vec::new(),
            is_late: false,
            is_untrue: false,
            failures: 0,
            duplicates: 0,
        }
    }
}

impl World {
    /// What is to be posted for a callback. It is under way until [`World::delivered`] hears of it.
    pub(super) fn delivery(&mut self, index: usize) -> Option<Delivery> {
        let callback = self.callbacks.get(index)?;
        let merchant = self.merchants.get(callback.merchant)?;
        self.under_way = self.under_way.saturating_add(1);
        Some(Delivery {
            ticket: Ticket { callback: index, resets: self.resets },
            operation: callback.operation,
            url: merchant.callback_url.clone(),
            key: merchant.key.clone(),
            signature: callback.signature.clone(),
            body: callback.body.clone(),
        })
    }

    /// How a delivery went: nothing but 200 counts.
    pub fn delivered(&mut self, now: i64, ticket: Ticket, status: Option<u16>) {
        let index = ticket.callback;
        let known = self.callbacks.get_mut(index).filter(|_| ticket.resets == self.resets);
        // A reset forgets callbacks that are still under way.
        let Some(callback) = known else { return };
        self.under_way = self.under_way.saturating_sub(1);
        // Answers come in any order; what goes wrong with them must not depend on it.
        let mut dice = self.dice.stream(&format!("delivery {index} {}", callback.attempts.len()));
        let is_unheard = status == Some(200) && dice.percent(self.faults.unheard);
        let is_doubled = dice.percent(self.faults.duplicate);
        let pause_us = dice.between(0, 10 * MINUTE_US);
        callback.attempts.push(Attempt { at_us: now, status, is_unheard });
        let due = if status == Some(200) && !is_unheard {
            callback.state = State::Delivered;
            let may_double = is_doubled && callback.duplicates < DUPLICATES_MAX;
            callback.duplicates = callback.duplicates.saturating_add(u8::from(may_double));
            may_double.then(|| now.saturating_add(pause_us))
        } else if callback.state == State::Waiting {
            let minutes = RETRY_MINUTES.get(callback.failures).copied();
            callback.failures = callback.failures.saturating_add(1);
            if minutes.is_none() {
                callback.state = State::GivenUp;
            }
            minutes.map(|minutes| now.saturating_add(minutes.saturating_mul(MINUTE_US)))
        } else {
            None
        };
        if let Some(due) = due {
            self.plan_at(due, Task::Send { callback: index });
        }
    }

    /// "Repeat callback": the latest one of an operation again, at once. False when there is none yet.
    pub fn repeat_latest(&mut self, now: i64, operation: i64) -> bool {
        let latest = self.operations.get(&operation).and_then(|operation| operation.latest);
        let Some(index) = latest else { return false };
        if let Some(callback) = self.callbacks.get_mut(index).filter(|callback| callback.state != State::Delivered) {
            (callback.state, callback.failures) = (State::Waiting, 0);
        }
        self.plan_at(now, Task::Send { callback: index });
        true
    }

    /// Whether a callback was tried at least once. One that is not to be waited for counts as tried.
    pub(super) fn was_tried(&self, index: usize) -> bool {
        let is_tried = |callback: &Callback| !callback.attempts.is_empty() || callback.state == State::Lost;
        self.callbacks.get(index).is_none_or(|callback| callback.is_late || is_tried(callback))
    }
}
