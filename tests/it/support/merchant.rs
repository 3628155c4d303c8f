//! A merchant's client of AlphaPo whose base URL is ours, and what its requests leave in our tables.

use reqwest::Method;
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::{Value, json};
use tallyhook::processor::signature::sign;

use super::upstream::Upstream;
use super::{Backend, SECRET, TestApp};

pub(crate) const APPROVER: &str = "approver-token-of-tests";

/// An answer, byte for byte.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub status: u16,
    pub body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// For tests in which the processor gives no answer: in the others a machine that stalls must not look like that.
pub(crate) const HASTY: (&str, &str) = ("TALLYHOOK_ALPHAPO__TIMEOUT_MS", "1500");

/// An instance whose processor is `upstream`.
pub(crate) async fn beside(backend: Backend, upstream: &Upstream, more: &[(&str, &str)]) -> TestApp {
    let mut settings = processor(&upstream.url);
    settings.extend(more);
    TestApp::with(backend, &settings).await
}

/// The settings of such an instance.
pub(crate) fn processor(url: &str) -> Vec<(&str, &str)> {
    vec![
        ("TALLYHOOK_ALPHAPO__BASE_URL", url),
        ("TALLYHOOK_ALPHAPO__CONNECT_TIMEOUT_MS", "20000"),
        ("TALLYHOOK_ALPHAPO__TIMEOUT_MS", "20000"),
        ("TALLYHOOK_TOKENS__BOSS__SECRET", APPROVER),
        ("TALLYHOOK_TOKENS__BOSS__ROLE", "approver"),
    ]
}

/// A signed call of the drop-in.
pub(crate) async fn call(app: &TestApp, method: Method, path: &str, body: &str) -> Reply {
    send(app, method, path, body, Some("key-main"), Some(&sign(&SECRET.into(), body.as_bytes()))).await
}

pub(crate) async fn post(app: &TestApp, path: &str, body: &str) -> Reply {
    call(app, Method::POST, path, body).await
}

pub(crate) async fn send(
    app: &TestApp,
    method: Method,
    path: &str,
    body: &str,
    key: Option<&str>,
    signature: Option<&str>,
) -> Reply {
    let mut request = app.client.request(method, format!("{}/api/v2{path}", app.public));
    request = request.header("Content-Type", "application/json").body(body.to_owned());
    for (name, value) in [("X-Processing-Key", key), ("X-Processing-Signature", signature)] {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    let response = request.send().await.expect("the drop-in answers");
    let status = response.status().as_u16();
    Reply { status, body: response.text().await.expect("a whole answer") }
}

/// A withdrawal of BTC as a client writes it.
pub(crate) fn withdrawal(foreign_id: &str, user: &str, amount: &str) -> String {
    let address = "115Mn1jCjBh1CNqug7yAB21Hq2rw8PfmTA";
    json!({"currency": "BTC", "amount": amount, "address": address, "foreign_id": foreign_id, "end_user_reference": user})
        .to_string()
}

/// How the processor takes it.
pub(crate) fn accepted(id: u32, foreign_id: &str) -> String {
    json!({"data": {"id": id, "foreign_id": foreign_id, "type": "withdrawal", "status": "processing"}}).to_string()
}

/// What a callback, or `transactions/info`, says of it.
pub(crate) fn spoken(id: u32, foreign_id: &str, amount: &str, status: &str) -> String {
    json!({
        "id": id, "foreign_id": foreign_id, "end_user_reference": "user-1", "type": "withdrawal",
        "crypto_address": {"id": 1, "currency": "BTC", "address": "115Mn1jCjBh1CNqug7yAB21Hq2rw8PfmTA", "tag": null},
        "currency_sent": {"currency": "BTC", "amount": amount},
        "currency_received": {"currency": "BTC", "amount": amount},
        "transactions": [], "fees": [], "error": "", "status": status,
    })
    .to_string()
}

/// The customer `user-1` has this much.
pub(crate) async fn fund(app: &TestApp, amount: &str) {
    let body = json!({
        "id": 900, "end_user_reference": "user-1", "type": "deposit",
        "crypto_address": {"id": 31, "currency": "BTC", "address": "bc1-of-tests", "tag": null},
        "currency_received": {"currency": "BTC", "amount": amount, "amount_minus_fee": amount},
        "transactions": [], "fees": [], "error": "", "status": "confirmed",
    });
    assert_eq!(app.receive(&body.to_string()).await, 200);
}

/// The state of a withdrawal, as a word.
pub(crate) async fn state(app: &TestApp, foreign_id: &str) -> &'static str {
    use tallyhook::store::withdrawals::State;
    let db = &app.running.as_ref().expect("it runs").app.db;
    let sql = "SELECT state FROM withdrawals WHERE foreign_id = $1";
    let statement = Statement::from_sql_and_values(db.orm.get_database_backend(), sql, [foreign_id.into()]);
    let row = db.orm.query_one_raw(statement).await.expect("a query");
    row.map_or("none", |row| State::from_code(row.try_get_by_index(0).expect("a state")).expect("a known state").word())
}
