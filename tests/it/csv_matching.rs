//! The pure matcher of exports: what a row means beside the payment of its id, and what is paired without one.

use std::collections::HashSet;

use proptest::prelude::*;
use tallyhook::domain::amount::Amount;
use tallyhook::domain::ids::PaymentId;
use tallyhook::domain::matching::{
    Ours, Row, Rows, Rules, Sight, Story, Verdict, at_first_sight, compare, name_of, reference_of, transaction_of,
};
use tallyhook::domain::pairing::{How, Item, pair};
use tallyhook::domain::payment::{Family, Status};

use crate::support::sandbox::amount;

const DAY_US: i64 = 86_400_000_000;
const RULES: Rules = Rules { amount: Amount::ZERO, time_us: DAY_US, from_us: 0, until_us: 10 * DAY_US };

fn row(sum: &str, fee: &str, status: &str) -> Row {
    Row {
        name: 7,
        amount: amount(sum),
        fee: amount(fee),
        at_us: 0,
        transaction: None,
        reference: None,
        line: 2,
        currency: 0,
        family: Family::Deposit,
        status: Status::of(status),
        has_fee: true,
    }
}

fn story(sum: &str, fee: &str, status: &str, decided_us: i64) -> Story {
    let status = Status::of(status).expect("a status");
    let money = (status == Status::Confirmed).then(|| (0, amount(sum), amount(fee)));
    let ours = Ours { payment: PaymentId(1), family: Family::Deposit, status, seen_us: 0, decided_us, money };
    let fees = money.iter().map(|(code, _, fee)| (*code, *fee)).collect();
    let sums = vec![(0, amount(sum))];
    Story { ours, id: "7".to_owned(), sums, fees, transactions: Vec::new(), reference: None }
}

#[test]
fn a_row_of_the_same_id_must_say_the_same() {
    let late = 10 * DAY_US;
    for (theirs, ours, verdict) in [
        (row("1", "0.1", "confirmed"), story("1", "0.1", "confirmed", 0), Verdict::Matched),
        (row("1", "0.1", "confirmed"), story("1.000000000000000001", "0.1", "confirmed", 0), Verdict::Amount),
        (row("1", "0.1", "confirmed"), story("1", "0.100000000000000001", "confirmed", 0), Verdict::Fee),
        (row("1", "0", "confirmed"), story("1", "0.1", "confirmed", 0), Verdict::Fee),
        (row("1", "0.1", "cancelled"), story("1", "0.1", "confirmed", 0), Verdict::Status),
        (row("1", "0.1", "confirmed"), story("1", "0.1", "not_confirmed", 0), Verdict::Status),
        (row("1", "0.1", "never heard of"), story("1", "0.1", "confirmed", 0), Verdict::Status),
        (row("1", "0.1", "not_confirmed"), story("1", "0.1", "not_confirmed", 0), Verdict::Matched),
        (row("9", "0.1", "cancelled"), story("1", "0.1", "cancelled", 0), Verdict::Matched),
        // The export is older than the end, or the end is older than the export.
        (row("1", "0.1", "not_confirmed"), story("1", "0.1", "confirmed", late), Verdict::Matched),
        (row("1", "0.1", "not_confirmed"), story("1", "0.1", "confirmed", 0), Verdict::Status),
    ] {
        assert_eq!(compare(&theirs, &ours, &RULES, Amount::ZERO), verdict, "{theirs:?} {ours:?}");
        let is_matched = at_first_sight(&theirs, &ours.ours, &RULES) == Sight::Matched;
        assert_eq!(is_matched, verdict == Verdict::Matched, "at first sight: {theirs:?} {ours:?}");
    }
    let mut bare = row("1", "0", "confirmed");
    bare.has_fee = false;
    assert_eq!(compare(&bare, &story("1", "0.1", "confirmed", 0), &RULES, Amount::ZERO), Verdict::Matched);
    let other = Row { currency: 1, ..row("1", "0.1", "confirmed") };
    assert_eq!(compare(&other, &story("1", "0.1", "confirmed", 0), &RULES, Amount::ZERO), Verdict::Amount);
}

#[test]
fn ids_are_known_by_their_text() {
    assert_eq!(name_of("2686563"), 2_686_563);
    let ids = ["7", "07", "+7", "7 ", "9223372036854775808", "019c0ebf-81e5-751d-aa57-fb9e2cba23c2", ""];
    let names: HashSet<u64> = ids.iter().map(|id| name_of(id)).collect();
    assert_eq!(names.len(), ids.len());
    assert_eq!(transaction_of("", "bc1"), None);
    assert_eq!(reference_of(Family::Deposit, ""), None);
    assert_ne!(reference_of(Family::Deposit, "a"), reference_of(Family::Withdrawal, "a"));
    assert_eq!(transaction_of("0xAB", "bc1"), transaction_of("0xab", "bc1"));
}

