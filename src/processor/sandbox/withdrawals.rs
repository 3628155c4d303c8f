//! Money that the merchant sends: checked, taken from its balance at once, and then told as its scenario has it.

use super::addresses::is_payable;
use super::api::{Answer, Answered, Call, Fields, Wait};
use super::currencies::{self, Currency, find, printed};
use super::faults::RANDOM;
use super::operation::{Fee, Kind, Operation, Place, Status, sum};
use super::php::{Value, object};
use super::world::{MINUTE_US, SECOND_US, Task, World, negative};
use crate::domain::callback::Money;

const BAD_ADDRESS: &str = "Invalid params: expected a hex-encoded hash with 0x prefix.";
const DECLINED: &str = "Declined by the reviewer";
const TAKEN: &str = "The foreign id has already been taken.";

/// A withdrawal that passed every check but the balance.
struct Order<'a> {
    merchant: usize,
    kind: Kind,
    foreign_id: &'a str,
    user: &'a str,
    address: &'a str,
    tag: Option<&'a str>,
    sender: &'static Currency,
    receiver: &'static Currency,
    sent: Money,
    received: Money,
}

/// How the two families of endpoints call the same things.
struct Words {
    currency: &'static str,
    amount: &'static str,
    target: &'static str,
    target_amount: &'static str,
}

const USUAL: Words = Words { currency: "currency", amount: "amount", target: "convert_to", target_amount: "amount_to" };
const INSTANT: Words = Words {
    currency: "sender_currency",
    amount: "sender_amount",
    target: "receiver_currency",
    target_amount: "receiver_amount",
};

impl World {
    /// `POST /withdrawal/crypto`
    pub(super) fn withdraw(&mut self, now: i64, call: &Call<'_>) -> Answered {
        let order = self.order(call, &USUAL, [Kind::Withdrawal, Kind::WithdrawalExchange])?;
        let (id, wait) = self.place_withdrawal(now, &order)?;
        let data = object([
            ("id", Value::int(id)),
            ("foreign_id", Value::text(order.foreign_id)),
            ("end_user_reference", Value::text(order.user)),
            ("type", Value::text(order.kind.word())),
            ("status", Value::text("processing")),
            ("amount", Value::Text(printed(order.sent.amount))),
            ("sender_amount", Value::Text(printed(order.sent.amount))),
            ("sender_currency", Value::text(order.sender.code)),
            ("receiver_currency", Value::text(order.receiver.code)),
            ("receiver_amount", Value::Text(printed(order.received.amount))),
        ]);
        Ok(Answer { wait, ..Answer::data(201, data) })
    }

    /// `POST /crypto/withdrawal_instant` and `/crypto/withdrawal_instant_exchange`
    pub(super) fn withdraw_instantly(&mut self, now: i64, call: &Call<'_>) -> Answered {
        let order = self.order(call, &INSTANT, [Kind::WithdrawalInstant, Kind::WithdrawalInstantExchange])?;
        let (id, wait) = self.place_withdrawal(now, &order)?;
        let data = object([
            ("id", Value::int(id)),
            ("foreign_id", Value::text(order.foreign_id)),
            ("end_user_reference", Value::text(order.user)),
            ("type", Value::text(order.kind.word())),
            ("status", Value::text("processing")),
            ("sender_currency", Value::text(order.sender.code)),
            ("sender_amount", Value::Text(printed(order.sent.amount))),
        ]);
        Ok(Answer { wait, ..Answer::data(201, data) })
    }

