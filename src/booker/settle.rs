//! The second half of a plan: the decided entries get their accounts, move the balances, and are chained.

use foldhash::HashSet;

use super::cache::Cache;
use super::plan::{Forced, Pending, Plan, Unsettled, next};
use crate::domain::account::{AccountKind, Posting};
use crate::domain::amount::Amount;
use crate::domain::decide::NewEntry;
use crate::domain::ids::{AccountId, CustomerId, MerchantId};
use crate::domain::journal::{Booked, Effect, Entry, chain};
use crate::domain::reason::Reason;
use crate::store::booking::{AccountKey, DiscrepancyRow};

impl Plan {
    /// Takes over the accounts that the decided entries touch, and tells which of them are not known here. A customer
    /// whom this batch opens has none yet.
    pub(super) fn take_accounts(&mut self, cache: &Cache) -> Vec<AccountKey> {
        let mut unknown = HashSet::default();
        for key in self.pending.iter().flat_map(|pending| &pending.legs).flat_map(|(debit, credit, _)| [debit, credit])
        {
            if self.accounts.contains_key(key) {
                continue;
            }
            if let Some(account) = cache.account(key) {
                self.accounts.insert(key.clone(), account);
            } else if key.customer.is_none_or(|id| id.0 <= self.customers_before) {
                unknown.insert(key);
            }
        }
        unknown.into_iter().cloned().collect()
    }

    /// The second half: moves the balances, gives out positions, chains the hashes. Both halves may follow again.
    pub(super) fn settle_all(&mut self) -> Result<(), Unsettled> {
        let mut short = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            if self.is_short(&pending) {
                short.push((pending.member, Forced::Decline(Reason::InsufficientBalance)));
                continue;
            }
            let limit = (pending.member, Forced::Hold(Reason::BalanceLimit));
            let postings = self.move_money(&pending).ok_or_else(|| Unsettled(vec![limit]))?;
            let entry = self.entry(&pending, postings);
            self.opens_discrepancy(&entry);
            self.note_position(&entry);
            self.head.hash = chain(&self.head.hash, &entry, &pending.of.digest);
            self.writes.entries.push((entry, self.head.hash));
        }
        if !short.is_empty() {
            return Err(Unsettled(short));
        }
        Ok(())
    }

    /// Whether an order would move more than there is. Callbacks tell what has happened: they are never short.
    fn is_short(&self, pending: &Pending) -> bool {
        let is_limited = |key: &AccountKey| matches!(key.kind, AccountKind::Available | AccountKind::Suspense);
        let balance = |key| self.accounts.get(key).map_or(Amount::ZERO, |(_, balance)| *balance);
        pending.of.is_order
            && pending.legs.iter().any(|(debit, _, amount)| is_limited(debit) && balance(debit) < *amount)
    }

    fn move_money(&mut self, pending: &Pending) -> Option<Vec<Booked>> {
        let mut booked = Vec::with_capacity(pending.legs.len());
        for (debit, credit, amount) in &pending.legs {
            let debit = self.change(debit, *amount, true)?;
            let credit = self.change(credit, *amount, false)?;
            booked.push(Booked { debit, credit, amount: *amount });
        }
        Some(booked)
    }

    fn change(&mut self, key: &AccountKey, amount: Amount, is_debit: bool) -> Option<AccountId> {
        let grows = key.kind.grows_by_debit() == is_debit;
        let after = |before: Amount| if grows { before.checked_add(amount) } else { before.checked_sub(amount) };
        if let Some((id, balance)) = self.accounts.get_mut(key) {
            *balance = after(*balance)?;
            return Some(*id);
        }
        let id = AccountId(next(&mut self.head.account));
        self.accounts.insert(key.clone(), (id, after(Amount::ZERO)?));
        Some(id)
    }

    fn entry(&mut self, pending: &Pending, postings: Vec<Booked>) -> Entry {
        let new = pending.new.as_ref();
        let currency = new.and_then(|new| new.currency.clone());
        let balance_after = new.filter(|new| new.touches_customer()).and_then(|new| {
            let key = AccountKey {
                merchant: pending.of.merchant,
                kind: AccountKind::Available,
                customer: pending.customer,
                currency: new.currency.clone()?,
            };
            // Another member of the batch may know the account; what is told must not depend on that.
            let is_moved = pending.legs.iter().any(|(debit, credit, _)| *debit == key || *credit == key);
            self.accounts.get(&key).filter(|_| is_moved).map(|(_, balance)| *balance)
        });
        Entry {
            position: next(&mut self.head.position),
            event: pending.event,
            merchant: pending.of.merchant,
            subject: pending.subject,
            effect: pending.effect,
            callback: pending.callback,
            payment: pending.payment,
            customer: pending.customer,
            currency,
            amount: new.and_then(|new| new.amount),
            fee: new.and_then(|new| new.fee),
            balance_after,
            reason: pending.reason,
            at_us: self.writes.now_us,
            postings,
        }
    }

    fn opens_discrepancy(&mut self, entry: &Entry) {
        let Some(reason) =
            entry.reason.filter(|_| matches!(entry.effect, Effect::Held | Effect::Suspended | Effect::Reported))
        else {
            return;
        };
        self.writes.discrepancies.push(DiscrepancyRow {
            position: entry.position,
            merchant: entry.merchant,
            reason,
            callback: entry.callback,
            payment: entry.payment,
            opened_us: entry.at_us,
        });
    }

    /// The verdict's row tells where its entries begin and how many they are. New callbacks are numbered in the order
    /// of their rows, so the row is found by its number.
    fn note_position(&mut self, entry: &Entry) {
        let id = entry.callback;
        let first = self.arrived.first().map(|(_, verdict)| verdict.id.0);
        let place = first.and_then(|first| usize::try_from(id.0.checked_sub(first)?).ok());
        let arrived = place.and_then(|place| self.arrived.get_mut(place)).map(|(_, verdict)| verdict);
        let decided = self.writes.verdicts.iter_mut().find(|verdict| verdict.id == id);
        if let Some(verdict) = decided.or(arrived) {
            if verdict.entries == 0 {
                verdict.position = entry.position;
            }
            verdict.entries = verdict.entries.saturating_add(1);
        }
    }

    pub(super) fn keep_accounts(&mut self) {
        let before = self.accounts_before;
        for (key, (id, balance)) in &self.accounts {
            if id.0 > before {
                self.writes.new_accounts.push((*id, key.clone(), *balance));
            } else {
                self.writes.balances.push((*id, *balance));
            }
        }
        // Neighbours among the rows are changed one after the other.
        self.writes.balances.sort_unstable_by_key(|(id, _)| id.0);
    }
}

/// The accounts of an entry's postings, with those of its customer where a kind is the customer's.
pub(super) fn legs(
    merchant: MerchantId,
    customer: Option<CustomerId>,
    entry: &NewEntry,
) -> Vec<(AccountKey, AccountKey, Amount)> {
    let account = |kind: AccountKind, currency: &str| AccountKey {
        merchant,
        kind,
        customer: customer.filter(|_| kind.is_customers()),
        currency: currency.to_owned(),
    };
    let leg = |posting: &Posting| {
        (account(posting.debit, &posting.currency), account(posting.credit, &posting.currency), posting.amount)
    };
    entry.postings.iter().map(leg).collect()
}
