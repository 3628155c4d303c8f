//! Thirty hours without a receiver, on a processor whose clock is moved: what it still repeats books itself, what it does
//! not is told, and its export brings the rest. The real processes, on both databases.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use tallyhook::domain::event::rfc3339;
use tallyhook::domain::outage::{Span, schedule_us};
use tallyhook::processor::sandbox::Options;
use tallyhook::processor::sandbox::world::Merchant;
use tallyhook::store::Db;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::process::{Deployment, Server, eventually};
use crate::support::sandbox::{KEY, TestSandbox, now_us, units_of};
use crate::support::servers::fresh_database;
use crate::support::{Backend, SECRET};

stories!(what_repeats_books_itself_and_the_export_brings_the_rest);

const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;
const OUTAGE_US: i64 = 30 * 60 * MINUTE_US;
/// What is traded before the receiver stops.
const BEFORE_US: i64 = 10 * MINUTE_US;
const PATIENCE: Duration = Duration::from_secs(120);
const PLACE: &str = "tb1qfdxh6gkfr0qgyatnlkd8khcnxph9tw06n6qwjc";

/// Where the processor's clock stands at the start, so that it reaches the present with the end of the outage.
fn long_ago() -> i64 {
    now_us().saturating_sub(OUTAGE_US).saturating_sub(BEFORE_US)
}

/// A deployment, and the processor whose only receiver it is.
struct Pair {
    deployment: Deployment,
    server: Option<Server>,
    sandbox: TestSandbox,
    addresses: Vec<Value>,
    withdrawals: Vec<i64>,
}

impl Pair {
    async fn start(backend: Backend) -> Self {
        let mut options = Options::new(Merchant::new(KEY, SECRET, "http://127.0.0.1:9/"), long_ago);
        options.time_scale = 0;
        let mut sandbox = TestSandbox::with(options);
        let deployment = match backend {
            Backend::Postgres => Deployment::on(&fresh_database().await),
            Backend::Sqlite => Deployment::on_sqlite(),
        };
        let deployment = deployment
            .set("TALLYHOOK_ALPHAPO__BASE_URL", &sandbox.sandbox.api())
            .set("TALLYHOOK_RECONCILE__CSV__ASKS_PER_MINUTE", "60000")
            .migrated();
        sandbox.sandbox.send_callbacks_to(&format!("http://{}/callbacks/alphapo", deployment.public));
        sandbox.api = format!("http://{}/api/v2", deployment.public);
        let server = Some(deployment.serve().await);
        Self { deployment, server, sandbox, addresses: Vec::new(), withdrawals: Vec::new() }
    }

    fn now(&self) -> i64 {
        self.sandbox.sandbox.with(|_, now| now)
    }

    /// Moves the processor's clock, from one thing that happens to the next.
    async fn move_to(&self, target_us: i64) {
        loop {
            self.sandbox.until_quiet().await;
            let (now, due) = self.sandbox.sandbox.with(|world, now| (now, world.next_due()));
            if now >= target_us {
                return;
            }
            let pause = due.unwrap_or(target_us).min(target_us).saturating_sub(now);
            let seconds = pause.saturating_add(SECOND_US - 1).div_euclid(SECOND_US).max(1);
            self.sandbox.sandbox.advance_s(seconds.try_into().expect("some hours"));
        }
    }

    /// Deposits that are over, one that is not, and withdrawals that wait for a person.
    async fn trade_before(&mut self) {
        for (at, currency) in ["BTC", "ETH", "USDTT"].into_iter().enumerate() {
            let address = self.sandbox.take(currency, &format!("player-{at}"), &format!("user-{at}")).await;
            self.sandbox.deposit(&address, "50", if at == 2 { "normal" } else { "instant" });
            self.addresses.push(address);
        }
        self.move_to(self.now().saturating_add(2 * MINUTE_US)).await;
        self.sandbox.control("POST", "/scenarios", "", &json!({"withdrawal": "limit"}));
        for number in 0..8 {
            let body = json!({"currency": "BTC", "amount": "0.1", "address": PLACE, "foreign_id": format!("w-{number}"),
                "end_user_reference": "user-0"});
            let answer = self.sandbox.call("/withdrawal/crypto", &body.to_string()).await;
            assert_eq!(answer.status, 201, "{}", answer.json);
            self.withdrawals.push(answer.json["data"]["id"].as_i64().expect("an id"));
        }
        self.move_to(self.now().saturating_add(2 * MINUTE_US)).await;
        self.sandbox.deposit(&self.addresses[0], "3", "slow");
        self.move_to(now_us().saturating_sub(OUTAGE_US)).await;
    }

