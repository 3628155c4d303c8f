//! What goes wrong about money itself: callbacks that are signed and yet not what happened, and money that moves without
//! one. Each is written down, so that a test can compare what was found with what was done. `transactions/info`, the
//! accounts and the dashboard's export always tell the truth.

use super::currencies::{find, printed, share};
use super::dice::Dice;
use super::operation::{Kind, Operation, Place, Status};
use super::php::{Value, object};
use super::world::{World, negative};
use crate::domain::amount::Amount;
use crate::domain::callback::Money;

/// What can go wrong. [`Lie::Lost`] happens by the fault `lose`; the others have rates of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// The last callback of an operation was never sent.
    Lost,
    /// A callback tells another amount.
    WrongAmount,
    /// A callback tells the other end: cancelled for confirmed, or confirmed for cancelled.
    WrongStatus,
    /// A deposit is told twice, under two ids, and came once.
    DoubleId,
    /// More is charged than a callback told.
    FeeChanged,
    /// Somebody sends money in the dashboard: no callback, no foreign id.
    UnknownWithdrawal,
    /// A balance changes, and nothing says why.
    BalanceShifted,
}

impl Lie {
    /// Those with a rate of their own.
    pub const ALL: [Self; 6] = [
        Self::WrongAmount,
        Self::WrongStatus,
        Self::DoubleId,
        Self::FeeChanged,
        Self::UnknownWithdrawal,
        Self::BalanceShifted,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::WrongAmount => "wrong_amount",
            Self::WrongStatus => "wrong_status",
            Self::DoubleId => "double_id",
            Self::FeeChanged => "fee_changed",
            Self::UnknownWithdrawal => "unknown_withdrawal",
            Self::BalanceShifted => "balance_shifted",
        }
    }

    /// Everything that can be asked for by name.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        std::iter::once(Self::Lost).chain(Self::ALL).map(Self::word)
    }

    pub fn named(word: &str) -> Option<Self> {
        std::iter::once(Self::Lost).chain(Self::ALL).find(|lie| lie.word() == word)
    }
}

/// One that was told, or done.
#[derive(Debug, Clone)]
pub struct Told {
    pub lie: Lie,
    /// What it is about; nothing of a balance that shifted.
    pub operation: Option<i64>,
    /// The other id of a deposit that is told twice.
    pub other: Option<i64>,
    /// What the accounts have more than whoever believes every callback thinks; less, where it is below zero.
    pub differences: Vec<Money>,
    pub at_us: i64,
}

impl World {
    /// Tells the merchant of an operation that has just changed: the truth, or what the faults have instead.
    pub(super) fn speak(&mut self, now: i64, id: i64) -> Option<usize> {
        let lie = self.operations.get(&id).filter(|operation| operation.status.is_final()).cloned();
        let lie = lie.and_then(|operation| Some((self.lie_about(&operation)?, operation)));
        let Some((lie, truth)) = lie else { return self.tell(now, id) };
        let mut dice = self.dice.stream(&format!("{} {id}", lie.word()));
        match lie {
            Lie::WrongAmount | Lie::WrongStatus => {
                let claimed = if lie == Lie::WrongAmount { misprinted(&truth, &mut dice) } else { turned(&truth) };
                self.note(now, lie, &truth, &claimed);
                self.tell_as(now, id, Some(claimed), false)
            }
            Lie::FeeChanged => {
                self.charge_more(id, &mut dice);
                let charged = self.operations.get(&id).cloned().unwrap_or_else(|| truth.clone());
                self.note(now, lie, &charged, &truth);
                self.tell_as(now, id, Some(truth), false)
            }
            Lie::DoubleId => {
                let told = self.tell(now, id);
                self.double(now, truth);
                told
            }
            Lie::UnknownWithdrawal => {
                let told = self.tell(now, id);
                let currency = truth.received.currency.clone();
                let ppm = u32::try_from(dice.between(1_000, 50_000)).unwrap_or(1_000);
                let amount = share(self.balance(truth.merchant, &currency), ppm);
                self.send_unknown(now, truth.merchant, Money { currency, amount });
                told
            }
            Lie::BalanceShifted => {
                let told = self.tell(now, id);
                let currency = truth.received.currency.clone();
                let ppm = u32::try_from(dice.between(1_000, 50_000)).unwrap_or(1_000);
                let amount = share(truth.received.amount, ppm);
                let amount = if dice.percent(50) { amount.negated() } else { amount };
                self.shift_balance(now, truth.merchant, Money { currency, amount });
                told
            }
            Lie::Lost => self.tell_as(now, id, None, true),
        }
    }

