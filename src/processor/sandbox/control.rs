//! What a person or a test tells the simulator: money that arrives, decisions, faults, scenarios, and a look at
//! everything. JSON in and out; nothing here exists at the real processor.

use super::currencies::{find, printed};
use super::deposits::Arrival;
use super::faults::{SCENARIOS, scenario};
use super::lies::Lie;
use super::operation::{Operation, Status};
use super::php::{Value, object};
use super::post::Callback;
use super::world::World;
use crate::domain::amount::Amount;
use crate::domain::callback::Money;

/// Rows of a list without `limit`.
const LIMIT: usize = 100;

/// Why a command is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What is wrong with it.
    Invalid(String),
    /// There is no such thing.
    Missing(String),
}

impl From<String> for Refusal {
    fn from(what: String) -> Self {
        Self::Invalid(what)
    }
}

type Told = Result<Value, Refusal>;

impl World {
    /// Executes a command: `path` is what follows `/control`, `query` is `name=value&…`.
    pub fn command(&mut self, now: i64, method: &str, path: &str, query: &str, body: &Value) -> Told {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match (method, parts.as_slice()) {
            ("GET", ["state"]) => Ok(self.state()),
            ("GET", ["balances"]) => Ok(self.balances()),
            ("POST", ["balances"]) => self.set_balance(body),
            ("GET", ["addresses"]) => {
                Ok(list(self.addresses.values().rev().take(limit(query)).map(super::world::Address::shown)))
            }
            ("POST", ["deposits"]) => self.arrive(now, body),
            ("POST", ["invoices", foreign_id, "payments"]) => self.pay_invoice(now, foreign_id, body),
            ("GET", ["operations"]) => {
                let all = self.operations.values().rev().filter(|operation| is_wanted(operation, query));
                Ok(list(all.take(limit(query)).map(shown)))
            }
            ("GET", ["operations", id]) => self.operation_detail(number(id)?),
            ("POST", ["operations", id, verb]) => self.operate(now, number(id)?, verb),
            ("GET", ["callbacks"]) => {
                let wanted = asked(query, "operation");
                let all = (0..).zip(&self.callbacks).filter(|(_, callback)| {
                    wanted.is_none_or(|wanted| callback.operation.to_string() == wanted)
                        && asked(query, "state").is_none_or(|state| callback.state.word() == state)
                });
                let all: Vec<Value> = all.map(|(index, callback)| callback.shown(index)).collect();
                Ok(list(all.into_iter().rev().take(limit(query))))
            }
            ("GET", ["faults"]) => Ok(self.faults.shown()),
            ("POST", ["faults"]) => self.set_faults(body),
            ("GET", ["lies"]) => Ok(list(self.lies(asked(query, "kind")))),
            ("POST", ["lies"]) => self.set_lie(now, body),
            ("GET", ["scenarios"]) => Ok(self.scenarios()),
            ("POST", ["scenarios"]) => self.set_scenarios(body),
            ("POST", ["reset"]) => {
                let seed = body.get("seed").and_then(Value::scalar).map_or(Ok(self.seed), str::parse);
                self.reset(seed.map_err(|_not_a_number| "seed is a whole number".to_owned())?);
                Ok(self.state())
            }
            _ => Err(Refusal::Missing(format!("there is no {method} /control{path}"))),
        }
    }

    fn state(&self) -> Value {
        let open = self.operations.values().filter(|operation| !operation.status.is_final()).count();
        let count = |size: usize| Value::Number(size.to_string());
        let merchants = self.merchants.iter().map(|merchant| {
            object([("key", Value::text(&merchant.key)), ("callback_url", Value::text(&merchant.callback_url))])
        });
        object([
            ("seed", Value::Number(self.seed.to_string())),
            ("merchants", Value::List(merchants.collect())),
            ("addresses", count(self.addresses.len())),
            ("operations", count(self.operations.len())),
            ("open_operations", count(open)),
            ("callbacks", count(self.callbacks.len())),
            ("is_idle", Value::Bool(self.is_idle())),
            ("faults", self.faults.shown()),
            ("scenarios", self.scenarios()),
        ])
    }

    fn balances(&self) -> Value {
        list(self.merchants.iter().flat_map(|merchant| {
            merchant.balances.iter().map(|(currency, balance)| {
                object([
                    ("key", Value::text(&merchant.key)),
                    ("currency", Value::text(currency)),
                    ("balance", Value::Text(printed(*balance))),
                ])
            })
        }))
    }

    fn set_balance(&mut self, body: &Value) -> Told {
        let code = word(body, "currency")?;
        let currency = find(code).ok_or_else(|| format!("there is no currency {code}"))?;
        let balance = amount(body, "balance")?;
        let merchant = self.merchant_of(body)?;
        if let Some(merchant) = self.merchants.get_mut(merchant) {
            merchant.balances.insert(currency.code.to_owned(), balance);
        }
        Ok(self.balances())
    }

