//! A plan on its way to the database.

use super::cache::Learnt;
use super::plan::{Outcome, Plan};
use crate::store::booking::{Head, State, Writes};

/// A plan that is whole: what is to be written, and what to remember of it.
pub(super) struct Ready<'a> {
    /// The head that it goes on from.
    pub before: Head,
    pub after: Head,
    pub writes: Writes<'a>,
    pub outcomes: Vec<Outcome>,
    pub learnt: Learnt,
}

impl<'a> Plan<'a, '_> {
    pub(super) fn ready(self, before: Head) -> Ready<'a> {
        let Self { head: after, writes, outcomes, learned: customers, accounts, .. } = self;
        Ready { before, after, writes, outcomes, learnt: Learnt { customers, accounts } }
    }

    /// Whether the rows themselves are refused if a callback or a payment of this batch is stored already: each of its
    /// callbacks that is not a remembered repeat then opens its payment, or changes one that is remembered.
    pub(super) fn is_proven_by_writing(&self) -> bool {
        let is_proven = |outcome: &Outcome| outcome.is_duplicate || outcome.state == State::Booked;
        !self.writes.has_rare() && self.outcomes.iter().all(is_proven)
    }
}
