//! A client of the gateway: signs as section by section of its documentation says, one request at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tallyhook::http::gateway::signature::Signed;

use super::upstream::{Reply as Play, Seen, Upstream};
use super::{Backend, TestApp};

pub(crate) const SECRET: &str = "gateway-secret-of-tests";

/// Settings for one key that may do everything.
pub(crate) const SETTINGS: [(&str, &str); 4] = [
    ("TALLYHOOK_GATEWAY__SHOP__KEY", "key-shop"),
    ("TALLYHOOK_GATEWAY__SHOP__SECRET", SECRET),
    ("TALLYHOOK_GATEWAY__SHOP__PERMISSIONS", "all"),
    ("TALLYHOOK_GATEWAY__SHOP__RATE_LIMIT", "1000000"),
];

/// A key and where it calls.
#[derive(Clone)]
pub(crate) struct Client {
    pub http: reqwest::Client,
    pub base: String,
    pub key: String,
    pub secret: String,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub json: Value,
}

/// The three headers of a request, and what they are for.
#[derive(Clone)]
pub(crate) struct Ticket {
    pub method: &'static str,
    /// With the query.
    pub target: String,
    pub body: String,
    pub headers: Vec<(&'static str, String)>,
}

pub(crate) fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("a small number")
}

impl Client {
    pub(crate) fn new(base: &str) -> Self {
        Self { http: super::client(), base: base.to_owned(), key: "key-shop".into(), secret: SECRET.into() }
    }

    pub(crate) fn as_key(&self, key: &str, secret: &str) -> Self {
        Self { key: key.to_owned(), secret: secret.to_owned(), ..self.clone() }
    }

    pub(crate) fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// Signs without sending.
    pub(crate) fn ticket(&self, method: &'static str, target: &str, body: &str, at_s: &str) -> Ticket {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let signed = Signed { timestamp: at_s, method, path, query, body: body.as_bytes() };
        let headers = vec![
            ("X-CPG-Key", self.key.clone()),
            ("X-CPG-Timestamp", at_s.to_owned()),
            ("X-CPG-Signature", signed.sign(&self.secret.as_str().into())),
        ];
        Ticket { method, target: target.to_owned(), body: body.to_owned(), headers }
    }

    pub(crate) async fn send(&self, ticket: &Ticket) -> Reply {
        let method = ticket.method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{}", self.base, ticket.target));
        for (name, value) in &ticket.headers {
            request = request.header(*name, value);
        }
        let response = request.body(ticket.body.clone()).send().await.expect("the gateway answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a whole answer");
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Reply { status, headers, text, json }
    }

    /// Signs now, with a number in the query that makes each request another one.
    pub(crate) async fn call(&self, method: &'static str, target: &str, body: &str) -> Reply {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let glue = if target.contains('?') { '&' } else { '?' };
        let target = format!("{target}{glue}n={number}");
        self.send(&self.ticket(method, &target, body, &now_s().to_string())).await
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.call("GET", target, "").await
    }

    pub(crate) async fn post(&self, target: &str, body: &Value) -> Reply {
        self.call("POST", target, &body.to_string()).await
    }
}

impl Reply {
    pub(crate) fn message(&self) -> &str {
        self.json["message"].as_str().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("plain text"))
    }
}

/// A processor that makes a new address for each call.
/// A withdrawal of this amount is answered late.
pub(crate) const SLOW: &str = "0.75";

pub(crate) async fn processor() -> Upstream {
    let made = AtomicU64::new(0);
    Upstream::start(move |seen| match seen.path.as_str() {
        "/api/v2/addresses/take" => taken(seen, made.fetch_add(1, Ordering::SeqCst)),
        "/api/v2/invoices/create" => invoiced(seen),
        "/api/v2/withdrawal/crypto" => withdrawn(seen),
        _ => Play::Json(404, "{}".into()),
    })
    .await
}

pub(crate) fn taken(seen: &Seen, number: u64) -> Play {
    let mut data: Value = serde_json::from_slice(&seen.body).expect("JSON");
    if data["currency"] == "DOGE" {
        return Play::Json(400, r#"{"errors":{"currency":"The selected currency is invalid."}}"#.into());
    }
    data["id"] = json!(number.wrapping_add(240_407_213));
    data["address"] = json!(format!("0xaddress{number}"));
    data["tag"] = if data["currency"] == "XRP" { json!(number.wrapping_add(1000)) } else { Value::Null };
    Play::Json(201, json!({"data": data}).to_string())
}

fn withdrawn(seen: &Seen) -> Play {
    let mut data: Value = serde_json::from_slice(&seen.body).expect("JSON");
    if data["amount"] == "0.5" {
        return Play::Json(400, r#"{"errors":{"amount":"The amount must be at least 1."}}"#.into());
    }
    data["id"] = json!(134_702_815);
    data["type"] = json!("withdrawal");
    data["status"] = json!("processing");
    let is_slow = data["amount"] == SLOW;
    let reply = Play::Json(201, json!({"data": data}).to_string());
    if is_slow { Play::Late(1_500, Box::new(reply)) } else { reply }
}

fn invoiced(seen: &Seen) -> Play {
    let mut data: Value = serde_json::from_slice(&seen.body).expect("JSON");
    if data["amount"] == "1" {
        let small = "The amount is too small. The minimum amount is 10.00 EUR.";
        return Play::Json(400, json!({"errors": {"amount": small}}).to_string());
    }
    data["id"] = json!(826_900);
    data["url"] = json!("https://invoices.alphapo.net/invoice/Jyf1cQ");
    data["status"] = json!("created");
    Play::Json(201, json!({"data": data}).to_string())
}

/// The foreign ids under which addresses were taken.
pub(crate) fn foreign_ids(processor: &Upstream) -> Vec<String> {
    let body = |seen: Seen| serde_json::from_slice::<Value>(&seen.body).expect("JSON");
    processor.seen().into_iter().map(body).map(|body| body["foreign_id"].as_str().expect("one").to_owned()).collect()
}

pub(crate) async fn start(backend: Backend, processor: &Upstream, more: &[(&str, &str)]) -> (TestApp, Client) {
    let base = [("TALLYHOOK_ALPHAPO__BASE_URL", processor.url.as_str())];
    let settings: Vec<_> = SETTINGS.iter().chain(&base).chain(more).copied().collect();
    let app = TestApp::with(backend, &settings).await;
    let client = Client::new(&app.public);
    (app, client)
}

pub(crate) fn ask(currency: &str, network: &str) -> Value {
    json!({"currency": currency, "network": network})
}

/// A deposit to an address, as the processor tells it.
pub(crate) fn deposit(id: u64, foreign_id: &str, user: &str, status: &str, amount: &str) -> String {
    json!({
        "id": id, "end_user_reference": user, "type": "deposit",
        "crypto_address": {"id": 1, "currency": "USDTE", "address": "0xaddress", "tag": null, "foreign_id": foreign_id},
        "currency_sent": {"currency": "USDTE", "amount": amount},
        "currency_received": {"currency": "USDTE", "amount": amount, "amount_minus_fee": amount},
        "transactions": [{"id": id, "currency": "USDTE", "transaction_type": "blockchain", "type": "deposit",
            "address": "0xaddress", "tag": null, "amount": amount, "txid": format!("0xtx{id}"), "confirmations": "12"}],
        "fees": [], "error": "", "status": status,
    })
    .to_string()
}
