//! Who may call the gateway, and what everybody else is told.

use std::collections::BTreeMap;

use tallyhook::config::gateway::{Network, Permission};
use tallyhook::config::{Settings, Sources};
use tallyhook::domain::rate::Buckets;
use tallyhook::http::gateway::ENDPOINTS;
use tallyhook::http::gateway::signature::Signed;

use crate::support::gateway::{Client, SECRET, SETTINGS, now_s};
use crate::support::process::Deployment;
use crate::support::{Backend, TestApp, servers};

const DEPOSIT: &str =
    r#"{"currency":"USDT","network":"ETH","user_identifier":"user_8721","idempotency_key":"alloc_2026_05_24_abc123"}"#;

#[test]
fn the_two_vectors_are_signed_as_documented() {
    let vectors = [
        ("POST", "/v1/deposit-addresses", DEPOSIT, "1a47de360fd7f99c9dabbe96704f94366428ed86516cfa942c8c407859b1b61f"),
        ("GET", "/v1/_ping", "", "292c61e847e38bd634f3ddb49ae92b91e29759b9e8ff01ceb2d1d7cba4e2b911"),
    ];
    for (method, path, body, signature) in vectors {
        let signed = Signed { timestamp: "1747444800", method, path, query: "", body: body.as_bytes() };
        assert_eq!(signed.sign(&"test_secret".into()), signature, "{method} {path}");
    }
    let ping = Signed { timestamp: "1747444800", method: "GET", path: "/v1/_ping", query: "", body: b"" };
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(ping.canonical(), format!("1747444800\nGET\n/v1/_ping\n\n{empty}"));
}