    /// What is to go wrong with an operation: what was asked for by name first, else by the rates.
    fn lie_about(&mut self, operation: &Operation) -> Option<Lie> {
        let asked = self.asked_lies.iter().position(|(lie, _)| is_possible(*lie, operation));
        if let Some((lie, left)) = asked.and_then(|index| self.asked_lies.get_mut(index)) {
            *left = left.saturating_sub(1);
            let lie = *lie;
            self.asked_lies.retain(|(_, left)| *left > 0);
            return Some(lie);
        }
        let mut dice = self.dice.stream(&format!("lie {}", operation.id));
        let rates = self.faults.lies;
        Lie::ALL
            .into_iter()
            .zip(rates)
            .find(|(lie, rate)| dice.percent(*rate) && is_possible(*lie, operation))
            .map(|(lie, _)| lie)
    }

    /// The next so many operations that it is possible with go wrong so.
    pub(super) fn ask_to_lie(&mut self, lie: Lie, times: u32) {
        self.asked_lies.push((lie, times));
        self.asked_lies.retain(|(_, left)| *left > 0);
    }

    fn charge_more(&mut self, id: i64, dice: &mut Dice) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        let currency = charged_in(operation).to_owned();
        let Some(fee) = operation.fees.iter_mut().find(|fee| fee.money.currency == currency) else { return };
        let ppm = u32::try_from(dice.between(100_000, 500_000)).unwrap_or(100_000);
        let more = share(fee.money.amount, ppm).max(super::currencies::coins(1));
        fee.money.amount = fee.money.amount.checked_add(more).unwrap_or(fee.money.amount);
        self.shift(id, vec![Money { currency, amount: more.negated() }]);
    }

    /// Tells a deposit once more, under another id. No money moves with it.
    fn double(&mut self, now: i64, deposit: Operation) {
        let (first, id) = (deposit.id, self.operation_id());
        let mut differences = effect(&deposit);
        differences.iter_mut().for_each(|money| *money = negative(money));
        self.operations.insert(id, Operation { id, moved: Vec::new(), latest: None, created_us: now, ..deposit });
        self.tell(now, id);
        self.told.push(Told { lie: Lie::DoubleId, operation: Some(first), other: Some(id), differences, at_us: now });
    }

    /// Somebody sends money in the dashboard. Nothing of what is not there.
    pub(super) fn send_unknown(&mut self, now: i64, merchant: usize, money: Money) -> Option<i64> {
        let currency = find(&money.currency)?;
        let is_covered = money.amount.is_positive() && self.balance(merchant, currency.code) >= money.amount;
        if !is_covered {
            return None;
        }
        let id = self.operation_id();
        let part = self.chain_part(currency, &money);
        let entropy = self.dice.named(&format!("dashboard {id}"));
        let (address, tag) = super::addresses::address(currency.network, &entropy);
        let tag = tag.map(|tag| tag.to_string());
        let mut operation = Operation::new(id, merchant, Kind::Withdrawal, now);
        operation.scenario = "dashboard";
        operation.status = Status::Confirmed;
        operation.place = Some(Place { id, currency: currency.code.to_owned(), address, tag, ..Place::default() });
        operation.parts = vec![part];
        (operation.sent, operation.received) = (money.clone(), money.clone());
        self.operations.insert(id, operation);
        self.shift(id, vec![negative(&money)]);
        let differences = vec![negative(&money)];
        self.told.push(Told { lie: Lie::UnknownWithdrawal, operation: Some(id), other: None, differences, at_us: now });
        Some(id)
    }

    /// A balance changes, and nothing says why.
    pub(super) fn shift_balance(&mut self, now: i64, merchant: usize, money: Money) {
        let Some(merchant) = self.merchants.get_mut(merchant).filter(|_| !money.amount.is_zero()) else { return };
        let balance = merchant.balances.entry(money.currency.clone()).or_default();
        *balance = balance.checked_add(money.amount).unwrap_or(*balance);
        self.told.push(Told {
            lie: Lie::BalanceShifted,
            operation: None,
            other: None,
            differences: vec![money],
            at_us: now,
        });
    }

    /// Writes down that a callback claims something else than what is true.
    fn note(&mut self, now: i64, lie: Lie, truth: &Operation, claimed: &Operation) {
        let differences = difference(effect(truth), effect(claimed));
        self.told.push(Told { lie, operation: Some(truth.id), other: None, differences, at_us: now });
    }

    /// Writes down that nobody was told how an operation ended.
    pub(super) fn note_lost(&mut self, now: i64, id: i64) {
        let Some(operation) = self.operations.get(&id).filter(|operation| operation.status.is_final()) else { return };
        let differences = difference(effect(operation), Vec::new());
        self.told.push(Told { lie: Lie::Lost, operation: Some(id), other: None, differences, at_us: now });
    }

    /// As the control API lists them, oldest first.
    pub(super) fn lies(&self, kind: Option<&str>) -> impl Iterator<Item = Value> {
        let all = (0_usize..).zip(&self.told);
        all.filter(move |(_, told)| kind.is_none_or(|kind| told.lie.word() == kind)).map(|(index, told)| {
            let id = |id: Option<i64>| id.map_or(Value::Null, Value::int);
            let differences = told.differences.iter().map(|money| {
                let amount = Value::Text(printed(money.amount));
                object([("currency", Value::text(&money.currency)), ("amount", amount)])
            });
            object([
                ("id", Value::Number(index.to_string())),
                ("kind", Value::text(told.lie.word())),
                ("operation", id(told.operation)),
                ("other", id(told.other)),
                ("differences", Value::List(differences.collect())),
                ("at", Value::int(told.at_us.div_euclid(1_000_000))),
            ])
        })
    }
}

