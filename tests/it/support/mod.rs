//! A Tallyhook in this process, on a fresh database, entered through HTTP only.

/// Each story runs on both databases.
macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::support::Backend::Postgres).await;
            })*
        }
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::support::Backend::Sqlite).await;
            })*
        }
    };
}

pub(crate) mod books;
pub(crate) mod browser;
pub(crate) mod deposits;
pub(crate) mod gateway;
pub(crate) mod merchant;
pub(crate) mod process;
pub(crate) mod queue;
pub(crate) mod sandbox;
pub(crate) mod sender;
pub(crate) mod servers;
pub(crate) mod story;
pub(crate) mod together;
pub(crate) mod upstream;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use reqwest::StatusCode;
use serde_json::Value;
use tallyhook::audit;
use tallyhook::cli::serve::{Part, Running};
use tallyhook::config::{Settings, Sources};
use tallyhook::processor::signature::sign;
use tallyhook::store::{Db, schema};

pub(crate) const SECRET: &str = "a-secret-for-tests";
pub(crate) const OPERATOR: &str = "operator-token-of-tests";
pub(crate) const APPROVER: &str = "approver-token-of-tests";
pub(crate) const VIEWER: &str = "viewer-token-of-tests";
pub(crate) const CONSUMER: &str = "consumer-token-of-tests";

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Postgres,
    Sqlite,
}

/// A running instance.
pub(crate) struct TestApp {
    pub running: Option<Running>,
    pub public: String,
    pub admin: String,
    pub client: reqwest::Client,
    pub url: String,
    folder: Option<std::path::PathBuf>,
}

/// An answer of the admin side.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub json: Value,
}

impl TestApp {
    /// One merchant called `main`, with key `key-main`.
    pub(crate) async fn start(backend: Backend) -> Self {
        Self::with(backend, &[]).await
    }

    /// The same with more settings, as (variable, value).
    pub(crate) async fn with(backend: Backend, more: &[(&str, &str)]) -> Self {
        Self::as_part(backend, more, Part::All).await
    }

    /// Without the work in the background, for instance.
    pub(crate) async fn start_as(backend: Backend, part: Part) -> Self {
        Self::as_part(backend, &[], part).await
    }

    /// The same as one part of a deployment.
    pub(crate) async fn as_part(backend: Backend, more: &[(&str, &str)], part: Part) -> Self {
        let (url, folder) = match backend {
            Backend::Postgres => (servers::fresh_database().await, None),
            Backend::Sqlite => {
                let folder = fresh_folder();
                (format!("sqlite://{}/test.db?mode=rwc", folder.display()), Some(folder))
            }
        };
        let running = launch_as(&url, more, part).await;
        let public = format!("http://{}", running.public.expect("it takes callbacks"));
        let admin = format!("http://{}", running.admin);
        Self { public, admin, client: client(), url, folder, running: Some(running) }
    }

    /// Posts a body signed as merchant `main`.
    pub(crate) async fn receive(&self, body: &str) -> StatusCode {
        self.receive_for("main", body.as_bytes()).await
    }

    pub(crate) async fn receive_for(&self, merchant: &str, body: &[u8]) -> StatusCode {
        let signature = sign(&SECRET.into(), body);
        self.post(&format!("key-{merchant}"), &signature, body).await
    }

    pub(crate) async fn post(&self, key: &str, signature: &str, body: &[u8]) -> StatusCode {
        let request = self.client.post(format!("{}/callbacks/alphapo", self.public));
        let request = request.header("X-Processing-Key", key).header("X-Processing-Signature", signature);
        request.body(body.to_vec()).send().await.expect("the receiver answers").status()
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        let request = self.client.get(format!("{}{path}", self.admin)).bearer_auth(token);
        answer(request.send().await.expect("the admin side answers")).await
    }

    pub(crate) async fn send_json(&self, path: &str, token: &str, body: &Value) -> Answer {
        let request = self.client.post(format!("{}{path}", self.admin)).bearer_auth(token);
        let request = request.header("Content-Type", "application/json").body(body.to_string());
        answer(request.send().await.expect("the admin side answers")).await
    }

