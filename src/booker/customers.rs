//! Customers in a batch: whom references name, who is opened, and which references are attached.

use super::Incoming;
use super::cache::Cache;
use super::obey::{booked, declined};
use super::plan::{Member, Outcome, Plan, next};
use crate::domain::claim;
use crate::domain::customer::{Owner, ReferenceKind, identify};
use crate::domain::ids::{CallbackId, CustomerId};
use crate::domain::payment::Payment;
use crate::domain::reason::Reason;
use crate::domain::retired;
use crate::store::booking::ReferenceKey;

impl Plan {
    /// Takes over which of their customers are known.
    pub(super) fn know(&mut self, cache: &Cache, members: &[Member<'_>]) {
        for key in members.iter().flat_map(|member| &member.incoming.references) {
            if let Some(id) = cache.customer(key) {
                self.known.insert(key.clone(), id);
            }
        }
    }

    /// Whom a member names; of a pool address, who may claim what arrives there.
    pub(super) fn owner(&self, incoming: &Incoming, payment: Option<&Payment>) -> Owner {
        if let Some(address) = incoming.pool() {
            let windows = self.around.windows.get(&(incoming.merchant, address.to_owned()));
            return claim::owner(windows.map_or(&[][..], Vec::as_slice), payment, incoming.received_us);
        }
        let customer_of = |key| self.learned.get(key).or_else(|| self.known.get(key)).copied();
        identify(incoming.references.iter().map(|key| (key.kind, customer_of(key))))
    }

    /// Whether a deposit came to an address that was given up before.
    pub(super) fn is_retired(&self, incoming: &Incoming) -> bool {
        let head = &incoming.callback.head;
        let Some(address) = retired::address(head).filter(|_| !self.around.retired.is_empty()) else { return false };
        let of_address = self.around.retired.get(&(incoming.merchant, address.to_owned()));
        // All that is known was committed before this is decided.
        of_address.is_some_and(|of_address| retired::is_retired(of_address, head, incoming.received_us, i64::MAX))
    }

    /// References that are new beside a known one belong to the same customer from now on. What an invoice is called is
    /// learnt from whoever creates it, never from its callbacks.
    pub(super) fn attach(&mut self, incoming: &Incoming, id: CustomerId) {
        let is_learnt = |key: &&ReferenceKey| key.kind != ReferenceKind::Invoice || incoming.order.is_some();
        for key in incoming.references.iter().filter(is_learnt) {
            if !self.known.contains_key(key) && !self.learned.contains_key(key) {
                self.writes.references.push((key.clone(), id));
                self.learned.insert(key.clone(), id);
            }
        }
    }

    pub(super) fn open(&mut self, incoming: &Incoming) -> CustomerId {
        let id = CustomerId(next(&mut self.head.customer));
        let name = incoming.references.first().map(|key| key.value.clone());
        self.writes.customers.push((id, incoming.merchant, name.unwrap_or_default()));
        self.attach(incoming, id);
        id
    }

    pub(super) fn make_known(&mut self, incoming: &Incoming, owner: Owner) -> Outcome {
        let before = self.writes.references.len();
        let customer = match owner {
            Owner::Known(id) => {
                self.attach(incoming, id);
                id
            }
            Owner::Unknown => self.open(incoming),
            Owner::Contradictory => return declined(Reason::CustomerContradictory),
            Owner::Missing => return declined(Reason::CustomerMissing),
            Owner::Withheld(reason) => return declined(reason),
        };
        let is_new = self.writes.references.len() > before;
        if is_new {
            // Another replica that looked before must look again.
            next(&mut self.head.turn);
        }
        Outcome { is_duplicate: !is_new, customer: Some(customer), ..booked(CallbackId(0)) }
    }
}
