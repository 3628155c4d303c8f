//! Addresses, and the money that arrives at them.

use super::addresses;
use super::api::{Answer, Answered, Call, Fields};
use super::currencies::{self, Currency, find};
use super::faults::{RANDOM, SCENARIOS, scenario};
use super::operation::{Kind, Operation, Place, Status, deposit_fees, sum};
use super::php::{Value, object};
use super::world::{Address, MINUTE_US, SECOND_US, Task, World};
use crate::domain::amount::Amount;
use crate::domain::callback::Money;

/// Money that somebody sends to an address.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub address: String,
    pub tag: Option<String>,
    pub amount: Amount,
    /// Another currency than the address is for, on the same network.
    pub currency: Option<String>,
    /// The plan's, when there is none.
    pub scenario: Option<String>,
}

const BELOW_MINIMUM: &str = "Transaction amount less than minimum deposit";
const DOUBLE_SPEND: &str = "Double spend detected";

impl World {
    /// `POST /addresses/take`: a new address with each call.
    pub(super) fn take_address(&mut self, _now: i64, call: &Call<'_>) -> Answered {
        let mut fields = Fields::of(call.form);
        let code = fields.required("currency");
        let (foreign_id, user) = (fields.required("foreign_id"), fields.required("end_user_reference"));
        let currency = find(code).filter(|currency| !currency.is_fiat());
        if currency.is_none() {
            fields.fault("currency", "The selected currency is invalid.");
        }
        let target = fields.optional("convert_to");
        let convert_to = target.and_then(find);
        if target.is_some() && convert_to.is_none() {
            fields.fault("convert_to", "The selected convert to is invalid.");
        }
        if target == Some(code) {
            fields.fault("convert_to", "The convert to and currency must be different.");
        }
        fields.check()?;
        let currency = currency.expect("without one there is a fault");
        let address = self.new_address(call.merchant, currency, convert_to, [foreign_id, user]);
        let mut data = vec![("id".to_owned(), Value::int(address.id))];
        let mut set = |name: &str, value: Value| data.push((name.to_owned(), value));
        set("currency", Value::text(currency.code));
        if let Some(target) = convert_to {
            set("convert_to", Value::text(target.code));
        }
        set("address", Value::text(&address.address));
        set("tag", address.tag.clone().map_or(Value::Null, Value::Number));
        set("foreign_id", Value::text(foreign_id));
        set("end_user_reference", Value::text(user));
        Ok(Answer::data(201, Value::Object(data)))
    }

    /// Gives out an address that nobody had before.
    pub(super) fn new_address(
        &mut self,
        merchant: usize,
        currency: &'static Currency,
        convert_to: Option<&'static Currency>,
        [foreign_id, user]: [&str; 2],
    ) -> Address {
        self.ids.address = self.ids.address.saturating_add(1);
        let id = self.ids.address;
        let entropy = self.dice.named(&format!("address {id}"));
        let (address, tag) = addresses::address(currency.network, &entropy);
        let (foreign_id, user) = (foreign_id.to_owned(), user.to_owned());
        let tag = tag.map(|tag| tag.to_string());
        let address = Address { id, merchant, currency, convert_to, address, tag, foreign_id, user };
        self.addresses.insert(id, address.clone());
        address
    }

    /// Money arrives. `Err` says why it can't.
    pub fn deposit(&mut self, now: i64, arrival: &Arrival) -> Result<i64, String> {
        let known = self.addresses.values().find(|known| {
            known.address == arrival.address && arrival.tag.as_ref().is_none_or(|tag| known.tag.as_ref() == Some(tag))
        });
        let known = known.cloned().ok_or_else(|| format!("nobody took the address {}", arrival.address))?;
        let mut name = match &arrival.scenario {
            Some(name) => scenario("deposit", name)?,
            None => self.plan.deposit.take(),
        };
        if name == RANDOM {
            name = self.any("deposit");
        }
        let sent = match (&arrival.currency, name) {
            (Some(code), _) => find(code).ok_or_else(|| format!("there is no currency {code}"))?,
            (None, "cross_currency") => sibling(known.currency),
            (None, _) => known.currency,
        };
        if sent.is_fiat() || sent.network != known.currency.network {
            return Err(format!("{} does not travel on the network of {}", sent.code, known.currency.code));
        }
        if !arrival.amount.is_positive() {
            return Err("the amount must be above zero".to_owned());
        }
        let is_small = arrival.amount < sent.deposit_min();
        let amount = if name == "below_minimum" && !is_small {
            // Asked for by name: as much as is still too little.
            sent.deposit_min().checked_sub(currencies::coins(1)).unwrap_or(arrival.amount)
        } else {
            arrival.amount
        };
        let name = if is_small { "below_minimum" } else { name };
        let id = self.open_deposit(now, &known, sent, amount, name)?;
        self.tell_story(now, id, name);
        Ok(id)
    }

