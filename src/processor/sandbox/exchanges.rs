//! Exchanges of the merchant's own balance: a calculation that holds for a minute, and the exchange itself.

use super::api::{Answer, Answered, Call, Fields};
use super::currencies::{self, Currency, coins, find, printed};
use super::operation::{Fee, Kind, Operation, Status, sum};
use super::php::Value;
use super::world::{Quote, SECOND_US, Task, World, negative};
use crate::domain::callback::Money;

const FIX_PERIOD_S: i64 = 60;
const FEE_PPM: u32 = 20_000;

/// What would be exchanged.
struct Deal {
    sent: Money,
    received: Money,
    fee: Money,
    price: String,
}

impl World {
    /// `POST /exchange/calculate`
    pub(super) fn calculate_exchange(&mut self, now: i64, call: &Call<'_>) -> Answered {
        if !self.may_calculate(now, call.merchant) {
            return Err(Answer::too_many());
        }
        self.quotes.push(Quote { merchant: call.merchant, at_us: now });
        let mut fields = Fields::of(call.form);
        let deal = deal(&mut fields)?;
        fields.check()?;
        let fixed = now.div_euclid(SECOND_US);
        let mut data = deal.shown();
        let set =
            [("ts_fixed", fixed), ("ts_release", fixed.saturating_add(FIX_PERIOD_S)), ("fix_period", FIX_PERIOD_S)];
        data.extend(set.map(|(name, value)| (name.to_owned(), Value::int(value))));
        Ok(Answer::data(200, Value::Object(data)))
    }

    /// `POST /exchange/fixed`: at the price of a calculation that is not older than a minute.
    pub(super) fn exchange_fixed(&mut self, now: i64, call: &Call<'_>) -> Answered {
        let mut fields = Fields::of(call.form);
        let price = fields.required("price").to_owned();
        let deal = deal(&mut fields)?;
        let is_fixed = self.quotes.iter().any(|quote| {
            quote.merchant == call.merchant && quote.at_us.saturating_add(FIX_PERIOD_S.saturating_mul(SECOND_US)) > now
        });
        if !is_fixed || price != deal.price {
            fields.fault("price", "The price is expired.");
        }
        self.exchange(now, call, fields, deal)
    }

    /// `POST /exchange/now`
    pub(super) fn exchange_now(&mut self, now: i64, call: &Call<'_>) -> Answered {
        let mut fields = Fields::of(call.form);
        let deal = deal(&mut fields)?;
        self.exchange(now, call, fields, deal)
    }

    fn exchange(&mut self, now: i64, call: &Call<'_>, mut fields: Fields<'_>, deal: Deal) -> Answered {
        let foreign_id = fields.required("foreign_id").to_owned();
        let is_exchange = |kind| kind == Kind::Exchange;
        if !foreign_id.is_empty() && self.by_foreign_id(call.merchant, &foreign_id, is_exchange).is_some() {
            fields.fault("foreign_id", "The foreign id has already been taken.");
        }
        let sender = find(&deal.sent.currency);
        if let Some(least) = sender.map(Currency::exchange_min).filter(|least| deal.sent.amount < *least) {
            // The blank at its end is the processor's own.
            fields.fault("sender_amount", &format!("The amount must be at least {} ", printed(least)));
        }
        let total = deal.sent.amount.checked_add(deal.fee.amount);
        if total.is_none_or(|total| total > self.balance(call.merchant, &deal.sent.currency)) {
            fields.fault("sender_amount", "Not enough amount");
        }
        fields.check()?;
        let id = self.operation_id();
        let mut data = deal.shown();
        let set = [
            ("id", Value::int(id)),
            ("foreign_id", Value::text(&foreign_id)),
            ("type", Value::text("exchange")),
            ("status", Value::text("processing")),
        ];
        data.extend(set.map(|(name, value)| (name.to_owned(), value)));
        let mut operation = Operation::new(id, call.merchant, Kind::Exchange, now);
        operation.status = Status::Processing;
        operation.foreign_id = Some(foreign_id);
        operation.parts = vec![self.exchange_part(&deal.sent, &deal.received)];
        operation.fees = vec![Fee { kind: "fee_crypto_exchange_to_crypto", money: deal.fee.clone() }];
        let moves = vec![negative(&deal.sent), negative(&deal.fee)];
        (operation.sent, operation.received) = (deal.sent, deal.received);
        self.operations.insert(id, operation);
        self.shift(id, moves);
        let due = now.saturating_add(5 * SECOND_US);
        self.plan_at(due, Task::Become { operation: id, status: Status::Confirmed, error: "" });
        Ok(Answer::data(201, Value::Object(data)))
    }
}

fn deal(fields: &mut Fields<'_>) -> Result<Deal, Answer> {
    let unavailable = || Answer::invalid("sender_currency", "Exchange is unavailable for given currencies");
    let (from, to) = (fields.required("sender_currency"), fields.required("receiver_currency"));
    let (Some(sender), Some(receiver)) = (find(from), find(to)) else { return Err(unavailable()) };
    if sender.code == receiver.code {
        return Err(unavailable());
    }
    if fields.optional("receiver_amount").is_none() {
        fields.required("sender_amount");
    }
    let (given, wanted) =
        (fields.amount("sender_amount", "sender amount"), fields.amount("receiver_amount", "receiver amount"));
    let sums = match (given, wanted) {
        (Some(given), _) => Some(given).zip(sender.convert(given, receiver)),
        (None, Some(wanted)) => sender.needed(wanted, receiver).zip(Some(wanted)),
        (None, None) => None,
    };
    let sums = sums.filter(|(_, received)| received.is_positive());
    let (sent, received) =
        sums.ok_or_else(|| Answer::invalid("sender_amount", "The sender amount must be a number."))?;
    let price = sender.convert(coins(100_000_000), receiver).unwrap_or_default();
    Ok(Deal {
        fee: sum(sender.code, currencies::share(sent, FEE_PPM)),
        sent: sum(sender.code, sent),
        received: sum(receiver.code, received),
        price: printed(price),
    })
}

impl Deal {
    fn shown(&self) -> Vec<(String, Value)> {
        let Self { sent, received, fee, price } = self;
        let texts = [
            ("sender_currency", sent.currency.clone()),
            ("sender_amount", printed(sent.amount)),
            ("receiver_currency", received.currency.clone()),
            ("receiver_amount", printed(received.amount)),
            ("fee_currency", fee.currency.clone()),
            ("fee_amount", printed(fee.amount)),
            ("price", price.clone()),
        ];
        texts.into_iter().map(|(name, text)| (name.to_owned(), Value::Text(text))).collect()
    }
}
