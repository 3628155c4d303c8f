//! A simulated processor beside the instance under test.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use reqwest::StatusCode;
use serde_json::Value;
use tallyhook::domain::amount::Amount;
use tallyhook::processor::sandbox::deposits::Arrival;
use tallyhook::processor::sandbox::php;
use tallyhook::processor::sandbox::world::{Merchant, World};
use tallyhook::processor::sandbox::{self, Options, Sandbox};
use tallyhook::processor::signature::sign;

use super::deposits::units;
use super::{Answer, Backend, SECRET, TestApp, client};

/// The key that the settings of tests have for the merchant `main`.
pub(crate) const KEY: &str = "key-main";
const PATIENCE: Duration = Duration::from_secs(120);

/// A simulator that serves until the test ends.
pub(crate) struct TestSandbox {
    pub(crate) sandbox: Sandbox,
    /// Where calls go: the sandbox's own API, or an instance's that forwards to it.
    pub(crate) api: String,
    client: reqwest::Client,
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_micros()).expect("before the year 290000")
}

pub(crate) fn amount(text: &str) -> Amount {
    Amount::parse(text).expect("an amount")
}

/// An amount of a JSON field, in units of 10^-18.
pub(crate) fn units_of(value: &Value) -> i128 {
    units(value.as_str().expect("an amount is a string"))
}

/// Options for the merchant `main` of a [`super::TestApp`], with some money.
pub(crate) fn options(public: &str) -> Options {
    let merchant = Merchant::new(KEY, SECRET, &format!("{public}/callbacks/alphapo"));
    let merchant = ["BTC", "ETH", "EUR", "USDTE", "USDTT", "XRP"]
        .iter()
        .fold(merchant, |merchant, currency| merchant.with_balance(currency, amount("10000")));
    Options::new(merchant, now_us)
}

impl TestSandbox {
    /// A calm one whose callbacks go to the public listener of an instance.
    pub(crate) fn start(public: &str) -> Self {
        Self::with(options(public))
    }

    pub(crate) fn with(options: Options) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let (sandbox, served) = sandbox::start(options).expect("the sandbox starts");
        tokio::spawn(async { served.await.expect("the sandbox serves until it is stopped") });
        Self { api: sandbox.api(), sandbox, client: client() }
    }

    /// A simulator, and an instance for which it is the processor: calls go through the instance.
    pub(crate) async fn beside(backend: Backend, options: Options) -> (TestApp, Self) {
        let mut sandbox = Self::with(options);
        let base_url = sandbox.sandbox.api();
        let settings = [("TALLYHOOK_ALPHAPO__BASE_URL", base_url.as_str()), ("TALLYHOOK_ALPHAPO__TIMEOUT_MS", "3000")];
        let app = TestApp::with(backend, &settings).await;
        sandbox.sandbox.send_callbacks_to(&format!("{}/callbacks/alphapo", app.public));
        sandbox.api = format!("{}/api/v2", app.public);
        (app, sandbox)
    }

    /// What the processor says it holds, without what is nothing.
    pub(crate) fn holdings(&self) -> BTreeMap<String, i128> {
        let balances = self.control("GET", "/balances", "", &serde_json::json!({}));
        let rows = balances["data"].as_array().expect("a list").iter();
        let sums = rows.map(|row| (row["currency"].as_str().expect("a code").to_owned(), units_of(&row["balance"])));
        sums.filter(|(_, sum)| *sum != 0).collect()
    }

    /// A command to the simulator.
    pub(crate) fn control(&self, method: &str, path: &str, query: &str, body: &Value) -> Value {
        let body = php::decode(body.to_string().as_bytes()).expect("JSON");
        let told = self.sandbox.with(|world, now| world.command(now, method, path, query, &body));
        serde_json::from_str(&php::encode(&told.expect("it can be done"))).expect("JSON")
    }

    /// Waits until everything that is due was delivered; the clock stays.
    pub(crate) async fn until_quiet(&self) {
        let begun = Instant::now();
        let is_quiet = |world: &mut World, now| world.next_due().is_none_or(|due| due > now) && !world.is_delivering();
        while !self.sandbox.with(is_quiet) {
            assert!(begun.elapsed() < PATIENCE, "the sandbox is still busy after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    /// A signed call of the processor's API.
    pub(crate) async fn call(&self, path: &str, body: &str) -> Answer {
        let signature = sign(&SECRET.into(), body.as_bytes());
        let method = if path == "/transactions/info" { reqwest::Method::GET } else { reqwest::Method::POST };
        let request = self.client.request(method, format!("{}{path}", self.api));
        let request = request.header("X-Processing-Key", KEY).header("X-Processing-Signature", signature);
        let request = request.header("Content-Type", "application/json").body(body.to_owned());
        super::answer(request.send().await.expect("the sandbox answers")).await
    }

    /// An address for a customer, or the answer if there is none.
    pub(crate) async fn take(&self, currency: &str, foreign_id: &str, user: &str) -> Value {
        let body = serde_json::json!({"currency": currency, "foreign_id": foreign_id, "end_user_reference": user});
        let answer = self.call("/addresses/take", &body.to_string()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json);
        answer.json["data"].clone()
    }

    /// Money arrives; answers the operation's id.
    pub(crate) fn deposit(&self, address: &Value, amount_text: &str, scenario: &str) -> i64 {
        let arrival = Arrival {
            address: address["address"].as_str().expect("an address").to_owned(),
            tag: None,
            amount: amount(amount_text),
            currency: None,
            scenario: Some(scenario.to_owned()),
        };
        self.sandbox.with(|world, now| world.deposit(now, &arrival)).expect("it can arrive")
    }

    /// Moves the clock on until nothing more happens by itself.
    pub(crate) async fn until_idle(&self) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if !self.sandbox.skip() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("the sandbox is still busy after {PATIENCE:?}");
    }
}

impl Drop for TestSandbox {
    fn drop(&mut self) {
        self.sandbox.stop();
    }
}
