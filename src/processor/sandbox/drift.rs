//! Drift: the same facts in the other shapes that real bodies have been seen in. It never changes what moves: an object
//! is only left out where the rest of the body still tells its sums.

use super::dice::Dice;
use super::operation::Operation;
use super::php::{Value, object};
use crate::domain::amount::Amount;

/// Changes a body in some of the known ways.
pub(super) fn drift(body: &mut Value, operation: &Operation, dice: &mut Dice) {
    let converts =
        operation.kind.converts() || operation.place.as_ref().is_some_and(|place| place.convert_to.is_some());
    if dice.percent(40) && !converts && operation.invoice.is_none() {
        remove(body, "currency_sent");
        remove(body, "currency_received");
    }
    if dice.percent(50)
        && let Some(error) = body.get_mut("error").filter(|error| **error == Value::text(""))
    {
        *error = Value::Null;
    }
    if dice.percent(30) {
        number(body.get_mut("end_user_reference"));
    }
    for name in ["currency_sent", "currency_received"] {
        if let Some(sum) = body.get_mut(name) {
            shorten(sum, &["amount", "amount_minus_fee", "remaining_amount"], dice);
        }
    }
    if let Some(place) = body.get_mut("crypto_address") {
        empty_tag(place, dice);
        if let (Value::Object(members), true) = (place, dice.percent(30)) {
            let tag = members.iter().position(|(name, _)| name == "tag");
            let tag = tag.map(|index| members.remove(index));
            members.extend(tag);
        }
    }
    if let Some(Value::List(parts)) = body.get_mut("transactions") {
        for part in parts.iter_mut() {
            drift_part(part, dice);
        }
        if dice.percent(30) {
            parts.reverse();
        }
    }
    if let Some(Value::List(fees)) = body.get_mut("fees") {
        fees.iter_mut().for_each(|fee| shorten(fee, &["amount"], dice));
    }
    if let (Value::Object(members), true) = (body, dice.percent(50)) {
        let nested = object([("level", Value::int(2)), ("labels", Value::List(vec![Value::text("a/b"), Value::Null]))]);
        let extra = [("shard", Value::text("ü-7")), ("review", nested), ("retry", Value::Bool(false))];
        members.extend(extra.map(|(name, value)| (name.to_owned(), value)));
    }
}

fn drift_part(part: &mut Value, dice: &mut Dice) {
    if dice.percent(50) {
        number(part.get_mut("confirmations"));
    }
    if dice.percent(30) {
        match part.get_mut("riskscore") {
            Some(score) if dice.percent(50) => *score = Value::Null,
            Some(_) => remove(part, "riskscore"),
            None => {}
        }
    }
    if dice.percent(20)
        && let Some(id) = part.get_mut("id")
        && let Value::Number(token) = id
    {
        *id = Value::text(token);
    }
    empty_tag(part, dice);
    shorten(part, &["amount", "amount_to"], dice);
    if let (Value::Object(members), true) = (&mut *part, dice.percent(30)) {
        let sender = object([("address", Value::text("2N2sandboxSenderAddress"))]);
        members.push(("sender".to_owned(), sender));
    }
}

fn empty_tag(of: &mut Value, dice: &mut Dice) {
    if let Some(tag) = of.get_mut("tag").filter(|tag| **tag == Value::Null)
        && dice.percent(20)
    {
        *tag = Value::text("");
    }
}

fn remove(body: &mut Value, name: &str) {
    if let Value::Object(members) = body {
        members.retain(|(key, _)| key != name);
    }
}

/// A string of digits as a number, where PHP would print the same digits.
fn number(value: Option<&mut Value>) {
    let Some(value) = value else { return };
    let Some(token) = value.scalar() else { return };
    let is_plain = token.len() <= 15 && !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain && (token == "0" || !token.starts_with('0')) {
        *value = Value::Number(token.to_owned());
    }
}

/// Amounts without their last zeros, or as numbers.
fn shorten(of: &mut Value, names: &[&str], dice: &mut Dice) {
    for name in names {
        let roll = dice.below(3);
        let Some(value) = of.get_mut(name) else { continue };
        let Some(amount) = value.scalar().and_then(|token| Amount::parse(token).ok()) else { continue };
        match roll {
            0 => *value = Value::Text(amount.to_string()),
            1 => *value = Value::float(amount).unwrap_or_else(|| value.clone()),
            _ => {}
        }
    }
}
