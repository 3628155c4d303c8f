//! A simulated processor beside the instance under test.

use std::time::{Duration, Instant, SystemTime};

use reqwest::StatusCode;
use serde_json::Value;
use tallyhook::domain::amount::Amount;
use tallyhook::processor::sandbox::deposits::Arrival;
use tallyhook::processor::sandbox::world::Merchant;
use tallyhook::processor::sandbox::{self, Options, Sandbox};
use tallyhook::processor::signature::sign;

use super::{Answer, SECRET, client};

/// The key that the settings of tests have for the merchant `main`.
pub(crate) const KEY: &str = "key-main";
const PATIENCE: Duration = Duration::from_secs(30);

/// A simulator that serves until the test ends.
pub(crate) struct TestSandbox {
    pub(crate) sandbox: Sandbox,
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
        Self { sandbox, client: client() }
    }

    /// A signed call of the processor's API.
    pub(crate) async fn call(&self, path: &str, body: &str) -> Answer {
        let signature = sign(&SECRET.into(), body.as_bytes());
        let method = if path == "/transactions/info" { reqwest::Method::GET } else { reqwest::Method::POST };
        let request = self.client.request(method, format!("{}{path}", self.sandbox.api()));
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
