//! Pairs what no id brings together: rows of an export and payments that share a transaction or a reference, one to one
//! or one to many (instalments). Pure. It pairs what can be meant, and leaves alone what could be meant in two ways.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use super::amount::Amount;
use super::matching::{Code, Row, Rules, Story, is_near};
use super::payment::Family;

/// What brought a row and a payment together. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Id,
    /// The same transaction to the same address.
    Transaction,
    /// The same reference, amount and time, with tolerance.
    Reference,
}

impl How {
    pub const ALL: [Self; 3] = [Self::Id, Self::Transaction, Self::Reference];

    /// The number the database stores.
    pub const fn code(self) -> i16 {
        match self {
            Self::Id => 1,
            Self::Transaction => 2,
            Self::Reference => 3,
        }
    }

    /// The word used outside.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Transaction => "transaction",
            Self::Reference => "reference",
        }
    }

    /// What a stored number names.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|how| how.code() == code)
    }
}

/// One of either side.
#[derive(Debug, Clone)]
pub struct Item {
    pub family: Family,
    /// What it may be worth: in each currency that it tells.
    pub sums: Vec<(Code, Amount)>,
    pub at_us: i64,
    pub transactions: Vec<NonZeroU64>,
    pub reference: Option<NonZeroU64>,
}

impl From<&Row> for Item {
    fn from(row: &Row) -> Self {
        let sums = vec![(row.currency, row.amount)];
        let transactions = row.transaction.into_iter().collect();
        Self { family: row.family, sums, at_us: row.at_us, transactions, reference: row.reference }
    }
}

impl From<&Story> for Item {
    fn from(story: &Story) -> Self {
        Self {
            family: story.ours.family,
            sums: story.sums.clone(),
            at_us: story.ours.seen_us,
            transactions: story.transactions.clone(),
            reference: story.reference,
        }
    }
}

/// Rows and payments that are the same money: one on one side at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub rows: Vec<usize>,
    pub payments: Vec<usize>,
    pub how: How,
    /// The same transaction, and yet another amount.
    pub differs: bool,
}

/// Parts of one sum, at most.
const PARTS_MAX: usize = 32;
/// Comparisons within a group for sums of parts.
const TRIES_MAX: usize = 1_000_000;

/// Pairs rows with payments: by transaction first, then by reference. Each is used once.
pub fn pair(rows: &[Item], payments: &[Item], rules: &Rules) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut free = Free { rows: vec![true; rows.len()], payments: vec![true; payments.len()] };
    for how in [How::Transaction, How::Reference] {
        let mut groups: BTreeMap<NonZeroU64, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for (place, item) in payments.iter().enumerate().filter(|(place, _)| is_free(&free.payments, *place)) {
            item.keys(how).for_each(|key| groups.entry(key).or_default().1.push(place));
        }
        for (place, item) in rows.iter().enumerate().filter(|(place, _)| is_free(&free.rows, *place)) {
            for key in item.keys(how) {
                if let Some(group) = groups.get_mut(&key) {
                    group.0.push(place);
                }
            }
        }
        for (_, (left, right)) in groups {
            let mut group = Group { rows, payments, rules, how, free: &mut free, pairs: &mut pairs };
            group.match_up(left, right);
        }
    }
    pairs
}

struct Free {
    rows: Vec<bool>,
    payments: Vec<bool>,
}

fn is_free(free: &[bool], place: usize) -> bool {
    free.get(place) == Some(&true)
}

impl Item {
    fn keys(&self, how: How) -> impl Iterator<Item = NonZeroU64> {
        let by_transaction = (how == How::Transaction).then_some(&self.transactions).into_iter().flatten().copied();
        by_transaction.chain(self.reference.filter(|_| how == How::Reference))
    }

    fn sum_in(&self, currency: Code) -> Option<Amount> {
        self.sums.iter().find(|(code, _)| *code == currency).map(|(_, amount)| *amount)
    }

    fn shares_currency(&self, other: &Self) -> bool {
        self.sums.iter().any(|(code, _)| other.sum_in(*code).is_some())
    }
}

struct Group<'a> {
    rows: &'a [Item],
    payments: &'a [Item],
    rules: &'a Rules,
    how: How,
    free: &'a mut Free,
    pairs: &'a mut Vec<Pair>,
}

