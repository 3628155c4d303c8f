//! A plan on its way to the database.

use foldhash::HashMap;

use super::Incoming;
use super::plan::{Outcome, Plan};
use crate::domain::amount::Amount;
use crate::domain::ids::{AccountId, CustomerId};
use crate::store::booking::{AccountKey, Head, ReferenceKey, State, Verdict, Writes};

/// A plan that is whole: what is to be written, and what is to be remembered of it.
pub(super) struct Ready<'a> {
    /// The head that it goes on from.
    pub before: Head,
    pub after: Head,
    pub writes: Writes<'a>,
    pub outcomes: Vec<Outcome>,
    /// References that it gives to customers.
    pub customers: HashMap<ReferenceKey, CustomerId>,
    /// Every account that it touches, with its balance afterwards.
    pub accounts: HashMap<AccountKey, (AccountId, Amount)>,
}

impl Plan {
    /// `bodies`: of all its members, in their order.
    pub(super) fn ready<'a>(mut self, before: Head, bodies: &[&'a Incoming]) -> Ready<'a> {
        self.keep_accounts();
        let Self { head: after, arrived, writes, outcomes, learned: customers, accounts, .. } = self;
        let arrival = |(member, verdict): (usize, Verdict)| bodies.get(member).map(|body| (body.arrival(), verdict));
        let writes = Writes { arrivals: arrived.into_iter().filter_map(arrival).collect(), ..writes };
        Ready { before, after, writes, outcomes, customers, accounts }
    }
}

impl Ready<'_> {
    /// Whether the rows themselves are refused if a callback or a payment of this batch is stored already: each of its
    /// callbacks that is not a remembered repeat then opens its payment, or changes one that is remembered.
    pub(super) fn is_proven_by_writing(&self) -> bool {
        let is_proven = |outcome: &Outcome| outcome.is_duplicate || outcome.state == State::Booked;
        !self.writes.has_rare() && self.outcomes.iter().all(is_proven)
    }
}
