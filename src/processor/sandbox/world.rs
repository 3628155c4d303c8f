//! The state of the simulated processor and what drives it: an agenda of things to come. Pure: it is told the time, and
//! answers with what is to be delivered. The same seed and the same calls at the same times make the same world.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::addresses;
use super::currencies::{self, Currency};
use super::dice::Dice;
use super::drift;
use super::faults::{Faults, Plan};
use super::lies::{Lie, Told};
use super::operation::{Kind, Operation, Part, Status};
use super::php;
use super::post::{Callback, Delivery};
use crate::domain::amount::Amount;
use crate::domain::callback::Money;
use crate::domain::ids::MerchantId;
use crate::processor::signature::{Keyring, KeyringError, MerchantKeys, sign};

pub const SECOND_US: i64 = 1_000_000;
pub const MINUTE_US: i64 = 60 * SECOND_US;

/// One account at the simulated processor.
#[derive(Debug, Clone)]
pub struct Merchant {
    pub key: String,
    pub secret: SecretString,
    pub callback_url: String,
    /// What the account holds. Below zero where fees were charged in a currency it never had.
    pub balances: BTreeMap<String, Amount>,
}

/// An address that was given out.
#[derive(Debug, Clone)]
pub struct Address {
    pub id: i64,
    pub merchant: usize,
    pub currency: &'static Currency,
    pub convert_to: Option<&'static Currency>,
    pub address: String,
    pub tag: Option<String>,
    pub foreign_id: String,
    pub user: String,
}

/// Something that is to happen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Task {
    Become {
        operation: i64,
        status: Status,
        error: &'static str,
    },
    /// The timer of an invoice runs out.
    Expire {
        operation: i64,
    },
    /// A payer of an invoice pays so many millionths of what was asked.
    Pay {
        operation: i64,
        ppm: u32,
    },
    Send {
        callback: usize,
    },
}

/// Where ids go on.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    pub operation: i64,
    pub address: i64,
    pub part: i64,
    pub invoice: i64,
}

impl Default for Ids {
    fn default() -> Self {
        Self { operation: 134_702_800, address: 240_407_200, part: 2_169_400, invoice: 826_800 }
    }
}

/// A rate that was fixed by `exchange/calculate`.
#[derive(Debug, Clone)]
pub(super) struct Quote {
    pub merchant: usize,
    pub at_us: i64,
}

/// The simulated processor.
pub struct World {
    pub(super) ring: Keyring,
    pub(super) merchants: Vec<Merchant>,
    pub(super) operations: BTreeMap<i64, Operation>,
    pub(super) addresses: BTreeMap<i64, Address>,
    pub(super) callbacks: Vec<Callback>,
    pub(super) quotes: Vec<Quote>,
    agenda: BTreeMap<(i64, u64), Task>,
    planned: u64,
    /// Deliveries that are on their way.
    pub(super) under_way: usize,
    pub(super) resets: u64,
    pub(super) ids: Ids,
    pub(super) dice: Dice,
    pub(super) seed: u64,
    pub faults: Faults,
    /// What is to go wrong with the next operations, so many times.
    pub(super) asked_lies: Vec<(Lie, u32)>,
    /// What went wrong about money so far.
    pub told: Vec<Told>,
    pub plan: Plan,
    /// Withdrawals worth more wait for a person, in EUR.
    pub(super) limit: Option<Amount>,
    start: Vec<Merchant>,
}

impl World {
    /// Refuses merchants without a usable key or secret.
    pub fn try_new(merchants: Vec<Merchant>, seed: u64, limit: Option<Amount>) -> Result<Self, KeyringError> {
        let keys = (0..).zip(&merchants).map(|(index, merchant)| MerchantKeys {
            merchant: MerchantId(index),
            key: merchant.key.clone(),
            secrets: vec![merchant.secret.clone()],
        });
        Ok(Self {
            ring: Keyring::try_new(keys)?,
            start: merchants.clone(),
            merchants,
            operations: BTreeMap::new(),
            addresses: BTreeMap::new(),
            callbacks: Vec::new(),
            quotes: Vec::new(),
            agenda: BTreeMap::new(),
            planned: 0,
            under_way: 0,
            resets: 0,
            ids: Ids::default(),
            dice: Dice::new(seed),
            seed,
            faults: Faults::default(),
            asked_lies: Vec::new(),
            told: Vec::new(),
            plan: Plan::default(),
            limit,
        })
    }