    /// Every 20 minutes a deposit, now and then the end of a withdrawal.
    async fn trade_meanwhile(&self, from_us: i64) {
        let mut waiting = self.withdrawals.iter().enumerate();
        let moments = (10..30 * 60).step_by(20).map(|minutes: i64| minutes.saturating_mul(MINUTE_US));
        for (number, at_us) in (0..90_usize).zip(moments) {
            self.move_to(from_us.saturating_add(at_us)).await;
            let scenario = ["normal", "slow", "double_spend", "instant"][number % 4];
            self.sandbox.deposit(&self.addresses[number % 3], &format!("25.{number:04}"), scenario);
            if number % 11 == 2 {
                let (at, id) = waiting.next().expect("a withdrawal waits");
                let verb = if at % 2 == 0 { "approve" } else { "decline" };
                self.sandbox.control("POST", &format!("/operations/{id}/{verb}"), "", &json!({}));
            }
        }
        self.move_to(from_us.saturating_add(OUTAGE_US)).await;
        self.move_to(now_us()).await;
    }

    /// The receiver stops; answers since when nobody receives.
    async fn stop(&mut self) -> i64 {
        assert_eq!(self.server.take().expect("it runs").terminate().await, Some(0));
        assert!(self.deployment.public("/livez").await.is_none(), "nobody answers any more");
        self.now()
    }

    /// The outage was as long as the processor's clock says.
    async fn restart(&mut self, from_us: i64) {
        let db = Db::lazy(self.deployment.setting("DATABASE_URL"), 1).await.expect("a database");
        let sql = format!("UPDATE reception SET beat_us = {from_us}");
        let done = db.orm.execute_unprepared(&sql).await.expect("the database takes it");
        assert_eq!(done.rows_affected(), 1);
        self.server = Some(self.deployment.serve().await);
    }

    async fn rows(&self, path: &str) -> Vec<Value> {
        let glue = if path.contains('?') { '&' } else { '?' };
        let page = self.deployment.api(&format!("{path}{glue}limit=500")).await;
        page["data"].as_array().expect("a list").clone()
    }

    /// The processor's callbacks: operation, state, and when it was first sent.
    fn callbacks(&self) -> Vec<(i64, String, i64)> {
        let all = self.sandbox.control("GET", "/callbacks", "limit=100000", &json!({}));
        let one = |callback: &Value| {
            let first = callback["attempts"][0]["at"].as_i64().expect("it was tried");
            let state = callback["state"].as_str().expect("a state").to_owned();
            (callback["operation"].as_i64().expect("an id"), state, first.saturating_mul(SECOND_US))
        };
        all["data"].as_array().expect("a list").iter().map(one).collect()
    }

    /// The payments that we heard of.
    async fn heard_of(&self) -> BTreeSet<i64> {
        let callbacks = self.rows("/api/callbacks").await;
        // Repeats overtake each other: `not_confirmed` may come after `confirmed`.
        let is_done = |row: &&Value| row["state"] == "booked" || row["reason"] == "stale";
        assert_eq!(callbacks.iter().find(|row| !is_done(row)), None);
        let id = |row: &Value| row["payment_id"].as_str().and_then(|id| id.parse().ok());
        callbacks.iter().filter_map(id).collect()
    }

    /// How much more the processor holds than the ledger says, by currency.
    async fn differences(&self) -> Vec<(String, i128)> {
        let ours = self.rows("/api/balances").await;
        let of = |currency: &str| {
            let row = ours.iter().find(|row| row["kind"] == "processor" && row["currency"] == currency);
            row.map_or(0, |row| units_of(&row["balance"]))
        };
        let theirs = self.sandbox.holdings();
        assert_eq!(theirs.len(), 3, "{theirs:?}");
        theirs
            .into_iter()
            .map(|(code, sum)| (code.clone(), sum.saturating_sub(of(&code))))
            .filter(|(_, gap)| *gap != 0)
            .collect()
    }

    /// The dashboard's export; only its first rows, if so many are wanted.
    async fn export(&self, name: &str, rows: usize) -> PathBuf {
        let url = format!("{}/control/transactions.csv?key={KEY}", self.sandbox.sandbox.url);
        let text = self.deployment.client.get(url).send().await.expect("the export").text().await.expect("text");
        let path = self.deployment.folder().join(name);
        let lines: String = text.split_inclusive('\n').take(rows.saturating_add(1)).collect();
        std::fs::write(&path, lines).expect("a file");
        path
    }

    /// Imports an export that leaves no row open, and answers what it said.
    fn import(&self, file: &std::path::Path) -> String {
        let ended = self.deployment.run(&["reconcile", "import-csv", &file.display().to_string(), "--yes"]);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        ended.stderr
    }

    fn shift(&self, amount: &str) {
        let body = json!({"kind": "balance_shifted", "currency": "BTC", "amount": amount});
        self.sandbox.control("POST", "/lies", "", &body);
    }
}

