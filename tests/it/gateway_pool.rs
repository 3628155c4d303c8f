//! Pool addresses: whose a deposit is when an address was given out more than once.

use std::time::Duration;

use serde_json::{Value, json};
use tallyhook::config::gateway::Windows;
use tallyhook::domain::claim::{Window, owner};
use tallyhook::domain::customer::Owner;
use tallyhook::domain::ids::{CustomerId, PaymentId};
use tallyhook::domain::payment::{Payment, Status};
use tallyhook::domain::reason::Reason;

use crate::support::Backend;
use crate::support::gateway::{Client, ask, deposit, foreign_ids, processor, start};
use crate::support::process::eventually;

const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the pool gives an address again.
async fn until_reused(client: &Client, address: &Value) -> Value {
    eventually("the pool gives the address again", PATIENCE, async || {
        let given = client.post("/v1/deposit-addresses", &ask("USDT", "ETH")).await;
        assert_eq!(given.status, 200, "{}", given.text);
        (given.json["data"]["address"] == *address).then(|| given.json["data"].clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_address_credits_the_request_whose_window_holds_the_deposit() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let processor = processor().await;
        let windows = [
            ("TALLYHOOK_GATEWAY__DISPLAY_S", "1"),
            ("TALLYHOOK_GATEWAY__MONITORING_S", "8"),
            ("TALLYHOOK_GATEWAY__REUSE_S", "10"),
            ("TALLYHOOK_GATEWAY__DELAY_S", "0"),
            ("TALLYHOOK_MERCHANTS__MAIN__UNKNOWN_CUSTOMER", "suspense"),
        ];
        let (app, client) = start(backend, &processor, &windows).await;
        let first = client.post("/v1/deposit-addresses", &ask("USDT", "ETH")).await.json["data"].clone();
        let (id, address) = (first["request_id"].as_i64().expect("a number"), first["address"].clone());
        assert_eq!(first["user_identifier"], Value::Null);
        let pool = foreign_ids(&processor)[0].clone();
        // Within the window: announced now, so it stays the first request's however late it is confirmed.
        app.receive(&deposit(1, &pool, &pool, "not_confirmed", "10")).await;
        app.receive(&deposit(2, &pool, &pool, "confirmed", "20")).await;
        let path = format!("/v1/deposit-requests/{id}");
        eventually("it is no longer shown", PATIENCE, async || {
            (client.get(&path).await.json["data"]["status"] == "expired_for_display").then_some(())
        })
        .await;
        app.receive(&deposit(3, &pool, &pool, "confirmed", "3")).await;
        eventually("it is no longer watched", PATIENCE, async || {
            (client.get(&path).await.json["data"]["status"] == "expired").then_some(())
        })
        .await;
        // Nobody's window: neither the one before nor the one after.
        app.receive(&deposit(4, &pool, &pool, "confirmed", "4")).await;
        let second = until_reused(&client, &address).await;
        app.receive(&deposit(1, &pool, &pool, "confirmed", "10")).await;
        app.receive(&deposit(5, &pool, &pool, "confirmed", "5")).await;
        let other = second["request_id"].as_i64().expect("a number");
        assert_ne!(other, id);
        let expected = format!(
            "available  request:{id:<8} USDTE  33\navailable  request:{other:<8} USDTE  5\n\
             processor  -                USDTE  42\nsuspense   -                USDTE  4"
        );
        let mut expected: Vec<_> = expected.lines().collect();
        expected.sort_unstable();
        assert_eq!(app.ledger().await, expected.join("\n"));
        assert_eq!(
            app.callbacks().await.lines().filter(|line| line.contains("pool_")).collect::<Vec<_>>(),
            ["deposit confirmed booked pool_unclaimed x1"]
        );
        let of = |data: &Value| {
            let mut ids: Vec<_> = data["transactions"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|one| one["tx_hash"].as_str().expect("text").to_owned())
                .collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(of(&client.get(&path).await.json["data"]), ["0xtx1", "0xtx2", "0xtx3"]);
        assert_eq!(of(&client.get(&format!("/v1/deposit-requests/{other}")).await.json["data"]), ["0xtx5"]);
        // The event names the request, not the address's name at the processor.
        let events = app.events().await;
        let credited: Vec<_> = events.iter().filter(|event| event["type"] == "deposit.credited").collect();
        assert_eq!(credited[0]["subject"], json!(format!("request:{id}")));
        assert!(!json!(events).to_string().contains("tallyhook:pool:"), "a name that means nothing to anybody");
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_that_two_requests_could_claim_is_nobodys() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let processor = processor().await;
        let windows = [
            ("TALLYHOOK_GATEWAY__MONITORING_S", "600"),
            ("TALLYHOOK_GATEWAY__REUSE_S", "0"),
            ("TALLYHOOK_GATEWAY__DELAY_S", "1"),
        ];
        let (app, client) = start(backend, &processor, &windows).await;
        let first = client.post("/v1/deposit-addresses", &ask("USDT", "ETH")).await.json["data"].clone();
        let pool = foreign_ids(&processor)[0].clone();
        app.receive(&deposit(1, &pool, &pool, "confirmed", "1")).await;
        until_reused(&client, &first["address"]).await;
        app.receive(&deposit(2, &pool, &pool, "confirmed", "2")).await;
        let id = &first["request_id"];
        let ledger = app.ledger().await;
        assert!(ledger.contains("suspense   -                USDTE  2"), "{ledger}");
        assert!(ledger.contains(&format!("request:{id}")), "{ledger}");
        assert!(app.callbacks().await.contains("deposit confirmed booked pool_contested x1"));
        app.finish().await;
    }
}

#[test]
fn a_payment_belongs_where_it_belonged_when_it_was_first_heard_of() {
    let window = |created_us, monitoring_until_us, claim_until_us, customer| Window {
        created_us,
        monitoring_until_us,
        claim_until_us,
        customer: Some(CustomerId(customer)),
    };
    let windows = [window(100, 200, 250, 1), window(300, 400, 450, 2)];
    let payment = |customer: Option<i64>| Payment {
        id: PaymentId(9),
        status: Status::NotConfirmed,
        facts: None,
        customer: customer.map(CustomerId),
    };
    let none = Owner::Withheld(Reason::PoolUnclaimed);
    for (at, expected) in [
        (99, none),
        (100, Owner::Known(CustomerId(1))),
        (200, Owner::Known(CustomerId(1))),
        (201, none),
        (299, none),
        (350, Owner::Known(CustomerId(2))),
        (999, none),
    ] {
        assert_eq!(owner(&windows, None, at), expected, "at {at}");
        assert_eq!(owner(&windows, Some(&payment(Some(1))), at), Owner::Known(CustomerId(1)), "it was known before");
        assert_eq!(owner(&windows, Some(&payment(None)), at), none, "it was nobody's before");
    }
    // A callback that is late may be about the window before: then two could claim it.
    let close = [window(100, 200, 250, 1), window(240, 400, 450, 2)];
    assert_eq!(owner(&close, None, 245), Owner::Withheld(Reason::PoolContested));
    assert_eq!(owner(&close, None, 251), Owner::Known(CustomerId(2)));
    assert_eq!(owner(&[], None, 1), none);
    let defaults = crate::support::settings("sqlite::memory:", &[]).gateway.windows;
    let Windows { display_s, monitoring_s, reuse_s, delay_s } = defaults;
    assert_eq!((display_s, monitoring_s, reuse_s), (3 * 3600, 7 * 86_400, 7 * 86_400));
    assert!(reuse_s + delay_s >= monitoring_s + delay_s, "by default no two windows can meet");
    assert!(delay_s >= 24 * 3600 + 21 * 60, "as long as the processor repeats");
}