    fn arrive(&mut self, now: i64, body: &Value) -> Told {
        let text = |name: &str| body.get(name).and_then(Value::scalar).map(str::to_owned);
        let address = match text("address") {
            Some(address) => address,
            None => self.latest_address(word(body, "foreign_id")?)?,
        };
        let arrival = Arrival {
            address,
            tag: text("tag"),
            amount: amount(body, "amount")?,
            currency: text("currency"),
            scenario: text("scenario"),
        };
        let id = self.deposit(now, &arrival)?;
        self.operation_detail(id)
    }

    fn latest_address(&self, foreign_id: &str) -> Result<String, Refusal> {
        let latest = self.addresses.values().rev().find(|address| address.foreign_id == foreign_id);
        let latest = latest.map(|address| address.address.clone());
        latest.ok_or_else(|| Refusal::Missing(format!("nobody took an address for {foreign_id}")))
    }

    fn pay_invoice(&mut self, now: i64, foreign_id: &str, body: &Value) -> Told {
        let is_it =
            |operation: &&Operation| operation.invoice.is_some() && operation.foreign_id.as_deref() == Some(foreign_id);
        let id = self.operations.values().find(is_it).map(|operation| operation.id);
        let id = id.ok_or_else(|| Refusal::Missing(format!("there is no invoice {foreign_id}")))?;
        let currency = body.get("currency").and_then(Value::scalar);
        self.pay(now, id, amount(body, "amount")?, currency)?;
        self.operation_detail(id)
    }

    fn operation_detail(&self, id: i64) -> Told {
        let operation = self.operations.get(&id);
        let operation = operation.ok_or_else(|| Refusal::Missing(format!("there is no operation {id}")))?;
        let mut detail = shown(operation);
        let callbacks = (0..).zip(&self.callbacks).filter(|(_, callback)| callback.operation == id);
        if let Value::Object(members) = &mut detail {
            let callbacks = callbacks.map(|(index, callback)| callback.shown(index)).collect();
            members.push(("callbacks".to_owned(), Value::List(callbacks)));
        }
        Ok(detail)
    }

    fn operate(&mut self, now: i64, id: i64, verb: &str) -> Told {
        match verb {
            "approve" => self.judge(now, id, Status::Confirmed)?,
            "decline" => self.judge(now, id, Status::Declined)?,
            "cancel" => self.judge(now, id, Status::Cancelled)?,
            "repeat" if self.repeat_latest(now, id) => {}
            "repeat" => return Err(Refusal::Missing(format!("operation {id} has no callback to repeat"))),
            _ => return Err(Refusal::Missing(format!("there is no {verb}, only approve, decline, cancel, repeat"))),
        }
        self.operation_detail(id)
    }

    fn set_faults(&mut self, body: &Value) -> Told {
        let mut faults = self.faults;
        for (name, value) in members(body)? {
            let rate = value.scalar().and_then(|token| token.parse().ok());
            faults.set(name, rate.ok_or_else(|| format!("{name} is a whole number"))?)?;
        }
        self.faults = faults;
        Ok(self.faults.shown())
    }

    /// `{"kind":"wrong_amount","times":2}` for the next operations that it is possible with. What needs no operation
    /// happens at once: `{"kind":"balance_shifted","currency":"BTC","amount":"-0.1"}`.
    fn set_lie(&mut self, now: i64, body: &Value) -> Told {
        let kind = word(body, "kind")?;
        let names = Lie::names().collect::<Vec<_>>().join(", ");
        let lie = Lie::named(kind).ok_or_else(|| format!("there is no {kind}, only {names}"))?;
        let is_at_once = body.get("amount").is_some() && matches!(lie, Lie::UnknownWithdrawal | Lie::BalanceShifted);
        if is_at_once {
            let merchant = self.merchant_of(body)?;
            let money = Money { currency: word(body, "currency")?.to_owned(), amount: amount(body, "amount")? };
            find(&money.currency).ok_or_else(|| format!("there is no currency {}", money.currency))?;
            if lie == Lie::BalanceShifted {
                self.shift_balance(now, merchant, money);
            } else {
                let sent = self.send_unknown(now, merchant, money);
                sent.ok_or_else(|| "the balance does not cover that".to_owned())?;
            }
        } else {
            let times = body.get("times").and_then(Value::scalar).map_or(Ok(1), str::parse::<u32>);
            self.ask_to_lie(lie, times.map_err(|_not_a_number| "times is a whole number".to_owned())?);
        }
        Ok(list(self.lies(None)))
    }

    fn merchant_of(&self, body: &Value) -> Result<usize, Refusal> {
        let key = body.get("key").and_then(Value::scalar);
        let found = self.merchants.iter().position(|merchant| key.is_none_or(|key| key == merchant.key));
        found.ok_or_else(|| Refusal::Missing("there is no merchant with that key".to_owned()))
    }

