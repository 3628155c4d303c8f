//! The terms that a callback is found by: 64-bit digests of its names and amounts, so that one narrow index serves them
//! all. Digests of different kinds never meet: an amount is not found by an id that looks like it.

use sha2::{Digest, Sha256};

use super::amount::Amount;
use super::callback::{Head, Terms};

/// Terms of one callback, at most: a body may name a thousand transactions.
const TERMS_MAX: usize = 64;

/// What a search means, or a callback is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub i64);

impl Term {
    /// An id, a reference, an address or a txid, exactly.
    pub fn of_text(text: &str) -> Self {
        digest("text", &[text])
    }

    /// An amount, however it is written.
    pub fn of_amount(amount: Amount) -> Self {
        digest("amount", &[&amount.to_string()])
    }

    /// Callbacks that a filter can't tell apart.
    pub fn of_class(merchant: i16, state: i16, kind: Option<&str>, status: Option<&str>) -> Self {
        let is_there = |text: Option<&str>| if text.is_some() { "1" } else { "0" };
        let (merchant, state) = (merchant.to_string(), state.to_string());
        let (kind_is_there, status_is_there) = (is_there(kind), is_there(status));
        let (kind, status) = (kind.unwrap_or_default(), status.unwrap_or_default());
        digest("class", &[&merchant, &state, kind_is_there, kind, status_is_there, status])
    }
}

/// What a search box's text may mean.
pub fn meant_by(text: &str) -> Vec<Term> {
    let text = text.trim();
    let amount = Amount::parse(text).ok().filter(|amount| !amount.is_zero());
    std::iter::once(Term::of_text(text)).chain(amount.map(Term::of_amount)).collect()
}

/// The terms of a callback: its names, and the amounts of its body where they can be read.
pub fn terms(head: &Head, money: Option<&Terms>) -> Vec<Term> {
    let names = [&head.payment_id, &head.foreign_id, &head.end_user_reference, &head.address];
    let names = names.into_iter().flatten().chain(&head.txids).filter(|name| !name.is_empty());
    let mut terms: Vec<Term> = names.map(|name| Term::of_text(name)).collect();
    terms.extend(money.into_iter().flat_map(amounts).filter(|amount| !amount.is_zero()).map(Term::of_amount));
    terms.truncate(TERMS_MAX);
    terms.sort_unstable();
    terms.dedup();
    terms
}

fn amounts(money: &Terms) -> impl Iterator<Item = Amount> {
    let named = [money.sent.as_ref().map(|sent| sent.amount), money.received.as_ref().map(|received| received.amount)];
    let rest = [money.minus_fee, money.remaining];
    named.into_iter().chain(rest).flatten().chain(money.parts.iter().filter_map(|part| part.amount))
}

fn digest(kind: &str, words: &[&str]) -> Term {
    let mut hash = Sha256::new();
    hash.update(kind);
    for word in words {
        hash.update([0]);
        hash.update(word);
    }
    let digest: [u8; 32] = hash.finalize().into();
    Term(digest.first_chunk().map_or(0, |head| i64::from_be_bytes(*head)))
}
