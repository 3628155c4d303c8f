//! Claims that hold for everything: amounts, the order of callbacks, postings, signatures, arbitrary bytes. Nothing is
//! read from outside, so a failure repeats from its seed.

use std::collections::{BTreeMap, HashMap};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use secrecy::SecretString;
use tallyhook::domain::account::AccountKind;
use tallyhook::domain::amount::Amount;
use tallyhook::domain::callback::{Callback, Head, Money, Part, Terms};
use tallyhook::domain::customer::{Owner, ReferenceKind, identify, references};
use tallyhook::domain::decide::{Applied, Credit, Decision, Known, NewEntry, Policy, UnknownCustomer, decide};
use tallyhook::domain::ids::{CustomerId, MerchantId, PaymentId};
use tallyhook::domain::journal::Effect;
use tallyhook::domain::payment::{Family, Payment, Status};
use tallyhook::domain::reason::Reason;
use tallyhook::processor::signature::{Keyring, MerchantKeys, sign};
use tallyhook::processor::wire::read;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_global_rejects: 100_000, ..ProptestConfig::default() }
}

fn any_amount() -> impl Strategy<Value = Amount> {
    const LIMIT: i128 = 10_i128.pow(38) - 1;
    let small = (-100_i128..100).prop_map(|units| units.saturating_mul(1_000_000_000_000_000));
    prop_oneof![small, -LIMIT..=LIMIT].prop_map(|units| Amount::from_units(units).expect("below the limit"))
}

fn policy(credit: Credit, unknown_customer: UnknownCustomer) -> Policy {
    Policy { credit, unknown_customer, risk_limit: None, waived: tallyhook::domain::policy::Waived::default() }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn an_amount_survives_being_written(amount in any_amount()) {
        let written = amount.to_string();
        prop_assert_eq!(Amount::parse(&written), Ok(amount));
        prop_assert!(!written.contains('.') || !written.ends_with(['0', '.']), "{} is canonical", written);
    }

    #[test]
    fn an_amount_is_the_same_with_more_zeros(whole in "0|[1-9][0-9]{0,19}", fraction in "[0-9]{0,9}", zeros in 1_usize..9) {
        let short = if fraction.is_empty() { whole.clone() } else { format!("{whole}.{fraction}") };
        let long = format!("{whole}.{fraction}{}", "0".repeat(zeros));
        prop_assert_eq!(Amount::parse(&short), Amount::parse(&long));
        prop_assert!(Amount::parse(&short).is_ok());
    }

    #[test]
    fn nothing_but_a_plain_decimal_is_an_amount(token in "[-+0-9.,eE_x ١]{0,8}") {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let unsigned = token.strip_prefix('-').unwrap_or(&token);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let is_plain = digits(whole) && digits(fraction) && (whole == "0" || !whole.starts_with('0'));
        prop_assert_eq!(Amount::parse(&token).is_ok(), is_plain);
    }
}

/// A ledger as small as can be: what the booker does with decisions, without a database.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ledger {
    payments: BTreeMap<(i16, String), Payment>,
    customers: HashMap<(ReferenceKind, String), CustomerId>,
    balances: BTreeMap<(AccountKind, Option<CustomerId>, String), i128>,
    /// The effects that moved or ended something, which happen once.
    effects: Vec<(Effect, Option<Amount>)>,
}

impl Ledger {
    /// A payment may open its customer, but for a withdrawal: those of strangers are held.
    fn for_story(story: &Story) -> Self {
        if story.kind.starts_with("withdrawal") { Self::of_a_customer("user-1") } else { Self::default() }
    }

    fn of_a_customer(user: &str) -> Self {
        let known = (ReferenceKind::EndUserReference, user.to_owned());
        Self { customers: HashMap::from([(known, CustomerId(0))]), ..Self::default() }
    }

    fn book(&mut self, callback: &Callback, policy: Policy) -> Decision {
        let head = &callback.head;
        let named: Vec<_> = references(head).map(|(kind, name)| (kind, name.to_owned())).collect();
        let owner = identify(named.iter().map(|name| (name.0, self.customers.get(name).copied())));
        let id = (head.family().code(), head.payment_id.clone().unwrap_or_default());
        let known = Known {
            payment: self.payments.get(&id),
            owner,
            named: owner,
            policy,
            has_twin: false,
            own: None,
            must_verify: false,
            is_retired: false,
        };
        let decision = decide(callback, &known);
        if let Decision::Apply(applied) = &decision {
            let customer = self.customer(owner, named, applied);
            self.apply(id, applied, customer);
        }
        decision
    }

