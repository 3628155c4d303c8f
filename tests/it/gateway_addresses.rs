//! Deposit addresses: a customer's own, idempotency, claims, and what is told about a request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::{
    Client, Reply as Answered, SETTINGS, ask, deposit, foreign_ids, now_s, processor, start, taken,
};
use crate::support::process::{Deployment, Server, eventually};
use crate::support::upstream::{Reply, Upstream};
use crate::support::{Backend, servers};

const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_makes_nobody_wait() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let made = AtomicU64::new(0);
        let processor =
            Upstream::start(move |seen| Reply::Late(3_000, Box::new(taken(seen, made.fetch_add(1, Ordering::SeqCst)))))
                .await;
        let (app, client) = start(backend, &processor, &[]).await;
        let mut wanted = json!({"currency": "USDT", "network": "ETH", "user_identifier": "user_8721"});
        for (round, key) in [(1_usize, None), (2, Some("alloc_1"))] {
            if let Some(key) = key {
                wanted = json!({"currency": "BTC", "network": "BTC", "idempotency_key": key});
            }
            let asked = async || (processor.seen().len() == round).then_some(());
            tokio::select! {
                () = eventually("the processor is asked", PATIENCE, asked) => {}
                reply = client.post("/v1/deposit-addresses", &wanted) => panic!("it hangs up before {}", reply.text),
            }
            let begun = std::time::Instant::now();
            let next = client.post("/v1/deposit-addresses", &wanted).await;
            assert_eq!(next.status, 200, "{}", next.text);
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}: a claim lasts 40 s", begun.elapsed());
            assert_eq!(next.json["data"]["address"], format!("0xaddress{}", round.saturating_sub(1)));
            let again = client.post("/v1/deposit-addresses", &wanted).await;
            assert_eq!((&again.json, processor.seen().len()), (&next.json, round), "the first one's address");
        }
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_has_one_address_of_a_network_and_keeps_it() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let processor = processor().await;
        let (app, client) = start(backend, &processor, &[]).await;
        let wanted = json!({"currency": "USDT", "network": "ETH", "user_identifier": "user_8721"});
        let first = client.post("/v1/deposit-addresses", &wanted).await;
        assert_eq!(first.status, 200, "{}", first.text);
        let data = &first.json["data"];
        let keys: Vec<_> = data.as_object().expect("an object").keys().cloned().collect();
        let mut expected = vec![
            "address",
            "contract_address",
            "created_at",
            "currency",
            "display_expires_at",
            "network",
            "request_id",
            "user_identifier",
        ];
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(data["contract_address"], "0xdac17f958d2ee523a2206206994597c13d831ec7");
        assert_eq!((data["currency"].as_str(), data["network"].as_str()), (Some("USDT"), Some("ETH")));
        assert!(data["created_at"].as_str().is_some_and(|at| at.ends_with("+00:00")), "{data}");
        assert!(data["request_id"].is_i64() && first.header("idempotency-replayed").is_none());
        let again = client.post("/v1/deposit-addresses", &wanted).await;
        assert_eq!(again.json["data"], *data, "the same request, whole");
        // Another token of the same network comes to the same address, under a request of its own.
        let other = json!({"currency": "usdc", "network": "eth", "user_identifier": "user_8721"});
        let other = client.post("/v1/deposit-addresses", &other).await;
        assert_eq!(other.json["data"]["address"], data["address"]);
        assert_ne!(other.json["data"]["request_id"], data["request_id"]);
        assert_eq!(other.json["data"]["currency"], "USDC");
        let elsewhere = json!({"currency": "BTC", "network": "BTC", "user_identifier": "user_8721"});
        let elsewhere = client.post("/v1/deposit-addresses", &elsewhere).await;
        assert_ne!(elsewhere.json["data"]["address"], data["address"], "another network, another address");
        assert_eq!(processor.seen().len(), 2);
        let sent: Value = serde_json::from_slice(&processor.seen()[0].body).expect("JSON");
        assert_eq!(
            (sent["currency"].as_str(), sent["end_user_reference"].as_str()),
            (Some("USDTE"), Some("user_8721"))
        );

        // What comes to it is the customer's.
        let foreign_id = &foreign_ids(&processor)[0];
        app.receive(&deposit(7, foreign_id, "user_8721", "not_confirmed", "100")).await;
        let id = data["request_id"].as_i64().expect("a number");
        let status = client.get(&format!("/v1/deposit-requests/{id}")).await;
        assert_eq!(status.json["data"]["transactions"][0]["status"], "pending");
        app.receive(&deposit(7, foreign_id, "user_8721", "confirmed", "100")).await;
        let status = client.get(&format!("/v1/deposit-requests/{id}")).await.json["data"].clone();
        assert_eq!((status["status"].as_str(), status["address"].as_str()), (Some("active"), data["address"].as_str()));
        let told = &status["transactions"][0];
        assert_eq!((told["tx_hash"].as_str(), told["amount_decimal"].as_str()), (Some("0xtx7"), Some("100")));
        assert_eq!((told["status"].as_str(), told["confirmations"].as_i64()), (Some("confirmed"), Some(12)));
        let balances = client.get("/v1/balances?user_identifier=user_8721").await;
        assert_eq!(
            balances.json["data"],
            json!([{"currency": "USDT", "network": "ETH", "available": "100", "held": "0"}])
        );
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_told_in_the_documented_words() {
    let processor = processor().await;
    let (app, client) =
        start(Backend::Sqlite, &processor, &[("TALLYHOOK_GATEWAY__SHOP__CURRENCIES", "*/ETH,DOGE")]).await;
    let long = "x".repeat(257);
    let cases = [
        (json!({}), 422, "currency: Field required; network: Field required"),
        (
            json!({"currency": "", "network": 7}),
            422,
            "currency: String should have at least 1 character; network: Input should be a valid string",
        ),
        (
            json!({"currency": "A".repeat(33), "network": "ETH", "user_identifier": long, "idempotency_key": "k".repeat(129)}),
            422,
            "currency: String should have at most 32 characters; user_identifier: String should have at most 256 \
                characters; idempotency_key: String should have at most 128 characters",
        ),
        (json!([]), 422, "body: Input should be a valid dictionary"),
        (ask("USDT", "MOON"), 404, "Network not found"),
        (ask("MOON", "ETH"), 404, "Currency not found"),
        (ask("BTC", "ETH"), 404, "Currency not found"),
        (ask("BTC", "BTC"), 403, "Deposits for this currency are not enabled for this account"),
        (ask("DOGE", "DOGE"), 403, "Deposits for this currency are not enabled for this account"),
    ];
    for (body, status, message) in cases {
        let reply = client.post("/v1/deposit-addresses", &body).await;
        assert_eq!((reply.status, reply.message()), (status, message), "{body}");
        assert_eq!(reply.json["success"], false);
        assert_eq!(reply.json.as_object().map(serde_json::Map::len), Some(2), "no detail field: {}", reply.text);
    }
    let broken = client.call("POST", "/v1/deposit-addresses", "{\"currency\":").await;
    assert_eq!(broken.status, 422);
    assert!(broken.message().starts_with("body: JSON decode error"), "{}", broken.text);
    for (path, status, message) in [
        ("/v1/deposit-requests/4711", 404, "Deposit request not found"),
        (
            "/v1/deposit-requests/x",
            422,
            "request_id: Input should be a valid integer, unable to parse string as an integer",
        ),
    ] {
        let reply = client.get(path).await;
        assert_eq!((reply.status, reply.message()), (status, message));
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_stands_for_its_first_request_within_its_api_key() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let processor = processor().await;
        let other = [
            ("TALLYHOOK_MERCHANTS__SIDE__KEY", "key-side"),
            ("TALLYHOOK_MERCHANTS__SIDE__SECRET", crate::support::SECRET),
            ("TALLYHOOK_GATEWAY__SHOP__MERCHANT", "main"),
            ("TALLYHOOK_GATEWAY__OTHER__KEY", "key-other"),
            ("TALLYHOOK_GATEWAY__OTHER__SECRET", "another-secret-of-tests"),
            ("TALLYHOOK_GATEWAY__OTHER__PERMISSIONS", "all"),
            ("TALLYHOOK_GATEWAY__OTHER__MERCHANT", "main"),
            ("TALLYHOOK_GATEWAY__THIRD__KEY", "key-third"),
            ("TALLYHOOK_GATEWAY__THIRD__SECRET", "a-third-secret-of-tests"),
            ("TALLYHOOK_GATEWAY__THIRD__PERMISSIONS", "all"),
            ("TALLYHOOK_GATEWAY__THIRD__MERCHANT", "side"),
        ];
        let (app, client) = start(backend, &processor, &other).await;
        let wanted = json!({"currency": "USDT", "network": "ETH", "idempotency_key": "alloc_1"});
        let first = client.post("/v1/deposit-addresses", &wanted).await;
        assert_eq!((first.status, first.header("idempotency-replayed")), (200, None), "{}", first.text);
        let again = client.post("/v1/deposit-addresses", &wanted).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")));
        assert_eq!((&again.json, again.header("idempotency-mismatch")), (&first.json, None));
        let changed = json!({"currency": "BTC", "network": "BTC", "idempotency_key": "alloc_1"});
        let changed = client.post("/v1/deposit-addresses", &changed).await;
        assert_eq!((changed.status, &changed.json), (200, &first.json), "what changed is ignored");
        assert_eq!(changed.header("idempotency-mismatch"), Some("currency,network"));
        let second = client.as_key("key-other", "another-secret-of-tests").post("/v1/deposit-addresses", &wanted).await;
        assert_eq!((second.status, second.header("idempotency-replayed")), (200, None));
        assert_ne!(second.json["data"]["address"], first.json["data"]["address"], "another key, another allocation");
        assert_eq!(processor.seen().len(), 2);
        // Another account sees nothing of it.
        let path = format!("/v1/deposit-requests/{}", first.json["data"]["request_id"]);
        let stranger = client.as_key("key-third", "a-third-secret-of-tests").get(&path).await;
        assert_eq!((stranger.status, stranger.message()), (404, "Deposit request not found"));
        assert_eq!(client.get(&path).await.status, 200);
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_strict_setting_answers_409_when_a_repeat_differs() {
    let processor = processor().await;
    let (app, client) = start(Backend::Sqlite, &processor, &[("TALLYHOOK_GATEWAY__STRICT_IDEMPOTENCY", "true")]).await;
    let key = |currency: &str, network: &str| json!({"currency": currency, "network": network, "idempotency_key": "a"});
    assert_eq!(client.post("/v1/deposit-addresses", &key("USDT", "ETH")).await.status, 200);
    let differing = client.post("/v1/deposit-addresses", &key("BTC", "BTC")).await;
    assert_eq!(
        (differing.status, differing.message()),
        (409, "Idempotency key was used with another currency, network")
    );
    assert_eq!(client.post("/v1/deposit-addresses", &key("USDT", "ETH")).await.status, 200);
    app.finish().await;
}

async fn replicas(url: Option<String>, processor: &Upstream) -> (Deployment, Server, Server) {
    let one = url.map_or_else(Deployment::on_sqlite, |url| Deployment::on(&url)).migrated();
    let one = SETTINGS.iter().fold(one, |one, (name, value)| one.set(name, value));
    let one = one.set("TALLYHOOK_ALPHAPO__BASE_URL", &processor.url);
    let one = ["HEAD", "BODY"]
        .iter()
        .fold(one, |one, part| one.set(&format!("TALLYHOOK_LIMITS__{part}_TIMEOUT_MS"), "60000"));
    let (first, second) = (one.serve().await, one.replica().serve().await);
    (one, first, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_calls_at_once_on_two_replicas_make_one_address() {
    for url in [Some(servers::fresh_database().await), None] {
        let processor = processor().await;
        let (one, first, second) = replicas(url, &processor).await;
        let bases = [&first, &second].map(|server| format!("http://{}", server.deployment.public));
        let client = Client::new(&bases[0]);
        let calls = (0..200).map(|number: usize| {
            let client = client.at(&bases[number % 2]);
            async move {
                // Half of them with an idempotency key, some of which are the same.
                let mut wanted = json!({"currency": "USDT", "network": "ETH", "user_identifier": "user_8721"});
                if number % 4 > 1 {
                    wanted["idempotency_key"] = json!(format!("key-{}", number % 7));
                }
                // A pool of connections that is waited for too long is no answer.
                eventually("it is answered", PATIENCE, async || {
                    Some(client.post("/v1/deposit-addresses", &wanted).await).filter(|reply| reply.status != 503)
                })
                .await
            }
        });
        let replies: Vec<Answered> = futures_util::future::join_all(calls).await;
        for reply in &replies {
            assert_eq!(reply.status, 200, "{}", reply.text);
            assert_eq!(reply.json["data"], replies[0].json["data"]);
        }
        assert_eq!(processor.seen().len(), 1, "one call to the processor");
        drop((first, second));
        one.assert_ledger_verifies();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_owner_died_is_taken_over() {
    let processor = processor().await;
    let hanging = Upstream::always(Reply::Hang).await;
    let one = Deployment::on(&servers::fresh_database().await).migrated();
    let one = SETTINGS.iter().fold(one, |one, (name, value)| one.set(name, value));
    let dying =
        one.clone().set("TALLYHOOK_ALPHAPO__TIMEOUT_MS", "5000").set("TALLYHOOK_ALPHAPO__BASE_URL", &hanging.url);
    let dying = dying.serve().await;
    let client = Client::new(&format!("http://{}", dying.deployment.public));
    let wanted = json!({"currency": "USDT", "network": "ETH", "user_identifier": "u", "idempotency_key": "k"});
    let asked = {
        let (client, wanted) = (client.clone(), wanted.clone());
        tokio::task::spawn(async move {
            let ticket =
                client.ticket("POST", "/v1/deposit-addresses?dying", &wanted.to_string(), &now_s().to_string());
            let request = ticket
                .headers
                .iter()
                .fold(client.http.post(format!("{}{}", client.base, ticket.target)), |request, (name, value)| {
                    request.header(*name, value)
                });
            request.body(ticket.body).send().await.is_ok()
        })
    };
    eventually("the processor is asked", PATIENCE, async || (!hanging.seen().is_empty()).then_some(())).await;
    dying.kill9();
    assert!(!asked.await.expect("it ends"), "nobody answered");
    let next = one.set("TALLYHOOK_ALPHAPO__BASE_URL", &processor.url).replica().serve().await;
    let client = client.at(&format!("http://{}", next.deployment.public));
    eventually("somebody else takes over", Duration::from_secs(120), async || {
        (client.post("/v1/deposit-addresses", &wanted).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(processor.seen().len(), 1);
    assert_eq!(foreign_ids(&processor), foreign_ids(&hanging), "under the name of the first claim");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_gives_none_is_told_apart_and_asked_again_later() {
    let broken = AtomicU64::new(0);
    let processor = Upstream::start(move |seen| match broken.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Other(500, "text/plain", "Internal server error".into()),
        number => taken(seen, number),
    })
    .await;
    let (app, client) = start(Backend::Sqlite, &processor, &[]).await;
    let wanted = json!({"currency": "USDT", "network": "ETH", "user_identifier": "u", "idempotency_key": "k"});
    let failed = client.post("/v1/deposit-addresses", &wanted).await;
    assert_eq!((failed.status, failed.message()), (502, "No address available at the moment"));
    let given = client.post("/v1/deposit-addresses", &wanted).await;
    assert_eq!((given.status, given.header("idempotency-replayed")), (200, None), "{}", given.text);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_asked_for_again_is_shown_for_longer() {
    let processor = processor().await;
    let (app, client) = start(Backend::Sqlite, &processor, &[("TALLYHOOK_GATEWAY__DISPLAY_S", "2")]).await;
    let wanted = json!({"currency": "XRP", "network": "XRP", "user_identifier": "u"});
    let first = client.post("/v1/deposit-addresses", &wanted).await.json["data"].clone();
    assert_eq!(first["tag"], "1000", "an address that needs a tag has one");
    let longer = eventually("it is shown for longer", PATIENCE, async || {
        let now = client.post("/v1/deposit-addresses", &wanted).await.json["data"].clone();
        (now["display_expires_at"] != first["display_expires_at"]).then_some(now)
    })
    .await;
    assert_eq!(longer["request_id"], first["request_id"]);
    assert!(longer["display_expires_at"].as_str() > first["display_expires_at"].as_str());
    app.finish().await;
}
