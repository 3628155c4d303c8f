//! A thousand faults about money, by seed: each is found and rightly named, none is seen where there is none, and once
//! people have dealt with them the balances are the processor's own. Against the sandbox and its export.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde_json::{Value, json};
use tallyhook::app::App;
use tallyhook::domain::amount::Amount;
use tallyhook::domain::callback::Money;
use tallyhook::domain::ids::MerchantId;
use tallyhook::domain::payment::Family;
use tallyhook::domain::reconcile::Verdict as Balance;
use tallyhook::outbound::exports::{self, Asked};
use tallyhook::outbound::reconcile;
use tallyhook::processor::sandbox::Options;
use tallyhook::processor::sandbox::dice::Dice;
use tallyhook::processor::sandbox::lies::{Lie, Told};
use tallyhook::processor::sandbox::world::Merchant;
use tallyhook::store::exports as kept;

use crate::support::sandbox::{KEY, TestSandbox, amount, now_us};
use crate::support::{Backend, OPERATOR, SECRET, TestApp, VIEWER, fresh_folder};

const MAIN: MerchantId = MerchantId(1);
/// How many of each: a thousand.
const FAULTS: [(Lie, u32); 7] = [
    (Lie::Lost, 160),
    (Lie::WrongAmount, 160),
    (Lie::WrongStatus, 160),
    (Lie::DoubleId, 160),
    (Lie::FeeChanged, 160),
    (Lie::UnknownWithdrawal, 140),
    (Lie::BalanceShifted, 60),
];
/// The seeds of the two runs: the same seed is the same day.
const FAULTY: u64 = 20_261_121;
const CLEAN: u64 = 4_711;
const CURRENCIES: [&str; 3] = ["BTC", "ETH", "LTC"];
const PLACES: [&str; 3] = [
    "tb1qfdxh6gkfr0qgyatnlkd8khcnxph9tw06n6qwjc",
    "0x52908400098527886e0f7030069857d2e4169ee7",
    "LVg2kJoFNg45Nbpy53h7Fe1wKyeXVRhMH9",
];

/// The merchant, its processor, and what its customers do.
struct Day {
    app: TestApp,
    sandbox: TestSandbox,
    dice: Dice,
    addresses: Vec<(String, Value)>,
    operations: u32,
}

impl Day {
    async fn begin(backend: Backend, seed: u64) -> Self {
        let mut options = Options::new(Merchant::new(KEY, SECRET, "http://127.0.0.1:9/"), now_us);
        (options.seed, options.time_scale) = (seed, 0);
        let mut sandbox = TestSandbox::with(options);
        let api = sandbox.sandbox.api();
        let settings = [
            ("TALLYHOOK_ALPHAPO__BASE_URL", api.as_str()),
            ("TALLYHOOK_RECONCILE__PATIENCE_S", "0"),
            ("TALLYHOOK_RECONCILE__EVERY_S", "0"),
            ("TALLYHOOK_RECONCILE__CSV__ASKS_PER_MINUTE", "60000"),
            ("TALLYHOOK_ADMIN__ALONE", "BTC=1000,ETH=1000,LTC=1000"),
        ];
        let app = TestApp::with(backend, &settings).await;
        sandbox.sandbox.send_callbacks_to(&format!("{}/callbacks/alphapo", app.public));
        sandbox.api = format!("{}/api/v2", app.public);
        let mut day = Self { app, sandbox, dice: Dice::new(seed), addresses: Vec::new(), operations: 0 };
        for currency in CURRENCIES {
            for user in 0..5 {
                let address = day.sandbox.take(currency, &format!("player-{user}"), &format!("user-{user}")).await;
                day.addresses.push((currency.to_owned(), address));
            }
            // Whoever withdraws has plenty.
            let address = day.sandbox.take(currency, "player-rich", "user-rich").await;
            day.sandbox.deposit(&address, "1000000", "instant");
        }
        day.passes().await;
        day
    }

    fn inner(&self) -> &App {
        &self.app.running.as_ref().expect("it runs").app
    }

    async fn passes(&self) {
        self.sandbox.sandbox.advance_s(120);
        self.sandbox.until_quiet().await;
    }

