//! A simulated processor without any server: it is stepped from one thing to the next, and what it delivers is kept.

use tallyhook::processor::sandbox::api::{Request, Wait};
use tallyhook::processor::sandbox::deposits::Arrival;
use tallyhook::processor::sandbox::post::Delivery;
use tallyhook::processor::sandbox::world::{MINUTE_US, Merchant, World};
use tallyhook::processor::signature::sign;

use super::SECRET;
use super::sandbox::{KEY, amount};

pub(crate) const START_US: i64 = 1_700_000_000_000_000;

/// A world, its time, and everything that arrived at the merchant.
pub(crate) struct Story {
    pub(crate) world: World,
    pub(crate) now: i64,
    pub(crate) inbox: Vec<Delivery>,
}

impl Story {
    /// A merchant with plenty of everything, and no limit.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_limit(seed, None)
    }

    pub(crate) fn with_limit(seed: u64, limit_eur: Option<&str>) -> Self {
        let merchant = Merchant::new(KEY, SECRET, "http://127.0.0.1:9/");
        let rich = ["BTC", "ETH", "EUR", "USDTE", "LTC", "XRP"];
        let merchant = rich.iter().fold(merchant, |merchant, code| merchant.with_balance(code, amount("1000000")));
        let world = World::try_new(vec![merchant], seed, limit_eur.map(amount)).expect("usable keys");
        Self { world, now: START_US, inbox: Vec::new() }
    }

    /// A signed call, and what its answer waits for.
    pub(crate) fn call(&mut self, path: &str, body: &serde_json::Value) -> (u16, serde_json::Value, Wait) {
        let body = body.to_string();
        let signature = sign(&SECRET.into(), body.as_bytes());
        let request = Request {
            method: if path == "/transactions/info" { "GET" } else { "POST" },
            path: &format!("/api/v2{path}"),
            key: Some(KEY.as_bytes()),
            signature: Some(signature.as_bytes()),
            has_content_type: true,
            body: body.as_bytes(),
        };
        let answer = self.world.answer(self.now, &request);
        let text = answer.body.clone();
        let json = serde_json::from_str(&answer.body).unwrap_or(serde_json::Value::String(text));
        (answer.status, json, answer.wait)
    }

    /// An address for the customer `user-1`.
    pub(crate) fn take(&mut self, currency: &str, convert_to: Option<&str>) -> String {
        let mut body =
            serde_json::json!({"currency": currency, "foreign_id": "player-1", "end_user_reference": "user-1"});
        if let Some(target) = convert_to {
            body["convert_to"] = target.into();
        }
        let (status, answer, _) = self.call("/addresses/take", &body);
        assert_eq!(status, 201, "{answer}");
        answer["data"]["address"].as_str().expect("an address").to_owned()
    }

    pub(crate) fn deposit(&mut self, address: &str, sum: &str, scenario: Option<&str>) -> i64 {
        let (address, scenario) = (address.to_owned(), scenario.map(str::to_owned));
        let arrival = Arrival { address, tag: None, amount: amount(sum), currency: None, scenario };
        self.world.deposit(self.now, &arrival).expect("it can arrive")
    }

    /// Everything of the next so many minutes, each delivery answered by `receive`.
    pub(crate) fn run(&mut self, minutes: i64, mut receive: impl FnMut(&Delivery) -> Option<u16>) {
        let end = self.now.saturating_add(minutes.saturating_mul(MINUTE_US));
        while let Some(due) = self.world.next_due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            for delivery in self.world.step(self.now) {
                let status = receive(&delivery);
                self.world.delivered(self.now, delivery.ticket, status);
                self.inbox.push(delivery);
            }
        }
        self.now = end;
    }

    /// The same, with everything answered 200.
    pub(crate) fn pass(&mut self, minutes: i64) {
        self.run(minutes, |_| Some(200));
    }

    /// What was told of an operation, in order of arrival.
    pub(crate) fn told(&self, operation: i64) -> Vec<serde_json::Value> {
        let of = self.inbox.iter().filter(|delivery| delivery.operation == operation);
        of.map(|delivery| serde_json::from_str(&delivery.body).expect("JSON")).collect()
    }

    /// The statuses that were told, with their errors.
    pub(crate) fn statuses(&self, operation: i64) -> String {
        let word = |body: &serde_json::Value| {
            let (status, error) = (body["status"].as_str().expect("a status"), body["error"].as_str());
            error.filter(|error| !error.is_empty()).map_or(status.to_owned(), |error| format!("{status} ({error})"))
        };
        self.told(operation).iter().map(word).collect::<Vec<_>>().join(", ")
    }

    /// What the processor says it holds.
    pub(crate) fn balance(&mut self, currency: &str) -> String {
        let (_, accounts, _) = self.call("/accounts/list", &serde_json::json!({}));
        let row = accounts["data"].as_array().expect("a list").iter().find(|row| row["currency"] == currency);
        row.expect("a currency")["balance"].as_str().expect("a string").to_owned()
    }
}
