//! What the booker remembers between batches, so that most need not look first. It holds while nobody else has booked,
//! which the statement that writes a batch checks.

use foldhash::HashMap;

use super::plan::Member;
use crate::domain::amount::Amount;
use crate::domain::ids::{AccountId, CallbackId, CustomerId, MerchantId};
use crate::domain::payment::{Family, Payment};
use crate::store::booking::{AccountKey, Found, Head, Key, ReferenceKey, Seen, Writes};

/// Entries kept in each map before it is emptied: about 10 MB.
const ENTRIES: usize = 40_000;
/// Callbacks kept in each of two halves, of which the older is dropped when the younger is full: about 5 MB.
const CALLBACKS: usize = 14_000;
/// A smaller batch looks first: it has the time, and a repeat of long ago does not become an error in the database's log.
const WORTH_IT: usize = 8;
/// After something was not as presumed, this many batches look first.
const DOUBTFUL_BATCHES: u32 = 16;

type PaymentName = (MerchantId, Family, String);

#[derive(Default)]
pub(super) struct Cache {
    /// A reference never changes its customer: valid for ever.
    pub customers: HashMap<ReferenceKey, CustomerId>,
    /// Valid while the head is ours.
    pub accounts: HashMap<AccountKey, (AccountId, Amount)>,
    /// The head as our last batch left it.
    head: Option<Head>,
    recent: Callbacks,
    older: Callbacks,
    doubt: u32,
}

/// The last callbacks, and how their payments stand. Valid while the head is ours.
#[derive(Default)]
struct Callbacks {
    ids: HashMap<(MerchantId, [u8; 32]), CallbackId>,
    payments: HashMap<PaymentName, Payment>,
}

/// What is worth remembering of a batch.
pub(super) struct Learnt {
    pub customers: HashMap<ReferenceKey, CustomerId>,
    pub accounts: HashMap<AccountKey, (AccountId, Amount)>,
}

impl Cache {
    /// What looking would most probably find: that whatever is not remembered is not there. What makes that safe: the head
    /// is written only if it is still ours; a callback or a payment that is there already refuses the rows of the batch;
    /// and the fingerprints are looked at by the statement that writes.
    pub(super) fn recall(&mut self, members: &[Member<'_>], keys: &[Key<'_>]) -> Option<Seen> {
        self.doubt = self.doubt.saturating_sub(1);
        let is_plain = |member: &Member<'_>| {
            let incoming = member.incoming;
            incoming.order.is_none() && incoming.references.iter().all(|key| self.customers.contains_key(key))
        };
        let can = self.doubt == 0 && members.len() >= WORTH_IT && members.iter().all(is_plain);
        let head = self.head.filter(|_| can)?;
        let found = keys.iter().map(|key| self.found(key)).collect();
        Some(Seen { head, found, customers: Vec::new() })
    }

    fn found(&self, key: &Key<'_>) -> Found {
        let id = (key.merchant, *key.digest);
        let callback = self.recent.ids.get(&id).or_else(|| self.older.ids.get(&id)).copied();
        let payment = key.ext_id.and_then(|ext_id| {
            let name = (key.merchant, key.family, ext_id.to_owned());
            self.recent.payments.get(&name).or_else(|| self.older.payments.get(&name)).cloned()
        });
        Found { callback, payment, has_twin: false }
    }

    /// Takes over what looking found.
    pub(super) fn notice(&mut self, keys: &[Key<'_>], found: &[Found]) {
        for (key, found) in keys.iter().zip(found) {
            self.recent.ids.extend(found.callback.map(|id| ((key.merchant, *key.digest), id)));
            let name = key.ext_id.map(|ext_id| (key.merchant, key.family, ext_id.to_owned()));
            self.recent.payments.extend(name.zip(found.payment.clone()));
        }
    }

    /// Something was not as presumed.
    pub(super) fn doubt(&mut self) {
        self.doubt = DOUBTFUL_BATCHES;
    }

    /// Forgets what holds only while nobody else books, if somebody has.
    pub(super) fn check(&mut self, head: &Head) {
        if self.head.is_none_or(|known| known.turn != head.turn) {
            self.forget_all_but_customers();
        }
    }

    /// Takes over what a batch comes to, while it is being written. Whatever does not end in a commit is forgotten again.
    pub(super) fn learn(&mut self, head: Head, learnt: Learnt, writes: &Writes<'_>) {
        self.head = Some(head);
        self.customers.extend(learnt.customers);
        self.accounts.extend(learnt.accounts);
        if self.customers.len() > ENTRIES {
            self.customers.clear();
        }
        if self.accounts.len() > ENTRIES {
            self.accounts.clear();
        }
        if self.recent.ids.len() >= CALLBACKS {
            self.older = std::mem::take(&mut self.recent);
        }
        let ids = writes.arrivals.iter().map(|(arrival, verdict)| ((arrival.merchant, *arrival.digest), verdict.id));
        self.recent.ids.extend(ids);
        if writes.has_rare() {
            // It may change payments that are not among its rows.
            (self.recent.payments, self.older.payments) = (HashMap::default(), HashMap::default());
            return;
        }
        let payments = writes.payments.iter().map(|row| {
            let payment = Payment { id: row.id, status: row.status, facts: row.facts, customer: row.customer };
            ((row.merchant, row.family, row.ext_id.clone()), payment)
        });
        self.recent.payments.extend(payments);
    }

    /// A batch was not written: nothing of it happened, and somebody else may have booked.
    pub(super) fn unlearn(&mut self, customers: &[ReferenceKey]) {
        for key in customers {
            self.customers.remove(key);
        }
        self.forget_all_but_customers();
    }

    fn forget_all_but_customers(&mut self) {
        self.head = None;
        self.accounts.clear();
        (self.recent, self.older) = (Callbacks::default(), Callbacks::default());
    }

    /// The journal's position as our last batch left it.
    pub(super) fn position(&self) -> i64 {
        self.head.map_or(0, |head| head.position)
    }

    /// Starts from scratch, for whoever only looks: what is remembered grows with what is looked at.
    pub(super) fn forget_when_full(&mut self) {
        if self.customers.len() > ENTRIES {
            *self = Self::default();
        }
    }
}