    /// One deposit or withdrawal from its beginning to its end.
    async fn act(&mut self, lie: Option<Lie>) {
        if let Some(lie) = lie {
            self.sandbox.control("POST", "/lies", "", &json!({"kind": lie.word()}));
        }
        self.operations = self.operations.wrapping_add(1);
        let sum = format!("{}.{:08}", self.dice.between(20, 90), self.dice.below(99_999_999));
        if self.dice.percent(25) && lie != Some(Lie::DoubleId) {
            let which = usize::try_from(self.dice.below(3)).expect("small");
            let (currency, address) = (CURRENCIES[which], PLACES[which]);
            let body = json!({"currency": currency, "amount": sum, "address": address,
                "foreign_id": format!("w-{}", self.operations), "end_user_reference": "user-rich"});
            let answer = self.sandbox.call("/withdrawal/crypto", &body.to_string()).await;
            assert_eq!(answer.status, 201, "{}", answer.json);
        } else {
            let (_, address) = self.dice.pick(&self.addresses).cloned().expect("some addresses");
            let rate = match lie {
                Some(Lie::WrongStatus) => 50,
                None => 5,
                Some(_) => 0,
            };
            let is_cancelled = self.dice.percent(rate);
            self.sandbox.deposit(&address, &sum, if is_cancelled { "double_spend" } else { "instant" });
        }
        self.passes().await;
    }

    fn told(&self) -> Vec<Told> {
        self.sandbox.sandbox.with(|world, _| world.told.clone())
    }

    /// Imports the export of this moment, newest rows first if it is to be another file than before.
    async fn import(&self, is_reversed: bool) -> (kept::Export, BTreeMap<String, kept::Row>) {
        let text = self.sandbox.sandbox.with(|world, _| world.export(None));
        let mut lines: Vec<&str> = text.lines().collect();
        if is_reversed {
            lines[1..].reverse();
        }
        let path = fresh_folder().join("export.csv");
        std::fs::write(&path, lines.join("\n")).expect("a file");
        let asked = Asked { merchant: MAIN, path: &path, by: "a test", does_it: true };
        let imported = exports::import(self.inner(), asked, &|_, _, _| {}).await.expect("it is imported");
        assert_eq!((imported.unasked, imported.is_known), (0, false), "{:?}", imported.trouble);
        let rows = kept::rows(&self.inner().db, imported.export.id, 0, None, 10_000).await.expect("the rows");
        (imported.export, rows.into_iter().map(|row| (row.ext_id.clone(), row)).collect())
    }

    async fn compare(&self) -> Vec<tallyhook::store::reconcile::Line> {
        let run = reconcile::run(self.inner(), MAIN, "a test").await.expect("a run");
        assert_eq!(run.error, None);
        run.lines
    }

    async fn assert_balanced(&self) {
        let lines = self.compare().await;
        let open: Vec<_> = lines.iter().filter(|line| line.verdict != Balance::Matched).collect();
        assert!(open.is_empty(), "to the last digit: {open:?}");
    }

    /// What people do about a discrepancy. So little of it moves that one of them may.
    async fn decide(&self, discrepancy: Option<i64>, body: Value) {
        let path = format!("/api/discrepancies/{}/resolve", discrepancy.expect("someone was told"));
        let answer = self.app.send_json(&path, OPERATOR, &body).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.json);
        assert_ne!(answer.json["state"], "declined", "{body}: {}", answer.json);
    }

    /// One posting by hand that makes the books what the processor's are.
    async fn correct(&self, discrepancy: Option<i64>, difference: &Money, other: &str) {
        let is_more = difference.amount.is_positive();
        let (debit, credit) = if is_more { ("processor", other) } else { (other, "processor") };
        let amount = if is_more { difference.amount } else { difference.amount.negated() };
        let body = json!({"action": "correct", "debit": debit, "credit": credit, "currency": difference.currency,
            "amount": amount.to_string(), "note": "the processor's export says so"});
        self.decide(discrepancy, body).await;
    }
}

/// A shuffled list of what goes wrong with each operation; as many go well.
fn plan(dice: &mut Dice) -> Vec<Option<Lie>> {
    let is_operations = |lie: Lie| !matches!(lie, Lie::UnknownWithdrawal | Lie::BalanceShifted);
    let faults = FAULTS.into_iter().filter(|(lie, _)| is_operations(*lie));
    let mut all: Vec<Option<Lie>> = faults.flat_map(|(lie, times)| (0..times).map(move |_| Some(lie))).collect();
    all.resize(all.len().saturating_mul(2), None);
    for at in (1..all.len()).rev() {
        let with = dice.below(u64::try_from(at).expect("small").saturating_add(1));
        all.swap(at, usize::try_from(with).expect("small"));
    }
    all
}

