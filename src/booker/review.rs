//! Deciding again what is booked or ignored already: the same code over the same bytes and the payment as it stands
//! now, without a lock and without writing. Its effect exists, so it moves nothing; what today's code would make of it
//! otherwise is told. It has a connection of its own, so the booker's desk stays free for what arrives.

use tokio::sync::watch;

use super::desk::{Desk, Lock};
use super::{Incoming, Outcome, Parts};
use crate::domain::ids::MerchantId;
use crate::domain::reason::Reason;
use crate::store::StoreError;
use crate::store::booking::State;

pub struct Reviewer {
    desk: Desk,
}

/// What today's code makes of a callback that is booked or ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Review {
    /// It says nothing new: its effect is there.
    Stands,
    /// It would not be ignored.
    Differs(State, Option<Reason>),
}

impl Reviewer {
    pub fn new(parts: Parts) -> Self {
        Self { desk: Desk::new(parts, watch::Sender::new(0)) }
    }

    /// Whether it is known here how this merchant's callbacks are to be decided.
    pub fn knows(&self, merchant: MerchantId) -> bool {
        self.desk.parts.knows(merchant)
    }

    /// Decides them again, in their order.
    pub async fn review(&mut self, bodies: &[Incoming]) -> Result<Vec<Review>, StoreError> {
        self.desk.cache.forget_when_full();
        self.desk.connect().await?;
        let members: Vec<_> = bodies.iter().map(|incoming| self.desk.member(incoming)).collect();
        match self.desk.book(Lock::Review, &members).await {
            Ok(outcomes) => Ok(outcomes.unwrap_or_default().iter().map(judged).collect()),
            Err(error) => {
                self.desk.hang_up();
                Err(error)
            }
        }
    }
}

fn judged(outcome: &Outcome) -> Review {
    match outcome.state {
        State::Ignored => Review::Stands,
        // A status on the way that came before another one: it moves nothing and tells nothing.
        State::Booked if outcome.entry.is_none() => Review::Stands,
        State::Booked | State::Held | State::Failed => Review::Differs(outcome.state, outcome.reason),
    }
}
