//! Endpoints that only read: currencies, pairs, accounts, and what became of an operation.

use super::api::{Answer, Answered, Call, Fields};
use super::currencies::{CURRENCIES, Currency, coins, find, printed};
use super::operation::Operation;
use super::php::{self, Value, object};
use super::world::World;

impl World {
    /// `POST /currencies/list`
    pub(super) fn list_currencies(&mut self, _now: i64, _call: &Call<'_>) -> Answered {
        let shown = CURRENCIES.iter().map(|currency| {
            object([
                ("id", Value::int(currency.id)),
                ("type", Value::text(currency.kind())),
                ("currency", Value::text(currency.code)),
                ("minimum_amount", Value::Text(printed(currency.withdrawal_min()))),
                ("deposit_fee_percent", millionths(currency.deposit_fee_ppm)),
                ("withdrawal_fee_percent", millionths(currency.withdrawal_fee_ppm)),
                ("precision", Value::int(8)),
            ])
        });
        Ok(Answer::data(200, Value::List(shown.collect())))
    }

    /// `POST /currencies/pairs` and `/currencies/rates`
    pub(super) fn list_pairs(&mut self, _now: i64, call: &Call<'_>) -> Answered {
        let mut fields = Fields::of(call.form);
        let (from, to) = (fields.optional("currency_from"), fields.optional("currency_to"));
        if from.is_some_and(|code| find(code).is_none()) {
            fields.fault("currency_from", "The selected currency from is invalid.");
        }
        if to.is_some_and(|code| find(code).is_none()) {
            fields.fault("currency_to", "The selected currency to is invalid.");
        }
        fields.check()?;
        let wanted = |code: Option<&str>, currency: &&Currency| code.is_none_or(|code| code == currency.code);
        let pairs = CURRENCIES.iter().filter(|currency| wanted(from, currency)).flat_map(|source| {
            let targets = CURRENCIES.iter().filter(|target| wanted(to, target) && target.code != source.code);
            targets.map(move |target| pair(source, target))
        });
        Ok(Answer::data(200, Value::List(pairs.collect())))
    }

    /// `POST /accounts/list`: also those with nothing on them.
    pub(super) fn list_accounts(&mut self, _now: i64, call: &Call<'_>) -> Answered {
        let shown = CURRENCIES.iter().map(|currency| {
            object([
                ("currency", Value::text(currency.code)),
                ("type", Value::text(currency.kind())),
                ("balance", Value::Text(printed(self.balance(call.merchant, currency.code)))),
            ])
        });
        Ok(Answer::data(200, Value::List(shown.collect())))
    }

    /// `GET /transactions/info`: the latest callback's body, as it was sent, unless that is not true. By reference only withdrawals are found.
    pub(super) fn transaction_info(&mut self, _now: i64, call: &Call<'_>) -> Answered {
        let mut fields = Fields::of(call.form);
        let (id, foreign_id, txid) = (fields.optional("id"), fields.optional("foreign_id"), fields.optional("txid"));
        let asked = [("id", id), ("foreign_id", foreign_id), ("txid", txid)];
        let Some((field, Some(value))) = asked.into_iter().find(|(_, value)| value.is_some()) else {
            fields.required("id");
            return Err(fields.check().err().unwrap_or_else(|| Answer::invalid("id", "The id field is required.")));
        };
        let mine = self.operations.values().rev().filter(|operation| operation.merchant == call.merchant);
        let is_it = |operation: &&Operation| match field {
            "id" => operation.id.to_string() == value,
            "foreign_id" => operation.kind.is_withdrawal() && operation.foreign_id.as_deref() == Some(value),
            _ => operation.parts.iter().any(|part| part.txid.as_deref() == Some(value)),
        };
        let Some(operation) = mine.into_iter().find(is_it) else {
            return Err(Answer::invalid(field, &format!("The selected {} is invalid.", field.replace('_', " "))));
        };
        let latest = operation.latest.and_then(|index| self.callbacks.get(index));
        let latest = latest.filter(|callback| !callback.is_untrue);
        let body = latest.map_or_else(|| php::encode(&operation.body()), |callback| callback.body.clone());
        Ok(Answer { body, ..Answer::json(200, &Value::Null) })
    }
}

fn millionths(ppm: u32) -> Value {
    let whole = ppm.div_euclid(1_000_000);
    Value::Text(format!("{whole}.{:06}", ppm.rem_euclid(1_000_000)))
}

fn pair(from: &Currency, to: &Currency) -> Value {
    let mut source = vec![
        ("currency".to_owned(), Value::text(from.code)),
        ("type".to_owned(), Value::text(from.kind())),
        ("min_amount".to_owned(), Value::Text(printed(from.exchange_min()))),
    ];
    if !from.is_fiat() {
        source.push(("min_amount_deposit_with_exchange".to_owned(), Value::Text(printed(from.deposit_min()))));
    }
    let target = object([("currency", Value::text(to.code)), ("type", Value::text(to.kind()))]);
    let rate = from.convert(coins(100_000_000), to).unwrap_or_default();
    object([
        ("currency_from", Value::Object(source)),
        ("currency_to", target),
        ("rate_from", Value::text("1")),
        ("rate_to", Value::Text(printed(rate))),
    ])
}