fn count(lie: Lie) -> u32 {
    FAULTS.iter().find(|(one, _)| *one == lie).map_or(0, |(_, times)| *times)
}

/// Finds the discrepancy that a row of the import led to, by its reason.
async fn reason_of(day: &Day, discrepancy: Option<i64>) -> String {
    let Some(id) = discrepancy else { return "none".to_owned() };
    let answer = day.app.get(&format!("/api/discrepancies/{id}"), VIEWER).await;
    answer.json["reason"].as_str().expect("a reason").to_owned()
}

/// What the import must have made of a lie: the row's verdict, whether it is over, and why it waits.
async fn assert_found(day: &Day, told: &Told, rows: &BTreeMap<String, kept::Row>) {
    let id = told.operation.expect("it is about an operation");
    let row = |id: i64| rows.get(&id.to_string()).unwrap_or_else(|| panic!("{told:?} was not found"));
    let is_withdrawal = |id| row(id).family == Family::Withdrawal;
    let (row, expected) = match told.lie {
        Lie::Lost => (row(id), ("missing_here", "over", "none")),
        // The request says what it should have been, so it is never booked.
        Lie::WrongAmount if is_withdrawal(id) => (row(id), ("missing_here", "open", "contradicts_request")),
        Lie::WrongAmount => (row(id), ("amount", "open", "export_amount")),
        Lie::WrongStatus => (row(id), ("status", "open", "export_status")),
        Lie::FeeChanged => (row(id), ("fee", "open", "export_fee")),
        Lie::UnknownWithdrawal => (row(id), ("missing_here", "open", "unknown_customer")),
        Lie::DoubleId => {
            // Either of them may have come first.
            let ids = [Some(id), told.other].map(|id| id.expect("two ids").to_string());
            let row = ids.iter().find_map(|id| rows.get(id)).unwrap_or_else(|| panic!("{told:?} was not found"));
            (row, ("duplicate", "open", "possible_duplicate"))
        }
        Lie::BalanceShifted => panic!("it has no row"),
    };
    let reason = reason_of(day, row.discrepancy).await;
    let found = (row.verdict.word(), row.state.word(), reason.as_str());
    assert_eq!(found, expected, "{told:?} {row:?}");
}

impl Day {
    /// What people do about it, once they have looked.
    async fn resolve(&self, told: &Told, rows: &BTreeMap<String, kept::Row>) {
        let ids = [told.operation, told.other].map(|id| id.map(|id| id.to_string()).unwrap_or_default());
        let row = ids.iter().find_map(|id| rows.get(id)).expect("it was found");
        let other = ids.iter().find(|id| **id != row.ext_id).expect("two names");
        match told.lie {
            Lie::Lost => assert_eq!(row.discrepancy, None, "it was fetched"),
            Lie::DoubleId => {
                let payment = json!({"type": "deposit", "id": other});
                self.decide(row.discrepancy, json!({"action": "link", "payment": payment, "note": "one payment"}))
                    .await;
            }
            // The lie is thrown away; what is true is asked for with the next export.
            Lie::WrongAmount if row.family == Family::Withdrawal => {
                self.decide(row.discrepancy, json!({"action": "ignore", "note": "that was not sent"})).await;
            }
            Lie::WrongAmount | Lie::WrongStatus | Lie::FeeChanged | Lie::UnknownWithdrawal => {
                let other = if told.lie == Lie::FeeChanged { "fees" } else { "exchange" };
                let [difference] = told.differences.as_slice() else { panic!("one currency: {told:?}") };
                self.correct(row.discrepancy, difference, other).await;
            }
            Lie::BalanceShifted => panic!("it has no row"),
        }
    }