    fn scenarios(&self) -> Value {
        let choices = [self.plan.deposit, self.plan.withdrawal, self.plan.invoice];
        let shown =
            SCENARIOS.iter().zip(choices).map(|((kind, _), choice)| ((*kind).to_owned(), Value::text(choice.usual)));
        Value::Object(shown.collect())
    }

    /// `{"withdrawal":"decline"}` from now on, or with `"times": 2` for the next two.
    fn set_scenarios(&mut self, body: &Value) -> Told {
        let times = body.get("times").and_then(Value::scalar).map(str::parse::<u32>).transpose();
        let times = times.map_err(|_not_a_number| "times is a whole number".to_owned())?;
        let mut plan = self.plan;
        for (kind, name) in members(body)?.iter().filter(|(kind, _)| kind != "times") {
            let name = scenario(kind, name.scalar().unwrap_or_default())?;
            let choice = plan.of(kind);
            match times {
                Some(times) => choice.next = Some((name, times)).filter(|(_, times)| *times > 0),
                None => (choice.usual, choice.next) = (name, None),
            }
        }
        self.plan = plan;
        Ok(self.scenarios())
    }
}

fn shown(operation: &Operation) -> Value {
    let money = |money: &Money| {
        object([("currency", Value::text(&money.currency)), ("amount", Value::Text(printed(money.amount)))])
    };
    let place = operation.place.as_ref();
    object([
        ("id", Value::int(operation.id)),
        ("type", Value::text(operation.kind.word())),
        ("status", Value::text(operation.status.word())),
        ("scenario", Value::text(operation.scenario)),
        ("foreign_id", Value::maybe(operation.foreign_id.as_deref())),
        ("end_user_reference", Value::maybe(operation.user.as_deref())),
        ("address", Value::maybe(place.map(|place| place.address.as_str()))),
        ("sent", money(&operation.sent)),
        ("received", money(&operation.received)),
        ("moved", Value::List(operation.moved.iter().map(money).collect())),
        ("error", Value::text(&operation.error)),
        ("created_at", Value::int(operation.created_us.div_euclid(1_000_000))),
    ])
}

impl Callback {
    /// As the dashboard's tab shows it: created, attempts, body.
    fn shown(&self, index: usize) -> Value {
        let attempts = self.attempts.iter().map(|attempt| {
            object([
                ("at", Value::int(attempt.at_us.div_euclid(1_000_000))),
                ("status", attempt.status.map_or(Value::Null, |status| Value::int(status.into()))),
                ("unheard", Value::Bool(attempt.is_unheard)),
            ])
        });
        object([
            ("id", Value::Number(index.to_string())),
            ("operation", Value::int(self.operation)),
            ("status", Value::text(self.status.word())),
            ("state", Value::text(self.state.word())),
            ("created_at", Value::int(self.created_us.div_euclid(1_000_000))),
            ("signature", Value::text(&self.signature)),
            ("body", Value::text(&self.body)),
            ("attempts", Value::List(attempts.collect())),
        ])
    }
}

fn list(rows: impl Iterator<Item = Value>) -> Value {
    object([("data", Value::List(rows.collect()))])
}

fn members(body: &Value) -> Result<&[(String, Value)], Refusal> {
    match body {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
            Err(Refusal::Invalid("the body is a JSON object".to_owned()))
        }
    }
}

fn word<'b>(body: &'b Value, name: &str) -> Result<&'b str, Refusal> {
    let text = body.get(name).and_then(Value::scalar).filter(|text| !text.is_empty());
    text.ok_or_else(|| Refusal::Invalid(format!("{name} is missing")))
}

fn amount(body: &Value, name: &str) -> Result<Amount, Refusal> {
    let token = word(body, name)?;
    let amount = Amount::parse(token).ok().filter(|amount| amount.units().checked_rem(10_000_000_000) == Some(0));
    amount.ok_or_else(|| Refusal::Invalid(format!("{name} is an amount with up to eight decimals")))
}

fn number(text: &str) -> Result<i64, Refusal> {
    text.parse().map_err(|_not_a_number| Refusal::Missing(format!("{text} is no operation's id")))
}

pub(super) fn asked<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn limit(query: &str) -> usize {
    asked(query, "limit").and_then(|text| text.parse().ok()).unwrap_or(LIMIT).min(1_000_000)
}

fn is_wanted(operation: &Operation, query: &str) -> bool {
    let fits = |name: &str, value: &str| asked(query, name).is_none_or(|wanted| wanted == value);
    fits("type", operation.kind.word())
        && fits("status", operation.status.word())
        && fits("foreign_id", operation.foreign_id.as_deref().unwrap_or_default())
}
