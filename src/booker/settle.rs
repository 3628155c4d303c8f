//! The second half of a plan: the decided entries get their accounts, move the balances, and are chained.

use std::collections::HashSet;

use super::plan::{BalanceLimit, Pending, Plan, next};
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::ids::AccountId;
use crate::domain::journal::{Booked, Effect, Entry, chain};
use crate::store::booking::{AccountKey, DiscrepancyRow};

impl Plan<'_> {
    /// The accounts that the decided entries move money between.
    pub(super) fn touched(&self) -> HashSet<AccountKey> {
        self.pending
            .iter()
            .flat_map(|pending| legs(pending).map(|(debit, credit, _)| [debit, credit]))
            .flatten()
            .collect()
    }

    /// The second half: moves the balances, gives out positions, chains the hashes.
    pub(super) fn settle_all(&mut self) -> Result<(), BalanceLimit> {
        for pending in std::mem::take(&mut self.pending) {
            let postings = self.move_money(&pending).ok_or(BalanceLimit(pending.member))?;
            let entry = self.entry(&pending, postings);
            self.opens_discrepancy(&entry);
            self.note_position(&entry);
            self.head.hash = chain(&self.head.hash, &entry, &pending.incoming.digest());
            self.writes.entries.push((entry, self.head.hash));
        }
        self.keep_accounts();
        Ok(())
    }

    fn move_money(&mut self, pending: &Pending<'_>) -> Option<Vec<Booked>> {
        let mut booked = Vec::new();
        for (debit, credit, amount) in legs(pending) {
            let debit = self.change(debit, amount, true)?;
            let credit = self.change(credit, amount, false)?;
            booked.push(Booked { debit, credit, amount });
        }
        Some(booked)
    }

    fn change(&mut self, key: AccountKey, amount: Amount, is_debit: bool) -> Option<AccountId> {
        let grows = key.kind.grows_by_debit() == is_debit;
        let head = &mut self.head;
        let (id, balance) =
            self.accounts.entry(key).or_insert_with(|| (AccountId(next(&mut head.account)), Amount::ZERO));
        *balance = if grows { balance.checked_add(amount)? } else { balance.checked_sub(amount)? };
        Some(*id)
    }

    fn entry(&mut self, pending: &Pending<'_>, postings: Vec<Booked>) -> Entry {
        let new = pending.new.as_ref();
        let currency = new.and_then(|new| new.currency.clone());
        let balance_after = new.filter(|new| new.touches_customer()).and_then(|new| {
            let key = AccountKey {
                merchant: pending.incoming.merchant,
                kind: AccountKind::Available,
                customer: pending.customer,
                currency: new.currency.clone()?,
            };
            self.accounts.get(&key).map(|(_, balance)| *balance)
        });
        Entry {
            position: next(&mut self.head.position),
            event: pending.event,
            merchant: pending.incoming.merchant,
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
        let Some(reason) = entry.reason.filter(|_| matches!(entry.effect, Effect::Held | Effect::Suspended)) else {
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
        let first = self.writes.arrivals.first().map(|(_, verdict)| verdict.id.0);
        let place = first.and_then(|first| usize::try_from(id.0.checked_sub(first)?).ok());
        let arrived = place.and_then(|place| self.writes.arrivals.get_mut(place)).map(|(_, verdict)| verdict);
        let decided = self.writes.verdicts.iter_mut().find(|verdict| verdict.id == id);
        if let Some(verdict) = decided.or(arrived) {
            if verdict.entries == 0 {
                verdict.position = entry.position;
            }
            verdict.entries = verdict.entries.saturating_add(1);
        }
    }

    fn keep_accounts(&mut self) {
        let before = self.accounts_before;
        for (key, (id, balance)) in &self.accounts {
            if id.0 > before {
                self.writes.new_accounts.push((*id, key.clone(), *balance));
            } else {
                self.writes.balances.push((*id, *balance));
            }
        }
    }
}

/// The accounts of an entry's postings, with those of its customer where a kind is the customer's.
fn legs<'p>(pending: &'p Pending<'_>) -> impl Iterator<Item = (AccountKey, AccountKey, Amount)> + 'p {
    let merchant = pending.incoming.merchant;
    let account = move |kind: AccountKind, currency: &str| AccountKey {
        merchant,
        kind,
        customer: pending.customer.filter(|_| kind.is_customers()),
        currency: currency.to_owned(),
    };
    pending.new.iter().flat_map(|new| &new.postings).map(move |posting| {
        (account(posting.debit, &posting.currency), account(posting.credit, &posting.currency), posting.amount)
    })
}
