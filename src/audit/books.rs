//! The second half of the audit: the chain of hashes, every entry against what the first half derived, and every
//! balance from the postings.

use std::collections::{HashMap, HashSet};

use super::Report;
use super::decisions::{Decisions, Expected, digest};
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::ids::AccountId;
use crate::domain::journal::{Effect, Entry, chain};
use crate::store::proof::{Account, Journaled};

pub(super) struct Books {
    accounts: HashMap<i64, (Account, Amount)>,
    expected: HashMap<i64, Expected>,
    /// Callbacks whose entries are taken as they stand.
    taken: HashSet<i64>,
    position: i64,
    hash: [u8; 32],
}

impl Books {
    pub(super) fn new(accounts: Vec<Account>, decisions: Decisions) -> Self {
        let accounts = accounts.into_iter().map(|account| (account.id.0, (account, Amount::ZERO))).collect();
        Self { accounts, expected: decisions.expected, taken: decisions.taken, position: 0, hash: [0; 32] }
    }

    /// The last position taken.
    pub(super) const fn position(&self) -> i64 {
        self.position
    }

    /// The next entry.
    pub(super) fn take(&mut self, journaled: &Journaled, report: &mut Report) {
        let entry = &journaled.entry;
        let at = entry.position;
        if at != self.position.saturating_add(1) {
            report.differs(format!("journal entry {at}: the one before it is {}", self.position));
        }
        self.position = at;
        match <&[u8; 32]>::try_from(journaled.digest.as_slice()) {
            Ok(digest) => self.hash = chain(&self.hash, entry, digest),
            Err(_) => report.differs(format!("journal entry {at}: its callback has no digest")),
        }
        if self.hash.as_slice() != journaled.hash {
            report.differs(format!("journal entry {at}: its hash is not that of its row and the entry before it"));
            // Go on from what is stored, so that one changed row is named once.
            if let Ok(stored) = journaled.hash.as_slice().try_into() {
                self.hash = stored;
            }
        }
        self.move_money(entry, report);
        self.compare(entry, report);
    }

    fn move_money(&mut self, entry: &Entry, report: &mut Report) {
        for posting in &entry.postings {
            for (id, is_debit) in [(posting.debit, true), (posting.credit, false)] {
                if self.change(id, posting.amount, is_debit, entry).is_none() {
                    report.differs(format!("journal entry {}: account {id} is missing, or another's", entry.position));
                }
            }
        }
    }

    fn change(&mut self, id: AccountId, amount: Amount, is_debit: bool, entry: &Entry) -> Option<()> {
        let (account, balance) = self.accounts.get_mut(&id.0)?;
        let kind = AccountKind::from_code(account.kind)?;
        let customer = if kind.is_customers() { entry.customer.map(|customer| customer.0)? } else { 0 };
        if account.merchant != entry.merchant || account.customer != customer {
            return None;
        }
        let grows = kind.grows_by_debit() == is_debit;
        *balance = if grows { balance.checked_add(amount)? } else { balance.checked_sub(amount)? };
        Some(())
    }

    /// Whether the entry is the one that its callback's bytes lead to.
    fn compare(&mut self, entry: &Entry, report: &mut Report) {
        let at = entry.position;
        let expected = self.expected.remove(&at);
        if matches!(entry.effect, Effect::Held | Effect::Released) {
            if !entry.postings.is_empty() || expected.is_some() {
                report.differs(format!("journal entry {at}: holding and releasing move no money"));
            }
            return;
        }
        let Some(expected) = expected else {
            if self.taken.contains(&entry.callback.0) {
                return self.compare_balance(entry, report);
            }
            return report.differs(format!("journal entry {at}: nothing in callback {} leads to it", entry.callback));
        };
        if expected.callback != entry.callback.0 || self.money(entry) != expected.money {
            report.differs(format!("journal entry {at}: callback {} leads to another one", expected.callback));
        }
        if expected.customer.is_some() && expected.customer != entry.customer {
            report.differs(format!("journal entry {at}: the references name another customer"));
        }
        self.compare_balance(entry, report);
    }

    fn compare_balance(&self, entry: &Entry, report: &mut Report) {
        let Some(told) = entry.balance_after else { return };
        let legs = entry.postings.iter().flat_map(|posting| [posting.debit, posting.credit]);
        let available = legs.filter_map(|id| self.accounts.get(&id.0)).find(|(account, _)| {
            account.kind == AccountKind::Available.code() && Some(&account.currency) == entry.currency.as_ref()
        });
        if available.map(|(_, balance)| *balance) != Some(told) {
            report.differs(format!("journal entry {}: the balance it tells is not the postings' sum", entry.position));
        }
    }

    /// The digest of [`super::decisions::money_digest`], from the stored rows.
    fn money(&self, entry: &Entry) -> u64 {
        let kind = |id: AccountId| self.accounts.get(&id.0).map_or(0, |(account, _)| account.kind);
        let currency = |id: AccountId| self.accounts.get(&id.0).map_or("", |(account, _)| account.currency.as_str());
        let postings: Vec<_> = entry
            .postings
            .iter()
            .map(|posting| (kind(posting.debit), kind(posting.credit), currency(posting.debit), posting.amount))
            .collect();
        digest(&(entry.event.code(), entry.effect.code(), entry.currency.as_deref(), entry.amount, entry.fee, postings))
    }

    /// What must hold at the end: the head, every balance, the sum of each currency.
    pub(super) fn finish(self, position: i64, hash: &[u8], report: &mut Report) {
        if position != self.position || hash != self.hash {
            report.differs(format!("the journal's head is at {position}, its last entry at {}", self.position));
        }
        let mut missing: Vec<_> = self.expected.iter().map(|(at, expected)| (*at, expected.callback)).collect();
        missing.sort_unstable();
        for (at, callback) in missing {
            report.differs(format!("journal entry {at}: missing, though callback {callback} leads to it"));
        }
        let mut sums: HashMap<(i16, String), i128> = HashMap::new();
        let mut accounts: Vec<_> = self.accounts.into_values().collect();
        accounts.sort_unstable_by_key(|(account, _)| account.id);
        for (account, derived) in accounts {
            report.accounts = report.accounts.saturating_add(1);
            if account.balance != derived {
                let (id, balance) = (account.id, account.balance);
                report.differs(format!("account {id}: its balance is {balance}, its postings sum to {derived}"));
            }
            let grows_by_debit = AccountKind::from_code(account.kind).is_some_and(AccountKind::grows_by_debit);
            let signed = if grows_by_debit { derived } else { derived.negated() };
            let sum = sums.entry((account.merchant.0, account.currency)).or_default();
            *sum = sum.saturating_add(signed.units());
        }
        for ((merchant, currency), sum) in sums {
            if sum != 0 {
                report.differs(format!("the {currency} accounts of merchant {merchant} do not sum to zero"));
            }
        }
    }
}