async fn start(backend: Backend, more: &[(&str, &str)]) -> (TestApp, Client) {
    let settings: Vec<_> = SETTINGS.iter().chain(more).copied().collect();
    let app = TestApp::with(backend, &settings).await;
    let client = Client::new(&app.public);
    (app, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_ping_is_answered_and_tells_what_may_still_be_asked() {
    let (app, client) = start(Backend::Sqlite, &[]).await;
    let pong = client.get("/v1/_ping").await;
    assert_eq!((pong.status, pong.text.as_str()), (200, r#"{"success":true,"message":"OK","data":{}}"#));
    assert_eq!(pong.header("x-ratelimit-limit"), Some("1000000"));
    assert_eq!(pong.header("x-ratelimit-remaining"), Some("999999"));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_right_is_refused_with_the_documented_texts() {
    let (app, client) = start(Backend::Sqlite, &[]).await;
    let now = now_s().to_string();
    let good = client.ticket("GET", "/v1/_ping", "", &now);
    for missing in 0..3 {
        let mut ticket = good.clone();
        ticket.headers.remove(missing);
        let reply = client.send(&ticket).await;
        let expected = r#"{"success":false,"message":"Missing authentication headers"}"#;
        assert_eq!((reply.status, reply.text.as_str()), (401, expected), "without header {missing}");
        assert_eq!(reply.header("x-ratelimit-limit"), None, "nobody who proved nothing learns a limit");
    }
    let mut wrong: Vec<_> = std::iter::repeat_n(good.clone(), 7).collect();
    wrong[0].target = "/v1/_ping?a=1".into();
    wrong[1].method = "POST";
    wrong[2].body = " ".into();
    wrong[3].headers[0].1 = "key-nobody".into();
    wrong[4].headers[1].1 = (now_s() + 1).to_string();
    wrong[5].headers[2].1 = "0".repeat(64);
    wrong[6].headers.push(("X-CPG-Signature", good.headers[2].1.clone()));
    for (number, ticket) in wrong.iter().enumerate() {
        let reply = client.send(ticket).await;
        if number == 1 {
            assert_eq!((reply.status, reply.message()), (405, "Method Not Allowed"));
            continue;
        }
        let expected = r#"{"success":false,"message":"Invalid signature"}"#;
        assert_eq!((reply.status, reply.text.as_str()), (401, expected), "case {number}");
    }
    assert_eq!(client.send(&good).await.status, 200, "none of them has used the signature up");
    let nothing = client.get("/v1/nothing").await;
    assert_eq!((nothing.status, nothing.message()), (404, "Not Found"));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timestamp_beyond_the_tolerance_is_refused_on_both_sides() {
    let (app, client) = start(Backend::Sqlite, &[("TALLYHOOK_GATEWAY__TOLERANCE_S", "60")]).await;
    for (away, expected) in [(-120, 401), (-50, 200), (0, 200), (50, 200), (120, 401)] {
        let reply = client.send(&client.ticket("GET", "/v1/_ping", "", &(now_s() + away).to_string())).await;
        assert_eq!(reply.status, expected, "{away} s: {}", reply.text);
    }
    for no_time in ["soon", "-1", "+1747444800", "1747444800.0", "99999999999999999999"] {
        let reply = client.send(&client.ticket("GET", "/v1/_ping", "", no_time)).await;
        assert_eq!((reply.status, reply.message()), (401, "Timestamp is no unix time"), "{no_time}");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_taken_once_on_all_replicas_and_after_a_restart() {
    for url in [Some(servers::fresh_database().await), None] {
        let one = url.map_or_else(Deployment::on_sqlite, |url| Deployment::on(&url)).migrated();
        let one = SETTINGS.iter().fold(one, |one, (name, value)| one.set(name, value));
        let (first, second) = (one.serve().await, one.replica().serve().await);
        let base = |server: &crate::support::process::Server| format!("http://{}", server.deployment.public);
        let client = Client::new(&base(&first));
        let ticket = client.ticket("GET", "/v1/_ping", "", &now_s().to_string());
        assert_eq!(client.send(&ticket).await.status, 200);
        let used = "Signature was used before: sign again, with a new timestamp";
        for base in [base(&first), base(&second)] {
            let reply = client.at(&base).send(&ticket).await;
            assert_eq!((reply.status, reply.message()), (401, used));
        }
        first.kill9();
        let mut again = one.spawn();
        again.until_ready().await;
        let reply = client.send(&ticket).await;
        assert_eq!((reply.status, reply.message()), (401, used), "after a restart");
        // Of many at once, on both, one is the first.
        let ticket = client.ticket("GET", "/v1/_ping?many", "", &now_s().to_string());
        let bases = [base(&again), base(&second)];
        let calls = (0..40).map(|number| {
            let (client, ticket) = (client.at(&bases[number % 2]), ticket.clone());
            async move { client.send(&ticket).await.status }
        });
        let taken = futures_util::future::join_all(calls).await.into_iter().filter(|status| *status == 200).count();
        assert_eq!(taken, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_do_what_its_permissions_say_and_nothing_else() {
    let keys: Vec<_> = Permission::ALL.iter().map(|permission| permission.word()).chain([""]).collect();
    let mut settings = Vec::new();
    for (number, words) in keys.iter().enumerate() {
        let part = |part: &str| format!("TALLYHOOK_GATEWAY__K{number}__{part}");
        settings.push((part("KEY"), format!("key-{number}")));
        settings.push((part("SECRET"), format!("{SECRET}-{number}")));
        settings.push((part("PERMISSIONS"), (*words).to_owned()));
    }
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let app = TestApp::with(Backend::Sqlite, &settings).await;
    let client = Client::new(&app.public);
    for endpoint in ENDPOINTS {
        for (number, words) in keys.iter().enumerate() {
            let client = client.as_key(&format!("key-{number}"), &format!("{SECRET}-{number}"));
            let path = endpoint.path.replace("{id}", "4711");
            let reply = if endpoint.method == "POST" {
                client.post(&path, &serde_json::json!([])).await
            } else {
                client.get(&path).await
            };
            let may = endpoint.needs.is_none_or(|needs| needs.word() == *words);
            let path = endpoint.path;
            if may {
                assert!(reply.status != 401 && reply.status != 403, "{path} with {words}: {}", reply.text);
            } else {
                let lacks = endpoint.needs.expect("it needs one").word();
                let expected = format!("This key lacks the permission {lacks}");
                assert_eq!((reply.status, reply.message()), (403, expected.as_str()), "{path} with {words}");
            }
        }
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_asks_too_often_is_told_when_to_ask_again() {
    let (app, client) = start(Backend::Sqlite, &[("TALLYHOOK_GATEWAY__SHOP__RATE_LIMIT", "3")]).await;
    for left in ["2", "1", "0"] {
        let pong = client.get("/v1/_ping").await;
        assert_eq!((pong.status, pong.header("x-ratelimit-remaining")), (200, Some(left)));
    }
    let refused = client.get("/v1/_ping").await;
    let expected = r#"{"success":false,"message":"Rate limit exceeded"}"#;
    assert_eq!((refused.status, refused.text.as_str()), (429, expected));
    assert_eq!(refused.header("retry-after"), Some("20"));
    app.finish().await;
}

#[test]
fn a_bucket_fills_by_the_minute() {
    let buckets = Buckets::default();
    let take = |now_s: i64| buckets.take("one", 60, now_s * 1_000_000);
    assert!((0..60).all(|_| !take(1_000).is_exceeded));
    assert!(take(1_000).is_exceeded && !buckets.take("other", 60, 1_000_000_000).is_exceeded);
    assert!(!take(1_001).is_exceeded && take(1_001).is_exceeded);
    assert!(take(900).is_exceeded, "a clock that goes back fills nothing");
    assert_eq!(take(2_000).remaining, 59);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_a_list_of_addresses_works_from_those_alone() {
    let ours = [("TALLYHOOK_GATEWAY__SHOP__IPS", "10.1.0.0/16,192.0.2.7")];
    let (app, client) = start(Backend::Sqlite, &ours).await;
    let from = |via: &str| {
        let target = format!("/v1/_ping?from={}", via.replace([' ', ','], "_"));
        let mut ticket = client.ticket("GET", &target, "", &now_s().to_string());
        ticket.headers.push(("X-Forwarded-For", via.to_owned()));
        ticket
    };
    let reply = client.send(&from("10.1.2.3")).await;
    assert_eq!((reply.status, reply.message()), (403, "This address may not use this key"), "nobody's word counts");
    app.finish().await;
    let (app, client) = start(Backend::Sqlite, &[ours[0], ("TALLYHOOK_GATEWAY__PROXIES", "127.0.0.0/8")]).await;
    let cases = [
        ("10.1.2.3", 200),
        ("10.2.2.3", 403),
        ("192.0.2.7", 200),
        // Whoever sends a list of their own has the last address all the same.
        ("10.1.2.3, 203.0.113.9", 403),
        ("203.0.113.9, 10.1.2.3", 200),
        ("nonsense", 403),
    ];
    for (via, expected) in cases {
        let reply = client.send(&from(via)).await;
        assert_eq!(reply.status, expected, "{via}: {}", reply.text);
    }
    app.finish().await;
}

#[test]
fn networks_are_compared_by_their_bits() {
    let has = |network: &str, address: &str| {
        Network::parse(network).expect("a network").has(address.parse().expect("an address"))
    };
    assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1") && has("0.0.0.0/0", "192.0.2.1"));
    assert!(has("2001:db8::/32", "2001:db8:ffff::1") && !has("2001:db8::/32", "2001:db9::1"));
    assert!(has("192.0.2.1", "::ffff:192.0.2.1") && !has("0.0.0.0/0", "::1"));
    for nonsense in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "host", "10.0.0.0/-1"] {
        assert_eq!(Network::parse(nonsense), None, "{nonsense}");
    }
}

#[test]
fn faults_in_the_settings_of_the_gateway_are_told_at_once() {
    let mut env: BTreeMap<_, _> = [
        ("TALLYHOOK_MERCHANTS__MAIN__KEY", "key-main"),
        ("TALLYHOOK_MERCHANTS__MAIN__SECRET", crate::support::SECRET),
        ("TALLYHOOK_GATEWAY__A__SECRET", "short"),
        ("TALLYHOOK_GATEWAY__A__MERCHANT", "nobody"),
        ("TALLYHOOK_GATEWAY__A__PERMISSIONS", "withdraw,steal"),
        ("TALLYHOOK_GATEWAY__A__IPS", "10.0.0.0/99"),
        ("TALLYHOOK_GATEWAY__A__RATE_LIMIT", "0"),
        ("TALLYHOOK_GATEWAY__B__KEY", "same"),
        ("TALLYHOOK_GATEWAY__B__SECRET", SECRET),
        ("TALLYHOOK_GATEWAY__C__KEY", "same"),
        ("TALLYHOOK_GATEWAY__C__SECRET", SECRET),
        ("TALLYHOOK_GATEWAY__NETWORKS", "BTC/BTC=BTC,BTC/BTC=LTC"),
        ("TALLYHOOK_GATEWAY__TOLERANCE", "300"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let faults = Settings::load(&Sources { env: env.clone(), ..Sources::default() }).expect_err("refused").0;
    let expected = [
        "gateway.a.key is missing",
        "gateway.a.secret",
        "gateway.a.merchant",
        "gateway.a.permissions",
        "gateway.a.ips",
        "gateway.a.rate_limit",
        "gateway.b.key and gateway.c.key",
        "gateway.b.secret and gateway.c.secret",
        "gateway.networks",
        "TALLYHOOK_GATEWAY__TOLERANCE (environment) is not a setting",
    ];
    for start in expected {
        assert!(faults.iter().any(|fault| fault.starts_with(start)), "no fault `{start}` in {faults:#?}");
    }
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    assert!(!faults.concat().contains(SECRET), "a fault repeats a secret");
    let folder = crate::support::fresh_folder();
    let file = folder.join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).expect("a file");
    env.retain(|name, _| name.contains("MERCHANTS"));
    env.insert("TALLYHOOK_GATEWAY__SHOP__KEY".into(), "key-shop".into());
    env.insert("TALLYHOOK_GATEWAY__SHOP__SECRET_FILE".into(), file.display().to_string());
    let settings = Settings::load(&Sources { env, ..Sources::default() }).expect("they are fine");
    let shop = settings.gateway.keys.first().expect("one key");
    assert_eq!((shop.merchant.as_str(), shop.permissions.len()), ("main", 0));
    assert_eq!(settings.gateway.networks.first().map(|listed| listed.code.as_str()), Some("BTC"));
    std::fs::remove_dir_all(folder).expect("the folder goes");
}
