//! What the ledger must be at any moment, and whether it is. Pure: names, what a finding says, and sums.

use std::collections::BTreeMap;

use super::account::AccountKind;
use super::amount::Amount;

macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        /// One thing that is looked at all the time. The word is what the database stores.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Check { $($(#[$doc])* $name,)* }

        impl Check {
            /// Every check there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word used outside.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

checks! {
    /// The accounts of each merchant and currency sum to zero.
    Zero = "zero";
    /// Every account's balance is the sum of its postings.
    Balances = "balances";
    /// Each entry's hash is that of its row and of the entry before it.
    Chain = "chain";
    /// The journal has no hole, nothing was published that is not there, and nothing waits for long.
    Outbox = "outbox";
    /// Nothing waits for a person for longer than it may.
    Holds = "holds";
}

impl Check {
    /// The check a stored word names.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|check| check.word() == word)
    }
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub check: Check,
    /// What is wrong; `Ok` may say what was looked at.
    pub result: Result<String, String>,
}

/// The sum of accounts, debit accounts counted as they are and the others below zero: zero when the books balance.
#[derive(Debug, Default)]
pub struct Sums(BTreeMap<(i16, String), i128>);

impl Sums {
    pub fn add(&mut self, merchant: i16, currency: &str, kind: AccountKind, balance: Amount) {
        let signed = if kind.grows_by_debit() { balance } else { balance.negated() };
        let sum = self.0.entry((merchant, currency.to_owned())).or_default();
        *sum = sum.saturating_add(signed.units());
    }

    /// Merchant and currency of what does not sum to zero.
    pub fn unequal(self) -> Vec<(i16, String)> {
        self.0.into_iter().filter(|(_, sum)| *sum != 0).map(|(key, _)| key).collect()
    }
}