impl Group<'_> {
    fn match_up(&mut self, mut left: Vec<usize>, mut right: Vec<usize>) {
        left.sort_unstable_by_key(|place| (self.rows.get(*place).map(|item| item.at_us), *place));
        right.sort_unstable_by_key(|place| (self.payments.get(*place).map(|item| item.at_us), *place));
        self.singles(&left, &right);
        let (left, right) = (self.free_rows(&left), self.free_payments(&right));
        if left.len().saturating_mul(right.len()).saturating_mul(PARTS_MAX) <= TRIES_MAX {
            for row in &left {
                if let Some(parts) = self.parts(self.rows.get(*row), &self.free_payments(&right), self.payments) {
                    self.take(vec![*row], parts, false);
                }
            }
            for payment in self.free_payments(&right) {
                if let Some(parts) = self.parts(self.payments.get(payment), &self.free_rows(&left), self.rows) {
                    self.take(parts, vec![payment], false);
                }
            }
        }
        // The same coins: whatever else they say, they are one payment.
        if let ([row], [payment]) = (self.free_rows(&left).as_slice(), self.free_payments(&right).as_slice())
            && self.how == How::Transaction
            && let (Some(ours), Some(theirs)) = (self.payments.get(*payment), self.rows.get(*row))
            && ours.family == theirs.family
            && ours.shares_currency(theirs)
        {
            self.take(vec![*row], vec![*payment], true);
        }
    }

    fn free_rows(&self, places: &[usize]) -> Vec<usize> {
        places.iter().copied().filter(|place| is_free(&self.free.rows, *place)).collect()
    }

    fn free_payments(&self, places: &[usize]) -> Vec<usize> {
        places.iter().copied().filter(|place| is_free(&self.free.payments, *place)).collect()
    }

    fn take(&mut self, rows: Vec<usize>, payments: Vec<usize>, differs: bool) {
        let set = |free: &mut [bool], places: &[usize]| {
            for place in places {
                if let Some(free) = free.get_mut(*place) {
                    *free = false;
                }
            }
        };
        set(&mut self.free.rows, &rows);
        set(&mut self.free.payments, &payments);
        self.pairs.push(Pair { rows, payments, how: self.how, differs });
    }

    /// One row and one payment of the same sum: the nearest in time.
    fn singles(&mut self, left: &[usize], right: &[usize]) {
        let mut by_sum: Vec<(Code, Amount, usize)> = Vec::new();
        for place in right {
            let sums = self.payments.get(*place).map_or(&[][..], |item| item.sums.as_slice());
            by_sum.extend(sums.iter().map(|(code, amount)| (*code, *amount, *place)));
        }
        by_sum.sort_unstable();
        for place in left {
            let Some(row) = self.rows.get(*place) else { continue };
            let Some((code, amount)) = row.sums.first() else { continue };
            let least = amount.checked_sub(self.rules.amount).unwrap_or(*amount);
            let from = by_sum.partition_point(|(at, sum, _)| (*at, *sum) < (*code, least));
            let near = by_sum.iter().skip(from).take_while(|(at, sum, _)| {
                *at == *code && (*sum <= *amount || is_near(*sum, *amount, self.rules.amount))
            });
            let fitting = near.filter_map(|(_, _, payment)| {
                let item = self.payments.get(*payment).filter(|_| is_free(&self.free.payments, *payment))?;
                (item.family == row.family && self.is_timely(item, row))
                    .then_some((item.at_us.abs_diff(row.at_us), *payment))
            });
            if let Some((_, payment)) = fitting.min() {
                self.take(vec![*place], vec![payment], false);
            }
        }
    }

    fn is_timely(&self, left: &Item, right: &Item) -> bool {
        let patience = self.rules.time_us.unsigned_abs();
        self.how == How::Transaction || left.at_us.abs_diff(right.at_us) <= patience
    }

    /// Neighbours in time that add up to the whole.
    fn parts(&self, whole: Option<&Item>, places: &[usize], items: &[Item]) -> Option<Vec<usize>> {
        let whole = whole?;
        for (code, amount) in &whole.sums {
            let fits = |place: &usize| {
                let item =
                    items.get(*place).filter(|item| item.family == whole.family && self.is_timely(item, whole))?;
                Some((*place, item.sum_in(*code)?))
            };
            let parts: Vec<(usize, Amount)> = places.iter().filter_map(fits).collect();
            for first in 0..parts.len() {
                let mut sum = Amount::ZERO;
                for (count, (_, part)) in parts.iter().skip(first).take(PARTS_MAX).enumerate() {
                    sum = sum.checked_add(*part)?;
                    if count > 0 && is_near(sum, *amount, self.rules.amount) {
                        let run = parts.iter().skip(first).take(count.saturating_add(1));
                        return Some(run.map(|(place, _)| *place).collect());
                    }
                }
            }
        }
        None
    }
}