    /// The rows of a list, all pages of it.
    pub(crate) async fn rows(&self, path: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut after = String::new();
        let glue = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = self.get(&format!("{path}{glue}limit=500{after}"), OPERATOR).await;
            assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.json);
            let data = page.json["data"].as_array().expect("a list").clone();
            let is_last = data.is_empty() || page.json["next"].is_null();
            rows.extend(data);
            if is_last {
                return rows;
            }
            after = format!("&after={}", page.json["next"].as_str().expect("a cursor"));
        }
    }

    /// Every event so far, oldest first.
    pub(crate) async fn events(&self) -> Vec<Value> {
        self.rows("/api/events").await
    }

    /// The balances that are not zero, as aligned text.
    pub(crate) async fn ledger(&self) -> String {
        table(&self.rows("/api/balances").await)
    }

    /// The callbacks, oldest first, a line each: type, status, state, reason, deliveries.
    pub(crate) async fn callbacks(&self) -> String {
        let mut lines: Vec<_> = self.rows("/api/callbacks").await.iter().map(callback_line).collect();
        lines.reverse();
        lines.join("\n")
    }

    /// Derives the whole ledger anew; then stops in order.
    pub(crate) async fn finish(mut self) {
        self.verify().await;
        let running = self.running.take().expect("it runs");
        running.app.stop.cancel();
        assert_eq!(running.until_stopped().await.expect("it stops in order"), 0);
    }

    /// What `ledger verify` finds.
    pub(crate) async fn verify(&self) {
        let app = &self.running.as_ref().expect("it runs").app;
        let report = audit::verify(&app.db, &app.keyring).await.expect("the ledger can be read");
        assert_eq!(report.differences, Vec::<String>::new(), "the ledger is not what its callbacks lead to");
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            drop(std::fs::remove_dir_all(folder));
        }
    }
}

/// Starts an instance on a database, migrating it first.
pub(crate) async fn launch(url: &str, more: &[(&str, &str)]) -> Running {
    launch_as(url, more, Part::All).await
}

pub(crate) async fn launch_as(url: &str, more: &[(&str, &str)], part: Part) -> Running {
    drop(rustls::crypto::ring::default_provider().install_default());
    let settings = settings(url, more);
    let db = Db::lazy(url, 2).await.expect("a database");
    schema::migrate(&db).await.expect("migrations apply");
    let tokens = settings.tokens.clone();
    Running::start(settings, tokens, part).await.expect("it starts")
}

pub(crate) fn settings(url: &str, more: &[(&str, &str)]) -> Settings {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |key: &str, value: &str| env.insert(key.to_owned(), value.to_owned());
    set("DATABASE_URL", url);
    set("TALLYHOOK_LISTEN", "127.0.0.1:0");
    set("TALLYHOOK_ADMIN_LISTEN", "127.0.0.1:0");
    set("TALLYHOOK_RECONCILE__SETTLE_S", "0");
    set("TALLYHOOK_MERCHANTS__MAIN__KEY", "key-main");
    set("TALLYHOOK_MERCHANTS__MAIN__SECRET", SECRET);
    for (name, role, secret) in [
        ("OPS", "operator", OPERATOR),
        ("VIEW", "viewer", VIEWER),
        ("QUEUE", "consumer", CONSUMER),
        ("BOSS", "approver", APPROVER),
    ] {
        set(&format!("TALLYHOOK_TOKENS__{name}__SECRET"), secret);
        set(&format!("TALLYHOOK_TOKENS__{name}__ROLE"), role);
    }
    for (key, value) in more {
        set(key, value);
    }
    Settings::load(&Sources { env, ..Sources::default() }).expect("the settings of the tests are right")
}

pub(crate) fn client() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

/// A folder of its own, removed with the instance; what a failed test leaves goes with the run's servers.
pub(crate) fn fresh_folder() -> std::path::PathBuf {
    let name: u64 = rand::random();
    let folder = servers::shared_folder().join(format!("{name:016x}"));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}

async fn answer(response: reqwest::Response) -> Answer {
    let status = response.status();
    let bytes = response.bytes().await.expect("a whole answer");
    Answer { status, json: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
}

/// Balances that are not zero, a line each, sorted.
pub(crate) fn table(balances: &[Value]) -> String {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or("-").to_owned();
    let mut lines: Vec<_> = balances
        .iter()
        .filter(|row| row["balance"] != "0")
        .map(|row| {
            let (kind, customer) = (text(row, "kind"), text(row, "customer"));
            format!("{kind:<10} {customer:<16} {:<6} {}", text(row, "currency"), text(row, "balance"))
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

/// Events, a line each: type, subject, currency, amount, fee, balance afterwards.
pub(crate) fn told(events: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut lines = String::new();
    for event in events {
        let data = &event["data"];
        let [currency, amount, fee, after] =
            ["currency", "amount", "fee", "balance_after"].map(|field| text(&data[field]));
        let kind = text(&event["type"]);
        writeln!(lines, "{kind:<20} {:<18} {currency} {amount} fee {fee} after {after}", text(&event["subject"]))
            .expect("a String takes every write");
    }
    lines.trim_end().to_owned()
}

fn callback_line(row: &Value) -> String {
    let text = |field: &str| row[field].as_str().unwrap_or("-").to_owned();
    let [kind, status, state, reason] = ["type", "status", "state", "reason"].map(text);
    format!("{kind} {status} {state} {reason} x{}", row["deliveries"])
}
