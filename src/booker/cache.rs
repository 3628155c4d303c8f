//! What the booker remembers between batches, so that most need not look first. It holds while nobody else has booked,
//! which the statement that writes a batch checks.

use foldhash::HashMap;

use super::Incoming;
use crate::domain::amount::Amount;
use crate::domain::ids::{AccountId, CallbackId, CustomerId, MerchantId};
use crate::domain::payment::{Family, Payment};
use crate::store::booking::{AccountKey, Found, Head, Key, ReferenceKey, Writes};

/// Entries kept in each map before it is emptied: about 10 MB.
const ENTRIES: usize = 40_000;
/// Callbacks kept in each of two halves, of which the older is dropped when the younger is full: about 5 MB.
const CALLBACKS: usize = 14_000;
/// After something was not as presumed, this many batches look first.
const DOUBTFUL_BATCHES: u32 = 16;

#[derive(Default)]
pub(super) struct Cache {
    known: Known,
    /// Of the last batch. It may still be on its way to the disk.
    last: Option<Learnt>,
    older: Callbacks,
    doubt: u32,
}

/// All that batches before the last one have taught.
#[derive(Default)]
struct Known {
    /// A reference never changes its customer: valid for ever.
    customers: HashMap<ReferenceKey, CustomerId>,
    /// Valid while the head is ours.
    accounts: HashMap<AccountKey, (AccountId, Amount)>,
    head: Option<Head>,
    callbacks: Callbacks,
}

/// Callbacks, and how their payments stand. Valid while the head is ours.
#[derive(Default)]
struct Callbacks {
    ids: HashMap<(MerchantId, [u8; 32]), CallbackId>,
    payments: HashMap<(MerchantId, Family, String), Payment>,
}

/// What is worth remembering of a batch.
pub(super) struct Learnt {
    customers: HashMap<ReferenceKey, CustomerId>,
    accounts: HashMap<AccountKey, (AccountId, Amount)>,
    head: Head,
    callbacks: Callbacks,
    /// It changes payments that may not be among its rows: none is remembered.
    has_owned: bool,
}

impl Learnt {
    pub(super) fn new(
        head: Head,
        customers: HashMap<ReferenceKey, CustomerId>,
        accounts: HashMap<AccountKey, (AccountId, Amount)>,
        writes: &Writes<'_>,
    ) -> Self {
        let ids = writes.arrivals.iter().map(|(arrival, verdict)| ((arrival.merchant, *arrival.digest), verdict.id));
        let has_owned = !writes.owned.is_empty();
        let payments = writes.payments.iter().filter(|_| !has_owned).map(|row| {
            let payment = Payment { id: row.id, status: row.status, facts: row.facts, customer: row.customer };
            ((row.merchant, row.family, row.ext_id.clone()), payment)
        });
        let callbacks = Callbacks { ids: ids.collect(), payments: payments.collect() };
        Self { customers, accounts, head, callbacks, has_owned }
    }
}

impl Cache {
    pub(super) fn customer(&self, key: &ReferenceKey) -> Option<CustomerId> {
        let last = self.last.as_ref().and_then(|last| last.customers.get(key));
        last.or_else(|| self.known.customers.get(key)).copied()
    }

    pub(super) fn account(&self, key: &AccountKey) -> Option<(AccountId, Amount)> {
        let last = self.last.as_ref().and_then(|last| last.accounts.get(key));
        last.or_else(|| self.known.accounts.get(key)).copied()
    }

    fn head(&self) -> Option<Head> {
        self.last.as_ref().map(|last| last.head).or(self.known.head)
    }

    /// The journal's position as our last batch left it.
    pub(super) fn position(&self) -> i64 {
        self.head().map_or(0, |head| head.position)
    }

    /// The head that a batch may go on from without looking.
    pub(super) fn trusted_head(&self) -> Option<Head> {
        // Addresses that were given up must be asked about.
        self.head().filter(|head| self.doubt == 0 && head.retirements == 0)
    }