    fn order<'a>(&self, call: &Call<'a>, words: &Words, [plain, converting]: [Kind; 2]) -> Result<Order<'a>, Answer> {
        let mut fields = Fields::of(call.form);
        let code = fields.required(words.currency);
        let (foreign_id, user) = (fields.required("foreign_id"), fields.required("end_user_reference"));
        let address = fields.required("address");
        let target = fields.optional(words.target).filter(|target| words.target != "convert_to" || *target != code);
        if fields.optional("convert_to").is_some_and(|target| target == code) {
            fields.fault("convert_to", "The convert to and currency must be different.");
        }
        let (sender, receiver) = (find(code), find(target.unwrap_or(code)).filter(|currency| !currency.is_fiat()));
        if sender.is_none() || receiver.is_none() {
            let field = if sender.is_none() || target.is_none() { words.currency } else { words.target };
            fields.fault(field, &format!("The selected {} is invalid.", field.replace('_', " ")));
        }
        if fields.optional(words.target_amount).is_none() {
            fields.required(words.amount);
        }
        let amount = fields.amount(words.amount, "amount");
        let wanted = fields.amount(words.target_amount, "amount to");
        let tag = fields.optional("tag");
        if !foreign_id.is_empty() && self.by_foreign_id(call.merchant, foreign_id, Kind::is_withdrawal).is_some() {
            fields.fault("foreign_id", TAKEN);
        }
        fields.check()?;
        let (sender, receiver) = sender.zip(receiver).expect("without one of them there is a fault");
        let is_plain = sender.code == receiver.code;
        let sent = match (amount, wanted) {
            (Some(amount), _) => Some(amount),
            (None, Some(wanted)) => sender.needed(wanted, receiver),
            (None, None) => None,
        };
        let received = match (amount, wanted) {
            (None, Some(wanted)) => Some(wanted),
            (Some(amount), _) if is_plain => Some(amount),
            (Some(amount), _) => sender.convert(amount, receiver),
            (None, None) => None,
        };
        let field = if amount.is_some() { words.amount } else { words.target_amount };
        let too_large = || Answer::invalid(field, "Not enough amount");
        let (sent, received) = (sent.ok_or_else(too_large)?, received.ok_or_else(too_large)?);
        if received < receiver.withdrawal_min() {
            // The least is told in the currency that was asked in.
            let least = receiver.withdrawal_min();
            let least = if is_plain { least } else { sender.needed(least, receiver).unwrap_or(least) };
            return Err(Answer::invalid(field, &format!("The amount must be at least {least}.")));
        }
        let kind = if is_plain { plain } else { converting };
        let (sent, received) = (sum(sender.code, sent), sum(receiver.code, received));
        let merchant = call.merchant;
        Ok(Order { merchant, kind, foreign_id, user, address, tag, sender, receiver, sent, received })
    }

    fn place_withdrawal(&mut self, now: i64, order: &Order<'_>) -> Result<(i64, Wait), Answer> {
        let mut scenario = self.plan.withdrawal.take();
        if scenario == RANDOM {
            scenario = self.any("withdrawal");
        }
        let is_over = self.limit.is_some_and(|limit| World::in_euro(order.sender, order.sent.amount) > limit);
        if is_over && matches!(scenario, "normal" | "bare" | "early") {
            scenario = "limit";
        }
        let is_early = scenario == "early" || self.dice.percent(self.faults.early);
        if !is_payable(order.receiver.network, order.address) {
            scenario = "cancel";
        }
        let is_bare = scenario == "bare" && !order.kind.converts();
        let fees = if is_bare { Vec::new() } else { fees(order) };
        let charged = std::iter::once(&order.sent).chain(fees.iter().map(|fee| &fee.money));
        let moves: Vec<Money> = charged.map(negative).collect();
        let total =
            moves.iter().try_fold(crate::domain::amount::Amount::ZERO, |sum, money| sum.checked_add(money.amount));
        let left = total.and_then(|total| self.balance(order.merchant, order.sender.code).checked_add(total));
        if left.is_none_or(|left| left < crate::domain::amount::Amount::ZERO) {
            return Err(Answer::invalid("amount", "Not enough amount"));
        }
        let id = self.operation_id();
        let mut parts = Vec::new();
        if order.kind.converts() {
            parts.push(self.exchange_part(&order.sent, &order.received));
        }
        let mut chain = self.chain_part(order.receiver, &order.received);
        chain.txid = None;
        parts.push(chain);
        let mut operation = Operation::new(id, order.merchant, order.kind, now);
        operation.scenario = scenario;
        operation.status = Status::Processing;
        (operation.foreign_id, operation.user) = (Some(order.foreign_id.to_owned()), Some(order.user.to_owned()));
        operation.place = Some(Place {
            id: id.saturating_add(5_000_000),
            currency: order.sender.code.to_owned(),
            convert_to: order.kind.converts().then(|| order.receiver.code.to_owned()),
            address: order.address.to_owned(),
            tag: order.tag.map(str::to_owned),
            ..Place::default()
        });
        (operation.sent, operation.received) = (order.sent.clone(), order.received.clone());
        (operation.parts, operation.fees, operation.is_bare) = (parts, fees, is_bare);
        self.operations.insert(id, operation);
        self.shift(id, moves);
        Ok((id, self.tell_withdrawal(now, id, scenario, is_early)))
    }

    /// Plans what will happen to a withdrawal, and says what its answer waits for.
    fn tell_withdrawal(&mut self, now: i64, id: i64, scenario: &str, is_early: bool) -> Wait {
        let soon = now.saturating_add(20 * SECOND_US);
        let (held_at, judged_at) = (now.saturating_add(2 * SECOND_US), now.saturating_add(MINUTE_US));
        let pending = (held_at, Status::Pending, "");
        let mut story = match scenario {
            "approve" => vec![pending, (judged_at, Status::Confirmed, "")],
            "decline" => vec![pending, (judged_at, Status::Declined, DECLINED)],
            "limit" => vec![pending],
            "limit_cancel" => vec![pending, (judged_at, Status::Cancelled, "Cancelled by the merchant")],
            "cancel" => vec![(soon, Status::Cancelled, BAD_ADDRESS)],
            _ => vec![(soon, Status::Confirmed, "")],
        };
        let mut wait = if scenario == "timeout" { Wait::Never } else { Wait::No };
        if is_early && !story.is_empty() {
            let (_, status, error) = story.remove(0);
            if self.become_silently(now, id, status, error) {
                let told = self.speak(now, id);
                wait = told.filter(|_| wait == Wait::No).map_or(wait, Wait::Tried);
            }
        }
        for (due, status, error) in story {
            self.plan_at(due, Task::Become { operation: id, status, error });
        }
        wait
    }

    /// A confirmed withdrawal has a transaction on the chain.
    pub(super) fn broadcast(&mut self, id: i64, status: Status) {
        if status != Status::Confirmed {
            return;
        }
        let Some(operation) = self.operations.get_mut(&id).filter(|operation| operation.kind.is_withdrawal()) else {
            return;
        };
        let Some(receiver) = find(&operation.received.currency) else { return };
        for part in operation.parts.iter_mut().filter(|part| part.became.is_none() && part.txid.is_none()) {
            let entropy = self.dice.named(&format!("transaction {}", part.id));
            part.txid = Some(super::addresses::txid(receiver.network, &entropy));
        }
    }

    /// A person of the merchant decides a withdrawal that is pending. `Err` says why that can't be.
    pub fn judge(&mut self, now: i64, id: i64, status: Status) -> Result<(), String> {
        let operation = self.operations.get(&id).ok_or_else(|| format!("there is no operation {id}"))?;
        if operation.status != Status::Pending || !operation.kind.is_withdrawal() {
            let (kind, status) = (operation.kind.word(), operation.status.word());
            return Err(format!("operation {id} is a {kind} that is {status}, not a withdrawal that is pending"));
        }
        let error = if status == Status::Declined { DECLINED } else { "" };
        self.become_told(now, id, status, error);
        Ok(())
    }
}

/// What the processor takes beside the sum itself, in the sender's currency.
fn fees(order: &Order<'_>) -> Vec<Fee> {
    let own = currencies::share(order.sent.amount, order.sender.withdrawal_fee_ppm);
    let network = order.receiver.network_fee();
    let mining = if order.kind.converts() { order.receiver.convert(network, order.sender) } else { Some(network) };
    let fee = |kind, amount| Fee { kind, money: sum(order.sender.code, amount) };
    let all = [fee("mining", mining.unwrap_or_default()), fee("fee_crypto_withdrawal", own)];
    all.into_iter().filter(|fee| fee.money.amount.is_positive()).collect()
}