    fn customer(&mut self, owner: Owner, named: Vec<(ReferenceKind, String)>, applied: &Applied) -> Option<CustomerId> {
        let next = CustomerId(i64::try_from(self.customers.len()).expect("few customers"));
        let touched = applied.entry.as_ref().is_some_and(NewEntry::touches_customer);
        let customer = match owner {
            Owner::Known(customer) => customer,
            Owner::Unknown if touched => next,
            Owner::Unknown | Owner::Contradictory | Owner::Missing | Owner::Withheld(_) => return None,
        };
        for name in named {
            self.customers.entry(name).or_insert(customer);
        }
        Some(customer)
    }

    fn apply(&mut self, id: (i16, String), applied: &Applied, customer: Option<CustomerId>) {
        let payment = Payment { id: PaymentId(1), status: applied.status, facts: applied.facts, customer };
        self.payments.insert(id, payment);
        let Some(entry) = &applied.entry else { return };
        if entry.effect != Effect::Pending {
            self.effects.push((entry.effect, entry.amount));
        }
        for posting in &entry.postings {
            for (kind, amount) in [(posting.debit, posting.amount), (posting.credit, posting.amount.negated())] {
                let account = (kind, customer.filter(|_| kind.is_customers()), posting.currency.clone());
                let balance = self.balances.entry(account).or_default();
                *balance = balance.checked_add(amount.units()).expect("far from the limit");
            }
        }
    }
}

/// A payment's story: what its callbacks say, whatever their order.
#[derive(Debug, Clone)]
struct Story {
    kind: &'static str,
    steps: Vec<&'static str>,
    closing: &'static str,
    amount: u64,
    fee: u64,
    names_user: bool,
    /// Is without `currency_sent` and `currency_received`, as some are.
    is_bare: bool,
    policy: Policy,
}