    pub(super) fn knows_customers(&self, incoming: &Incoming) -> bool {
        incoming.references.iter().all(|key| self.customer(key).is_some())
    }

    /// What looking would most probably find: that whatever is not remembered is not there. What makes that safe: the head
    /// is written only if it is still ours; a callback or a payment that is there already refuses the rows of the batch;
    /// and the fingerprints are looked at by the statement that writes.
    pub(super) fn recall(&self, keys: &[Key<'_>]) -> Vec<Found> {
        keys.iter().map(|key| self.found(key)).collect()
    }

    fn found(&self, key: &Key<'_>) -> Found {
        let last = self.last.as_ref().map(|last| &last.callbacks);
        let mut halves = last.into_iter().chain([&self.known.callbacks, &self.older]);
        let id = (key.merchant, *key.digest);
        let callback = halves.clone().find_map(|half| half.ids.get(&id)).copied();
        let payment = key.ext_id.and_then(|ext_id| {
            let name = (key.merchant, key.family, ext_id.to_owned());
            halves.find_map(|half| half.payments.get(&name)).cloned()
        });
        Found { callback, payment, has_twin: false }
    }

    /// Takes over which customers looking found.
    pub(super) fn notice_customers(&mut self, customers: Vec<(ReferenceKey, CustomerId)>) {
        self.known.customers.extend(customers);
    }

    /// Takes over what looking found under these keys, at a head that was checked.
    pub(super) fn notice(&mut self, keys: &[Key<'_>], found: &[Found]) {
        self.settle();
        let Callbacks { ids, payments } = &mut self.known.callbacks;
        for (key, found) in keys.iter().zip(found) {
            ids.extend(found.callback.map(|id| ((key.merchant, *key.digest), id)));
            let name = key.ext_id.map(|ext_id| (key.merchant, key.family, ext_id.to_owned()));
            payments.extend(name.zip(found.payment.clone()));
        }
    }

    /// Forgets what holds only while nobody else books, if somebody has.
    pub(super) fn check(&mut self, head: &Head) {
        if self.head().is_none_or(|known| known.turn != head.turn) {
            self.settle();
            self.known = Known { customers: std::mem::take(&mut self.known.customers), ..Known::default() };
            self.older = Callbacks::default();
        }
    }

    /// Takes over what a batch comes to, while it is being written. Whatever does not end in a commit is unlearnt, or
    /// everything forgotten.
    pub(super) fn learn(&mut self, learnt: Learnt) {
        self.settle();
        if learnt.has_owned {
            (self.known.callbacks.payments, self.older.payments) = (HashMap::default(), HashMap::default());
        }
        self.last = Some(learnt);
    }

    /// The last batch was not written.
    pub(super) fn unlearn(&mut self) {
        self.last = None;
    }

    /// The last batch is on disk, or the next one would not be here.
    fn settle(&mut self) {
        let Some(Learnt { customers, accounts, head, callbacks, .. }) = self.last.take() else { return };
        let known = &mut self.known;
        known.head = Some(head);
        known.customers.extend(customers);
        known.accounts.extend(accounts);
        if known.customers.len() > ENTRIES {
            known.customers.clear();
        }
        if known.accounts.len() > ENTRIES {
            known.accounts.clear();
        }
        if known.callbacks.ids.len() >= CALLBACKS {
            self.older = std::mem::take(&mut known.callbacks);
        }
        known.callbacks.ids.extend(callbacks.ids);
        known.callbacks.payments.extend(callbacks.payments);
    }

    /// Something was not as presumed.
    pub(super) fn doubt(&mut self) {
        self.doubt = DOUBTFUL_BATCHES;
    }

    /// Once for each batch.
    pub(super) fn grow_trust(&mut self) {
        self.doubt = self.doubt.saturating_sub(1);
    }

    /// Starts from scratch, for whoever only looks: what is remembered grows with what is looked at.
    pub(super) fn forget_when_full(&mut self) {
        if self.known.customers.len() > ENTRIES {
            *self = Self::default();
        }
    }
}