/// Invoices and what is converted always tell the truth, if they tell it.
fn is_possible(lie: Lie, operation: &Operation) -> bool {
    let is_plain = !operation.kind.converts() && (operation.kind.is_deposit() || operation.kind.is_withdrawal());
    let is_confirmed = operation.status == Status::Confirmed;
    let is_charged = operation.fees.iter().any(|fee| fee.money.currency == charged_in(operation));
    match lie {
        Lie::Lost => true,
        Lie::WrongAmount => is_plain && is_confirmed,
        Lie::WrongStatus => is_plain,
        Lie::DoubleId => is_plain && is_confirmed && operation.kind.is_deposit(),
        Lie::FeeChanged => is_plain && is_confirmed && !operation.is_bare && is_charged,
        Lie::UnknownWithdrawal | Lie::BalanceShifted => is_plain && is_confirmed,
    }
}

/// The currency of the fee that counts: what is received, or what is sent.
fn charged_in(operation: &Operation) -> &str {
    if operation.kind.is_withdrawal() { &operation.sent.currency } else { &operation.received.currency }
}

/// The same with another amount, up to a fifth more or less.
fn misprinted(truth: &Operation, dice: &mut Dice) -> Operation {
    let mut claimed = truth.clone();
    let ppm = u32::try_from(dice.between(10_000, 200_000)).unwrap_or(10_000);
    let change = share(truth.sent.amount, ppm).max(super::currencies::coins(1));
    let change = if dice.percent(50) { change } else { change.negated() };
    let changed = |amount: Amount| amount.checked_add(change).filter(|sum| sum.is_positive()).unwrap_or(amount);
    claimed.sent.amount = changed(truth.sent.amount);
    claimed.received.amount = changed(truth.received.amount);
    claimed.parts.iter_mut().for_each(|part| part.money.amount = changed(part.money.amount));
    claimed
}

/// The same with the other end.
fn turned(truth: &Operation) -> Operation {
    let mut claimed = truth.clone();
    let (status, error) = match truth.status {
        Status::Confirmed => (Status::Cancelled, "Cancelled"),
        Status::Created
        | Status::NotConfirmed
        | Status::Processing
        | Status::Pending
        | Status::Cancelled
        | Status::Declined
        | Status::Failed => (Status::Confirmed, ""),
    };
    claimed.status = status;
    error.clone_into(&mut claimed.error);
    claimed
}

/// What a final operation moved on the accounts, if it is as it says.
fn effect(operation: &Operation) -> Vec<Money> {
    if operation.status != Status::Confirmed {
        return Vec::new();
    }
    let fees = operation.fees.iter().map(|fee| negative(&fee.money));
    let own = match operation.kind {
        Kind::Deposit | Kind::DepositExchange | Kind::Invoice => vec![operation.received.clone()],
        Kind::Exchange => vec![negative(&operation.sent), operation.received.clone()],
        Kind::Withdrawal | Kind::WithdrawalExchange | Kind::WithdrawalInstant | Kind::WithdrawalInstantExchange => {
            vec![negative(&operation.sent)]
        }
    };
    own.into_iter().chain(fees).collect()
}

/// What the first moves more than the second, by currency.
fn difference(truth: Vec<Money>, claimed: Vec<Money>) -> Vec<Money> {
    let mut sums = std::collections::BTreeMap::<String, Amount>::new();
    for money in truth.into_iter().chain(claimed.iter().map(negative)) {
        let sum = sums.entry(money.currency).or_default();
        *sum = sum.checked_add(money.amount).unwrap_or(*sum);
    }
    let sums = sums.into_iter().filter(|(_, amount)| !amount.is_zero());
    sums.map(|(currency, amount)| Money { currency, amount }).collect()
}