fn moment(value: &Value) -> i64 {
    let at = OffsetDateTime::parse(value.as_str().expect("a time"), &Rfc3339).expect("a time after RFC 3339");
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000)).expect("in our times")
}

/// The outage is told everywhere with the right times; answers what can't come back.
async fn told(pair: &Pair, from_us: i64) -> Span {
    let open = eventually("someone is told", PATIENCE, async || {
        let open = pair.rows("/api/discrepancies").await;
        (!open.is_empty()).then_some(open)
    })
    .await;
    assert_eq!((open.len(), &open[0]["reason"]), (1, &json!("outage")), "{open:?}");
    let rows = pair.rows("/api/outages").await;
    assert_eq!((rows.len(), &rows[0]["from"]), (1, &json!(rfc3339(from_us))));
    let to_us = moment(&rows[0]["to"]);
    assert!((OUTAGE_US..OUTAGE_US + 10 * MINUTE_US).contains(&to_us.saturating_sub(from_us)), "{}", rows[0]);
    let lost = Span { from_us, to_us: to_us.saturating_sub(schedule_us()) };
    let said = json!([{"from": rfc3339(lost.from_us), "to": rfc3339(lost.to_us)}]);
    assert_eq!((&rows[0]["lost"], &rows[0]["repeating"]), (&said, &json!(true)));
    assert_eq!(moment(&rows[0]["repeats_until"]), to_us.saturating_add(240 * MINUTE_US), "{}", rows[0]);
    let report = pair.deployment.run(&["reconcile", "report", "--output", "json"]);
    assert_eq!(report.code, Some(4), "{}", report.stderr);
    let sentence = format!("first sent from {} to {} can't come back", rfc3339(lost.from_us), rfc3339(lost.to_us));
    assert!(report.stdout.contains(&sentence), "{sentence}: {}", report.stdout);
    lost
}

/// What was said is what happens: the processor gives up what was first sent then, and repeats everything else.
async fn repeated(pair: &Pair, lost: Span) {
    pair.move_to(lost.to_us.saturating_add(schedule_us()).saturating_add(250 * MINUTE_US)).await;
    let mut heard_of = BTreeSet::new();
    let mut given_up = BTreeSet::new();
    for (operation, state, first_us) in pair.callbacks() {
        let is_lost = (lost.from_us..lost.to_us).contains(&first_us);
        assert_eq!(state, if is_lost { "given_up" } else { "delivered" }, "{operation} {}", rfc3339(first_us));
        if is_lost { &mut given_up } else { &mut heard_of }.insert(operation);
    }
    assert!(given_up.difference(&heard_of).count() > 10, "{given_up:?}");
    assert_eq!(pair.heard_of().await, heard_of, "what repeated is booked, and nothing else");
    assert_eq!(pair.differences().await.len(), 3, "of each currency something is missing");
    assert_eq!(pair.rows("/api/discrepancies").await.len(), 1);
}

async fn what_repeats_books_itself_and_the_export_brings_the_rest(backend: Backend) {
    let mut pair = Pair::start(backend).await;
    pair.trade_before().await;
    assert_eq!(pair.heard_of().await.len(), 12, "everything so far is booked");
    let from_us = pair.stop().await;
    pair.trade_meanwhile(from_us).await;
    pair.restart(from_us).await;
    let lost = told(&pair, from_us).await;
    repeated(&pair, lost).await;
    let before = pair.heard_of().await.len();

    // An export that ends before the lost time does brings what it has, and settles nothing.
    let part = pair.export("part.csv", 20).await;
    let said = pair.import(&part);
    assert!(!said.contains("is accounted for"), "{said}");
    assert!(pair.heard_of().await.len() > before);
    assert_eq!(pair.rows("/api/discrepancies").await.len(), 1);

    // Nor does a whole one while the balances differ.
    let whole = pair.export("whole.csv", usize::MAX).await;
    pair.shift("0.5");
    assert!(!pair.import(&whole).contains("is accounted for"));
    assert_eq!(pair.differences().await, [("BTC".to_owned(), 500_000_000_000_000_000)], "only what was shifted");
    assert_eq!(pair.rows("/api/discrepancies").await.len(), 1);
    pair.shift("-0.5");
    let said = pair.import(&whole);
    assert!(said.contains(&format!("the outage from {} to ", rfc3339(from_us))), "{said}");

    assert_eq!(pair.heard_of().await.len(), 102, "every payment is booked");
    assert_eq!(pair.differences().await, [], "to the last digit");
    assert_eq!(pair.rows("/api/discrepancies").await, Vec::<Value>::new());
    let report = pair.deployment.run(&["reconcile", "report"]);
    assert_eq!(report.code, Some(0), "{}{}", report.stdout, report.stderr);
    pair.deployment.assert_ledger_verifies();
    assert_eq!(pair.server.take().expect("it runs").terminate().await, Some(0));
}