#[test]
fn an_id_that_stands_there_twice_is_found_once() {
    let with = |name: u64, line: u32| Row { name, line, ..row("1", "0", "confirmed") };
    let mut rows = Rows::new(vec![with(9, 4), with(7, 3), with(7, 2)]);
    assert_eq!(rows.find(Family::Deposit, 7).map(|(_, row)| row.line), Some(2));
    assert!(rows.find(Family::Withdrawal, 7).is_none() && rows.find(Family::Deposit, 8).is_none());
    let repeats: Vec<_> = rows.repeats().map(|(first, row)| (first.line, row.line)).collect();
    assert_eq!(repeats, [(2, 3)]);
    let lonely: Vec<_> = rows.lonely().map(|(_, row)| row.line).collect();
    assert_eq!(lonely, [4]);
}

fn item(sum: &str, day: i64, txid: &str, reference: &str) -> Item {
    Item {
        family: Family::Deposit,
        sums: vec![(0, amount(sum))],
        at_us: day.saturating_mul(DAY_US),
        transactions: transaction_of(txid, "bc1").into_iter().collect(),
        reference: reference_of(Family::Deposit, reference),
    }
}

/// Pairs as (rows, payments, how, differs).
fn paired(rows: &[Item], payments: &[Item], tolerance: &str) -> Vec<(Vec<usize>, Vec<usize>, How, bool)> {
    let rules = Rules { amount: amount(tolerance), ..RULES };
    let pairs = pair(rows, payments, &rules);
    pairs.into_iter().map(|pair| (pair.rows, pair.payments, pair.how, pair.differs)).collect()
}

#[test]
fn the_same_coins_are_the_same_payment() {
    let rows = [item("1", 0, "a", ""), item("2", 0, "b", ""), item("3", 0, "", "")];
    let ours = [item("2.5", 9, "b", ""), item("1", 9, "a", ""), item("3", 0, "", "")];
    let expected = [(vec![0], vec![1], How::Transaction, false), (vec![1], vec![0], How::Transaction, true)];
    let mut found = paired(&rows, &ours, "0");
    found.sort_by_key(|pair| pair.0.clone());
    assert_eq!(found, expected, "what has nothing in common stays alone");
}

#[test]
fn a_reference_pairs_what_is_near_in_amount_and_time() {
    let ours = [item("1", 0, "", "p"), item("1", 3, "", "p"), item("1", 3, "", "q")];
    let near = [item("1.00000001", 2, "", "p")];
    assert_eq!(paired(&near, &ours, "0.00000001"), [(vec![0], vec![1], How::Reference, false)]);
    assert_eq!(paired(&near, &ours, "0"), []);
    assert_eq!(paired(&[item("1", 7, "", "p")], &ours, "0"), [], "too long ago");
    assert_eq!(paired(&vec![item("1", 3, "", "p"); 3], &ours, "0").len(), 1, "each payment is used once");
    let mut withdrawal = item("1", 3, "", "p");
    withdrawal.family = Family::Withdrawal;
    assert_eq!(paired(&[withdrawal], &ours, "0"), []);
}

#[test]
fn instalments_add_up_one_to_many_and_many_to_one() {
    let parts = [item("0.2", 0, "", "p"), item("0.3", 0, "", "p"), item("0.5", 0, "", "p"), item("9", 0, "", "p")];
    let whole = [item("1", 0, "", "p")];
    assert_eq!(paired(&whole, &parts, "0"), [(vec![0], vec![0, 1, 2], How::Reference, false)]);
    assert_eq!(paired(&parts, &whole, "0"), [(vec![0, 1, 2], vec![0], How::Reference, false)]);
    assert_eq!(paired(&[item("1.1", 0, "", "p")], &parts, "0"), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is paired is used once, shares what it was paired by, and adds up.
    #[test]
    fn pairs_never_use_anything_twice(
        rows in proptest::collection::vec((1_u8..6, 0_i64..4, 0_u8..3, 0_u8..3), 0..14),
        ours in proptest::collection::vec((1_u8..6, 0_i64..4, 0_u8..3, 0_u8..3), 0..14),
    ) {
        let name = |number: u8| if number == 0 { String::new() } else { number.to_string() };
        let items = |of: &[(u8, i64, u8, u8)]| -> Vec<Item> {
            of.iter().map(|(sum, day, txid, reference)| item(&sum.to_string(), *day, &name(*txid), &name(*reference))).collect()
        };
        let (rows, ours) = (items(&rows), items(&ours));
        let (mut used_rows, mut used_ours) = (HashSet::new(), HashSet::new());
        for (left, right, how, differs) in paired(&rows, &ours, "0") {
            prop_assert!(left.len() == 1 || right.len() == 1);
            prop_assert!(left.iter().all(|place| used_rows.insert(*place)));
            prop_assert!(right.iter().all(|place| used_ours.insert(*place)));
            let sum = |places: &[usize], of: &[Item]| places.iter().map(|place| of[*place].sums[0].1.units()).sum::<i128>();
            prop_assert_eq!(sum(&left, &rows) == sum(&right, &ours), !differs);
            for (row, payment) in left.iter().flat_map(|row| right.iter().map(move |payment| (*row, *payment))) {
                let is_shared = match how {
                    How::Transaction => rows[row].transactions == ours[payment].transactions,
                    How::Reference => rows[row].reference == ours[payment].reference && rows[row].reference.is_some(),
                    How::Id => false,
                };
                prop_assert!(is_shared);
            }
        }
    }
}
