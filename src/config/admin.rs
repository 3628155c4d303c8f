//! The settings of the admin side: from which amount on a second person must agree. It decides nothing.

use std::collections::BTreeMap;

use super::read::{Reader, list};
use crate::domain::amount::Amount;

#[derive(Debug, Clone, Default)]
pub struct Admin {
    /// By currency: up to this amount one person may move money alone. Without an entry nobody may.
    pub alone: BTreeMap<String, Amount>,
}

impl Admin {
    /// Whether moving this much needs a second person.
    pub fn needs_second(&self, currency: &str, amount: Amount) -> bool {
        self.alone.get(currency).is_none_or(|alone| amount > *alone)
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Admin {
    Admin { alone: amounts(reader, "admin.alone") }
}

/// Amounts by currency.
pub(super) fn amounts(reader: &mut Reader<'_>, key: &str) -> BTreeMap<String, Amount> {
    let mut amounts = BTreeMap::new();
    let mut is_fine = true;
    for pair in list(reader.text(key)) {
        let amount = pair.split_once('=').and_then(|(currency, amount)| {
            let amount = Amount::parse(amount.trim()).ok().filter(|amount| *amount >= Amount::ZERO)?;
            Some((currency.trim().to_owned(), amount))
        });
        match amount {
            Some((currency, amount)) => drop(amounts.insert(currency, amount)),
            None => is_fine = false,
        }
    }
    if !is_fine {
        reader.fault(key, "be CURRENCY=AMOUNT, several with commas, such as BTC=0.01,EUR=100, or empty");
    }
    amounts
}