    /// Money that moves without a word, one at a time: the balances show each, to the last digit.
    async fn shift_and_find(&mut self) {
        for _ in 0..count(Lie::BalanceShifted) {
            let currency = CURRENCIES[usize::try_from(self.dice.below(3)).expect("small")];
            let sum = format!("0.{:08}", self.dice.between(1, 99_999_999));
            let sum = if self.dice.percent(50) { format!("-{sum}") } else { sum };
            self.sandbox.control(
                "POST",
                "/lies",
                "",
                &json!({"kind": "balance_shifted", "currency": currency, "amount": sum}),
            );
            let lines = self.compare().await;
            for line in &lines {
                let expected = if line.currency == currency { amount(&sum) } else { Amount::ZERO };
                assert_eq!(line.sides.difference(), Some(expected), "{}", line.currency);
            }
            let line = lines.iter().find(|line| line.currency == currency).expect("it has a line");
            let reason = if sum.starts_with('-') { "balance_deficit" } else { "balance_surplus" };
            assert_eq!((line.verdict, reason_of(self, line.discrepancy).await.as_str()), (Balance::Open, reason));
            let difference = Money { currency: currency.to_owned(), amount: amount(&sum) };
            self.correct(line.discrepancy, &difference, "exchange").await;
        }
        self.assert_balanced().await;
    }
}

/// Says which seed it was, when it fails.
async fn seeded(seed: u64, story: impl Future<Output = ()>) {
    let outcome = AssertUnwindSafe(story).catch_unwind().await;
    assert!(outcome.is_ok(), "this failed with the seed {seed}");
}

async fn a_thousand_faults_are_found_and_rightly_named(backend: Backend) {
    seeded(FAULTY, Box::pin(faulty(backend, FAULTY))).await;
}

async fn faulty(backend: Backend, seed: u64) {
    let mut day = Day::begin(backend, seed).await;
    for lie in plan(&mut Dice::new(seed)) {
        day.act(lie).await;
    }
    for _ in 0..count(Lie::UnknownWithdrawal) {
        let currency = CURRENCIES[usize::try_from(day.dice.below(3)).expect("small")];
        let sum = format!("{}.{:08}", day.dice.below(9), day.dice.between(1, 99_999_999));
        let body = json!({"kind": "unknown_withdrawal", "currency": currency, "amount": sum});
        day.sandbox.control("POST", "/lies", "", &body);
    }
    let told = day.told();
    for (lie, times) in FAULTS.into_iter().filter(|(lie, _)| *lie != Lie::BalanceShifted) {
        let done = told.iter().filter(|told| told.lie == lie).count();
        assert_eq!(u32::try_from(done).expect("small"), times, "{}", lie.word());
    }
    let (export, rows) = day.import(false).await;
    assert_eq!(rows.len(), told.len(), "every one of them, and nothing else");
    let matched = usize::try_from(export.counts.matched).expect("small");
    assert_eq!(matched.saturating_add(told.len()), lines_of(&export), "the others match");
    stream::iter(&told).for_each_concurrent(16, |told| assert_found(&day, told, &rows)).await;
    for told in &told {
        day.resolve(told, &rows).await;
    }
    let (again, _) = day.import(true).await;
    assert_eq!(kept::open_rows(&day.inner().db, again.id).await.expect("a count"), 0, "nothing is told once more");
    day.assert_balanced().await;
    day.shift_and_find().await;
    assert_eq!(day.told().len(), 1_000);
    assert_eq!(day.app.rows("/api/discrepancies").await, Vec::<Value>::new(), "everything is dealt with");
    day.app.finish().await;
}

fn lines_of(export: &kept::Export) -> usize {
    usize::try_from(export.rows).expect("small")
}

async fn as_many_operations_without_a_fault_raise_no_alarm(backend: Backend) {
    seeded(CLEAN, Box::pin(clean(backend, CLEAN))).await;
}

async fn clean(backend: Backend, seed: u64) {
    let mut day = Day::begin(backend, seed).await;
    for _ in plan(&mut Dice::new(seed)) {
        day.act(None).await;
    }
    let (export, rows) = day.import(false).await;
    assert_eq!((rows.len(), usize::try_from(export.counts.matched)), (0, Ok(lines_of(&export))), "{rows:?}");
    day.assert_balanced().await;
    assert_eq!(day.app.rows("/api/discrepancies?state=all").await, Vec::<Value>::new());
    assert_eq!(day.app.rows("/api/callbacks?state=held").await, Vec::<Value>::new());
    day.app.finish().await;
}

stories!(a_thousand_faults_are_found_and_rightly_named, as_many_operations_without_a_fault_raise_no_alarm);