    /// Forgets everything but the merchants as they were at the start, the faults and the scenarios.
    pub fn reset(&mut self, seed: u64) {
        self.merchants = self.start.clone();
        self.operations.clear();
        self.addresses.clear();
        self.callbacks.clear();
        self.quotes.clear();
        self.asked_lies.clear();
        self.told.clear();
        self.agenda.clear();
        self.ids = Ids::default();
        self.under_way = 0;
        self.resets = self.resets.wrapping_add(1);
        (self.dice, self.seed) = (Dice::new(seed), seed);
    }

    /// When something is to happen next.
    pub fn next_due(&self) -> Option<i64> {
        self.agenda.keys().next().map(|(due, _)| *due)
    }

    /// Whether nothing more happens by itself. What waits for a person does not count.
    pub fn is_idle(&self) -> bool {
        self.agenda.is_empty() && !self.is_delivering()
    }

    /// Whether a callback is on its way.
    pub fn is_delivering(&self) -> bool {
        self.under_way > 0
    }

    /// Lets everything happen that is due, each thing at its own time, and answers what is to be delivered.
    pub fn step(&mut self, now: i64) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((due, _), task) = entry.remove_entry();
            match task {
                Task::Become { operation, status, error } => self.become_told(due, operation, status, error),
                Task::Expire { operation } => self.expire(due, operation),
                Task::Pay { operation, ppm } => self.pay_share(due, operation, ppm),
                Task::Send { callback } => deliveries.extend(self.delivery(callback)),
            }
        }
        deliveries
    }

    pub(super) fn plan_at(&mut self, due: i64, task: Task) {
        self.planned = self.planned.wrapping_add(1);
        self.agenda.insert((due, self.planned), task);
    }

    /// Takes an operation to a status, moves the money that goes with it, and tells the merchant. Final ones stay.
    pub(super) fn become_told(&mut self, now: i64, id: i64, status: Status, error: &str) {
        if self.become_silently(now, id, status, error) {
            self.speak(now, id);
        }
    }

    /// The same without a callback. False for what can't change any more.
    pub(super) fn become_silently(&mut self, now: i64, id: i64, status: Status, error: &str) -> bool {
        if self.operations.get(&id).is_none_or(|operation| operation.status.is_final()) {
            return false;
        }
        self.broadcast(id, status);
        let Some(operation) = self.operations.get_mut(&id) else { return false };
        (operation.status, operation.updated_us) = (status, now);
        error.clone_into(&mut operation.error);
        let kind = operation.kind;
        let moves: Vec<Money> = match status {
            // An exchange and a withdrawal took theirs when they were asked for; what was refused comes back.
            Status::Confirmed if kind.is_deposit() || kind == Kind::Invoice => {
                let fees = operation.fees.iter().map(|fee| negative(&fee.money));
                std::iter::once(operation.received.clone()).chain(fees).collect()
            }
            Status::Confirmed if kind == Kind::Exchange => vec![operation.received.clone()],
            Status::Cancelled | Status::Declined | Status::Failed => operation.moved.iter().map(negative).collect(),
            Status::Confirmed | Status::Created | Status::NotConfirmed | Status::Processing | Status::Pending => {
                Vec::new()
            }
        };
        self.shift(id, moves);
        true
    }

    /// Moves sums on the balances of an operation's merchant.
    pub(super) fn shift(&mut self, id: i64, moves: Vec<Money>) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        let Some(merchant) = self.merchants.get_mut(operation.merchant) else { return };
        for money in moves {
            let balance = merchant.balances.entry(money.currency.clone()).or_default();
            *balance = balance.checked_add(money.amount).unwrap_or(*balance);
            operation.moved.push(money);
        }
    }

    /// Makes a callback of an operation as it stands, and answers its number.
    pub(super) fn tell(&mut self, now: i64, id: i64) -> Option<usize> {
        self.tell_as(now, id, None, false)
    }

    /// The same, or a callback that claims something else, or one that is never sent.
    pub(super) fn tell_as(&mut self, now: i64, id: i64, claimed: Option<Operation>, must_lose: bool) -> Option<usize> {
        let truth = self.operations.get(&id)?;
        let operation = claimed.as_ref().unwrap_or(truth);
        let mut body = operation.body();
        let index = self.callbacks.len();
        let mut dice = self.dice.stream(&format!("callback {index}"));
        if dice.percent(self.faults.drift) {
            drift::drift(&mut body, operation, &mut dice);
        }
        let body = php::encode(&body);
        let merchant = self.merchants.get(operation.merchant)?;
        let signature = sign(&merchant.secret, body.as_bytes());
        let is_lost = must_lose || (dice.percent(self.faults.lose) && claimed.is_none());
        let status = operation.status;
        self.callbacks.push(Callback::new(id, operation.merchant, status, body, signature, now, is_lost));
        if let Some(callback) = self.callbacks.get_mut(index) {
            callback.is_untrue = claimed.is_some();
        }
        if is_lost {
            self.note_lost(now, id);
        } else {
            let is_late = dice.percent(self.faults.reorder);
            if let Some(callback) = self.callbacks.get_mut(index) {
                callback.is_late = is_late;
            }
            let delay_us = if is_late { dice.between(SECOND_US, 40 * MINUTE_US) } else { 0 };
            self.plan_at(now.saturating_add(delay_us), Task::Send { callback: index });
        }
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.latest = Some(index);
        }
        Some(index)
    }

    pub(super) fn balance(&self, merchant: usize, currency: &str) -> Amount {
        let merchant = self.merchants.get(merchant);
        merchant.and_then(|merchant| merchant.balances.get(currency)).copied().unwrap_or_default()
    }

    /// The id of the next operation.
    pub(super) fn operation_id(&mut self) -> i64 {
        self.ids.operation = self.ids.operation.saturating_add(1);
        self.ids.operation
    }

    pub(super) fn part_id(&mut self) -> i64 {
        self.ids.part = self.ids.part.saturating_add(1);
        self.ids.part
    }

    /// A sum that moved on the chain of its currency.
    pub(super) fn chain_part(&mut self, currency: &Currency, money: &Money) -> Part {
        let id = self.part_id();
        let entropy = self.dice.named(&format!("transaction {id}"));
        Part {
            id,
            money: money.clone(),
            became: None,
            is_internal: false,
            txid: Some(addresses::txid(currency.network, &entropy)),
            risk_score: None,
            confirmations: currency.confirmations.max(1),
        }
    }

    /// A sum that was exchanged.
    pub(super) fn exchange_part(&mut self, from: &Money, to: &Money) -> Part {
        let id = self.part_id();
        let (money, became) = (from.clone(), Some(to.clone()));
        Part { id, money, became, is_internal: false, txid: None, risk_score: None, confirmations: 0 }
    }

    /// An operation of a merchant by its reference, among those that `is_kind` takes.
    pub(super) fn by_foreign_id(&self, merchant: usize, foreign_id: &str, is_kind: fn(Kind) -> bool) -> Option<i64> {
        let is_it = |operation: &&Operation| {
            operation.merchant == merchant
                && is_kind(operation.kind)
                && operation.foreign_id.as_deref() == Some(foreign_id)
        };
        self.operations.values().rev().find(is_it).map(|operation| operation.id)
    }

    /// What an amount is worth.
    pub(super) fn in_euro(currency: &Currency, amount: Amount) -> Amount {
        currencies::find("EUR").and_then(|euro| currency.convert(amount, euro)).unwrap_or_default()
    }
}

pub(super) fn negative(money: &Money) -> Money {
    Money { currency: money.currency.clone(), amount: money.amount.negated() }
}