impl Story {
    fn body(&self, status: &str, amount: u64) -> String {
        let is_final = !["not_confirmed", "pending", "processing"].contains(&status);
        let coins = |units: u64| format!("{}.{:08}", units / 100_000_000, units % 100_000_000);
        let (gross, net) = (coins(amount), coins(amount.saturating_sub(if is_final { self.fee } else { 0 })));
        let user = if self.names_user { r#""end_user_reference":"user-1","# } else { "" };
        let sums = format!(
            r#""currency_sent":{{"currency":"BTC","amount":"{gross}"}},"currency_received":{{"currency":"BTC","amount":"{gross}","amount_minus_fee":"{net}"}},"#
        );
        let sums = if self.is_bare && self.kind != "exchange" { "" } else { &sums };
        let fees = format!(r#"{{"type":"fee","currency":"BTC","amount":"{}"}}"#, coins(self.fee));
        let fees = if is_final { &fees } else { "" };
        format!(
            r#"{{"id":77,"foreign_id":"request-1",{user}"type":"{}","crypto_address":{{"currency":"BTC","address":"bc1","foreign_id":"customer-1"}},{sums}"transactions":[{{"currency":"BTC","transaction_type":"blockchain","type":"x","address":"bc1","amount":"{gross}","txid":"t"}}],"fees":[{fees}],"error":"","status":"{status}"}}"#,
            self.kind
        )
    }

    fn callback(&self, status: &str) -> Callback {
        read(self.body(status, self.amount).as_bytes())
    }
}

fn any_story() -> impl Strategy<Value = Story> {
    let kinds = prop_oneof![
        Just(("deposit", &["confirmed", "cancelled"][..])),
        Just(("deposit_exchange", &["confirmed", "cancelled"][..])),
        Just(("withdrawal", &["confirmed", "cancelled", "declined", "failed"][..])),
        Just(("withdrawal_exchange", &["confirmed", "cancelled"][..])),
        Just(("invoice", &["confirmed", "failed", "cancelled"][..])),
        Just(("exchange", &["confirmed"][..])),
    ];
    let steps = proptest::sample::subsequence(vec!["not_confirmed", "pending", "processing"], 0..=3);
    let credit = prop_oneof![Just(Credit::Gross), Just(Credit::Net)];
    let unknown = prop_oneof![Just(UnknownCustomer::Open), Just(UnknownCustomer::Suspense)];
    let money = (2_u64..1_000_000_000_000).prop_flat_map(|amount| (Just(amount), 0..amount));
    let story = (kinds, any::<Index>(), steps, money, any::<(bool, bool)>(), credit, unknown);
    story.prop_map(|((kind, finals), closing, steps, (amount, fee), (names_user, is_bare), credit, unknown)| Story {
        kind,
        steps,
        closing: closing.get::<&'static str>(finals),
        amount,
        fee,
        names_user,
        is_bare,
        policy: policy(credit, unknown),
    })
}

/// Every callback at least once, some again, in any order.
fn shuffled(callbacks: Vec<Callback>, again: &[Index], order: &[u16]) -> Vec<Callback> {
    let repeated: Vec<_> = again.iter().map(|index| index.get(&callbacks).clone()).collect();
    let mut all: Vec<_> = order.iter().zip(callbacks.into_iter().chain(repeated)).collect();
    all.sort_by_key(|(order, _)| **order);
    all.into_iter().map(|(_, callback)| callback).collect()
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn every_order_and_repetition_of_a_payment_ends_in_the_same_ledger(
        story in any_story(), again in vec(any::<Index>(), 0..6), order in vec(any::<u16>(), 10),
    ) {
        let last = story.callback(story.closing);
        let mut expected = Ledger::for_story(&story);
        let is_booked = matches!(expected.book(&last, story.policy), Decision::Apply(_));
        let callbacks = story.steps.iter().map(|step| story.callback(step)).chain([last]).collect();
        let mut ledger = Ledger::for_story(&story);
        for callback in shuffled(callbacks, &again, &order) {
            ledger.book(&callback, story.policy);
        }
        prop_assert_eq!(&ledger.balances, &expected.balances);
        prop_assert_eq!(&ledger.effects, &expected.effects);
        prop_assert_eq!(&ledger.customers, &expected.customers);
        if is_booked {
            prop_assert_eq!(&ledger.payments, &expected.payments);
        }
    }
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn of_two_contradicting_finals_the_first_stands_and_the_other_is_held(
        story in any_story(), rival in 0_usize..3, again in vec(any::<Index>(), 0..6), order in vec(any::<u16>(), 11),
    ) {
        let first = story.callback(story.closing);
        let other = match rival {
            0 if story.closing != "cancelled" => story.callback("cancelled"),
            1 if story.closing != "failed" => story.callback("failed"),
            _ => read(story.body("confirmed", story.amount.saturating_add(1)).as_bytes()),
        };
        let applies = |callback: &Callback| {
            matches!(Ledger::for_story(&story).book(callback, story.policy), Decision::Apply(_))
        };
        prop_assume!(first != other && applies(&first) && applies(&other));
        let callbacks = story.steps.iter().map(|step| story.callback(step)).chain([first.clone(), other.clone()]);
        let sequence = shuffled(callbacks.collect(), &again, &order);
        let winner = sequence.iter().find(|callback| **callback == first || **callback == other).cloned();
        let winner = winner.expect("both are in the sequence");
        let mut expected = Ledger::for_story(&story);
        expected.book(&winner, story.policy);
        let mut ledger = Ledger::for_story(&story);
        let mut has_final = false;
        for callback in sequence {
            let decision = ledger.book(&callback, story.policy);
            let is_final = callback == first || callback == other;
            if has_final && is_final {
                let is_winner = callback == winner;
                let answer = if is_winner { Decision::Ignore(Reason::Repeat) } else { Decision::Hold(Reason::ContradictsFinal) };
                prop_assert_eq!(decision, answer);
            }
            has_final |= is_final;
        }
        prop_assert_eq!(ledger.balances, expected.balances);
        prop_assert_eq!(ledger.payments, expected.payments);
    }
}

#[test]
fn the_same_sums_in_other_places_are_other_money() {
    let story = |sums: &str, fees: &str| {
        let rest = r#""type":"withdrawal","id":1,"end_user_reference":"user-1","status":"confirmed","error":"""#;
        read(
            format!(r#"{{{rest},"currency_sent":{{"currency":"BTC","amount":"2"}}{sums},"fees":[{fees}]}}"#).as_bytes(),
        )
    };
    let sum = r#"{"currency":"BTC","amount":"1"}"#;
    let received = story(&format!(r#","currency_received":{sum}"#), "");
    let charged = story("", sum);
    let policy = policy(Credit::Gross, UnknownCustomer::Open);
    let mut ledger = Ledger::of_a_customer("user-1");
    assert!(matches!(ledger.book(&received, policy), Decision::Apply(_)));
    assert_eq!(ledger.book(&received, policy), Decision::Ignore(Reason::Repeat));
    assert_eq!(ledger.book(&charged, policy), Decision::Hold(Reason::ContradictsFinal));
}

fn any_money() -> impl Strategy<Value = Money> {
    ("BTC|ETH|EUR", any_amount()).prop_map(|(currency, amount)| Money { currency, amount })
}

fn any_part() -> impl Strategy<Value = Part> {
    let address = proptest::option::of("bc1|bc2");
    (any::<bool>(), proptest::option::of(any_money()), address).prop_map(|(is_exchange, money, address)| Part {
        is_exchange,
        currency: money.as_ref().map(|money| money.currency.clone()),
        amount: money.map(|money| money.amount),
        address,
        txid: None,
        risk_score: None,
    })
}

fn any_callback() -> impl Strategy<Value = Callback> {
    let sums = (proptest::option::of(any_money()), proptest::option::of(any_money()));
    let extras = (proptest::option::of(any_amount()), proptest::option::of(any_amount()), any::<bool>());
    let lists = (vec(any_part(), 0..3), vec(any_money(), 0..4));
    let kind = proptest::sample::select(vec!["deposit", "deposit_exchange", "withdrawal", "invoice", "exchange"]);
    let status = proptest::sample::select(Status::ALL.to_vec());
    (kind, status, sums, extras, lists).prop_map(|(kind, status, sums, extras, (parts, fees))| {
        let ((sent, received), (minus_fee, remaining, converts)) = (sums, extras);
        let head = Head {
            kind: Some(kind.to_owned()),
            status: Some(status.word().to_owned()),
            address: Some("bc1".to_owned()),
            ..Head::default()
        };
        let terms = Terms { sent, remaining, received, minus_fee, parts, fees, converts, ..Terms::default() };
        Callback { head, terms: Ok(terms) }
    })
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn every_posting_is_positive_and_between_two_accounts(
        callback in any_callback(), is_net in any::<bool>(), is_known in any::<bool>(),
    ) {
        let credit = if is_net { Credit::Net } else { Credit::Gross };
        let owner = if is_known { Owner::Known(CustomerId(1)) } else { Owner::Missing };
        let policy = policy(credit, UnknownCustomer::Open);
        let known = Known { payment: None, owner, named: owner, policy, has_twin: false, own: None, must_verify: false, is_retired: false };
        let Decision::Apply(Applied { entry: Some(entry), .. }) = decide(&callback, &known) else { return Ok(()) };
        let mut to_owner = Some(Amount::ZERO);
        for posting in &entry.postings {
            prop_assert!(posting.amount.is_positive() && posting.debit != posting.credit);
            let target = if entry.suspended.is_some() { AccountKind::Suspense } else { AccountKind::Available };
            if posting.credit == target {
                to_owner = to_owner.and_then(|sum| sum.checked_add(posting.amount));
            } else if posting.debit == target {
                to_owner = to_owner.and_then(|sum| sum.checked_sub(posting.amount));
            }
        }
        match (entry.effect, callback.head.family()) {
            (Effect::Credited | Effect::Suspended, _) => prop_assert_eq!(to_owner, entry.amount),
            (Effect::Settled, Family::Withdrawal) => prop_assert_eq!(to_owner, entry.amount.map(Amount::negated)),
            _ => prop_assert_eq!(to_owner, Some(Amount::ZERO)),
        }
        let is_moving = matches!(entry.effect, Effect::Credited | Effect::Suspended | Effect::Settled);
        prop_assert_eq!(is_moving, !entry.postings.is_empty());
    }
}

fn flipped(bytes: &[u8], bit: Index) -> Vec<u8> {
    let bit = bit.index(bytes.len().saturating_mul(8));
    let flip = |(at, byte): (usize, &u8)| if at == bit / 8 { byte ^ (1 << (bit % 8)) } else { *byte };
    bytes.iter().enumerate().map(flip).collect()
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn one_flipped_bit_never_verifies(body in vec(any::<u8>(), 1..300), secret in "[!-~]{12,40}", bit in any::<Index>()) {
        let secret = SecretString::from(secret);
        let good = sign(&secret, &body);
        let keys = MerchantKeys { merchant: MerchantId(1), key: "a-public-key".to_owned(), secrets: vec![secret] };
        let ring = Keyring::try_new([keys]).expect("the keys are fine");
        let verify = |key: &[u8], signature: &[u8], body: &[u8]| ring.verify(Some(key), Some(signature), body).is_ok();
        let key = b"a-public-key";
        prop_assert!(verify(key, good.as_bytes(), &body));
        prop_assert!(!verify(key, good.as_bytes(), &flipped(&body, bit)));
        prop_assert!(!verify(&flipped(key, bit), good.as_bytes(), &body));
        let raw = const_hex::decode(&good).expect("it is hex");
        prop_assert!(!verify(key, const_hex::encode(flipped(&raw, bit)).as_bytes(), &body));
        // One bit of a letter is its case, which is not part of the signature.
        let header = flipped(good.as_bytes(), bit);
        prop_assert_eq!(verify(key, &header, &body), header.eq_ignore_ascii_case(good.as_bytes()));
    }
}