    fn open_deposit(
        &mut self,
        now: i64,
        known: &Address,
        currency: &'static Currency,
        amount: Amount,
        scenario: &'static str,
    ) -> Result<i64, String> {
        let id = self.operation_id();
        let sent = sum(currency.code, amount);
        let is_cross = currency.code != known.currency.code;
        // What is not what was expected is not converted either.
        let target = known.convert_to.filter(|_| !is_cross);
        let mut part = self.chain_part(currency, &sent);
        part.risk_score = self.risk_score(currency);
        if scenario == "internal" {
            part.is_internal = true;
            part.txid = Some(format!("CP:{}W{}", currency.code, self.part_id()));
        }
        let mut parts = vec![part];
        let received = match target {
            Some(target) => {
                let got = currency.convert(amount, target).filter(|got| got.is_positive());
                let received = sum(target.code, got.ok_or("the amount is too small to be converted")?);
                parts.push(self.exchange_part(&sent, &received));
                received
            }
            None => sent.clone(),
        };
        let fees = deposit_fees(currency, &received, scenario == "internal");
        let place = Place {
            id: known.id,
            currency: known.currency.code.to_owned(),
            convert_to: known.convert_to.map(|target| target.code.to_owned()),
            address: known.address.clone(),
            tag: known.tag.clone(),
            foreign_id: Some(known.foreign_id.clone()),
            is_cross_currency: is_cross,
        };
        let kind = if target.is_some() { Kind::DepositExchange } else { Kind::Deposit };
        let mut operation = Operation::new(id, known.merchant, kind, now);
        operation.scenario = scenario;
        operation.user = Some(known.user.clone());
        operation.place = Some(place);
        (operation.sent, operation.received) = (sent, received);
        (operation.parts, operation.fees) = (parts, fees);
        operation.is_bare = scenario == "internal" && target.is_none();
        self.operations.insert(id, operation);
        Ok(id)
    }

    /// What will happen to a deposit, and when.
    fn tell_story(&mut self, now: i64, id: i64, scenario: &str) {
        let seen = now.saturating_add(2 * SECOND_US);
        let final_at = match scenario {
            "instant" | "internal" => seen,
            "slow" => now.saturating_add(3 * 60 * MINUTE_US),
            _ => now.saturating_add(MINUTE_US),
        };
        let mut plan = |due, status, error| self.plan_at(due, Task::Become { operation: id, status, error });
        if final_at > seen {
            plan(seen, Status::NotConfirmed, "");
        }
        match scenario {
            "double_spend" => plan(final_at, Status::Cancelled, DOUBLE_SPEND),
            "below_minimum" => plan(final_at, Status::Cancelled, BELOW_MINIMUM),
            _ => plan(final_at, Status::Confirmed, ""),
        }
    }

    /// Any scenario of a kind but those that only a person can end.
    pub(super) fn any(&mut self, kind: &str) -> &'static str {
        let names = SCENARIOS.iter().filter(|(known, _)| *known == kind).flat_map(|(_, names)| names.iter());
        let names: Vec<_> = names.filter(|name| !matches!(**name, "manual" | "timeout" | "limit")).collect();
        self.dice.pick(&names).map_or("normal", |name| **name)
    }

    fn risk_score(&mut self, currency: &Currency) -> Option<String> {
        matches!(currency.code, "BTC" | "BCH" | "ETH").then(|| format!("0.{:02}", self.dice.between(1, 60)))
    }
}

/// Another currency on the same network, if there is one.
fn sibling(currency: &'static Currency) -> &'static Currency {
    let is_other = |other: &&Currency| other.network == currency.network && other.code != currency.code;
    currencies::CURRENCIES.iter().find(is_other).unwrap_or(currency)
}

impl Address {
    /// As the control API shows it.
    pub(super) fn shown(&self) -> Value {
        object([
            ("id", Value::int(self.id)),
            ("currency", Value::text(self.currency.code)),
            ("convert_to", Value::maybe(self.convert_to.map(|target| target.code))),
            ("address", Value::text(&self.address)),
            ("tag", Value::maybe(self.tag.as_deref())),
            ("foreign_id", Value::text(&self.foreign_id)),
            ("end_user_reference", Value::text(&self.user)),
        ])
    }
}

impl Operation {
    /// Nothing yet but what it is.
    pub(super) fn new(id: i64, merchant: usize, kind: Kind, created_us: i64) -> Self {
        let nothing = || Money { currency: String::new(), amount: Amount::ZERO };
        Self {
            id,
            merchant,
            kind,
            status: Status::Created,
            scenario: "normal",
            foreign_id: None,
            user: None,
            place: None,
            sent: nothing(),
            received: nothing(),
            parts: Vec::new(),
            fees: Vec::new(),
            error: String::new(),
            is_bare: false,
            invoice: None,
            latest: None,
            moved: Vec::new(),
            created_us,
            updated_us: created_us,
        }
    }
}
