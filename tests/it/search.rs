//! Claims about finding callbacks: by every name and amount, by every filter, followed by the index or not yet, page by
//! page without a row twice or missing, and whatever is typed into the box.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tallyhook::store::{Db, callbacks, cursor, terms};

use crate::support::deposits::Deposit;
use crate::support::process::eventually;
use crate::support::{Backend, OPERATOR, TestApp, VIEWER};
use crate::wire::fixture;

const BOTH: [Backend; 2] = [Backend::Sqlite, Backend::Postgres];

fn db(app: &TestApp) -> &Db {
    &app.running.as_ref().expect("it runs").app.db
}

async fn until_followed(app: &TestApp) {
    let newest = callbacks::list(db(app), &callbacks::Filter::default(), None, 1).await.expect("a list");
    let newest = newest.rows.first().map_or(0, |row| row.id.0);
    eventually("the terms follow", Duration::from_secs(120), async || {
        let followed = cursor::state(db(app), terms::CURSOR).await.expect("a cursor").position;
        (followed >= newest).then_some(())
    })
    .await;
}

fn url(app: &TestApp, params: &[(&str, &str)]) -> String {
    let url = reqwest::Url::parse_with_params(&format!("{}/api/callbacks", app.admin), params).expect("a URL");
    url.as_str().replace(&app.admin, "")
}

async fn page(app: &TestApp, params: &[(&str, &str)]) -> Value {
    let answer = app.get(&url(app, params), VIEWER).await;
    assert_eq!(answer.status, 200, "{params:?}: {}", answer.json);
    answer.json
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["id"].as_str().expect("an id")).collect()
}

/// Every page of a list with `limit` rows each.
async fn pages(app: &TestApp, params: &[(&str, &str)], limit: &str) -> Vec<Value> {
    let (mut rows, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut params = [params, &[("limit", limit)]].concat();
        params.extend(after.as_deref().map(|after| ("after", after)));
        let page = page(app, &params).await;
        rows.extend(page["data"].as_array().expect("a list").iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return rows,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_and_amount_finds_its_callback_followed_or_not() {
    let names = [
        ("48120148", vec!["1"]),
        ("customer-7002", vec!["1"]),
        ("player-7002", vec!["1"]),
        (" player-7002\n", vec!["1"]),
        ("payout:7207", vec!["2"]),
        ("player-7207", vec!["2"]),
        ("fedada4faf5e5f9fd120a3a0b884499522ef06391b785fa41dca2027b5062380", vec!["2"]),
        ("019d9f4c-49db-7aab-a7cc-4f0071bda371", vec!["4"]),
        ("0.031", vec!["3", "1"]),
        ("0.03100", vec!["3", "1"]),
        ("3", vec!["3"]),
        ("0", vec![]),
        ("player-70", vec![]),
    ];
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        for name in ["deposit-confirmed-btc", "withdrawal-confirmed-btc", "deposit-not_confirmed-btc"] {
            app.receive(&fixture(name)).await;
        }
        app.receive(&fixture("payment_request-paid-btc_eth")).await;
        for round in ["not followed", "followed"] {
            for (q, expected) in &names {
                let found = page(&app, &[("q", q)]).await;
                assert_eq!(ids(found["data"].as_array().expect("rows")), *expected, "{backend:?} {round} {q}");
            }
            let address = app.get("/api/callbacks/2", VIEWER).await.json["address"].clone();
            let found = page(&app, &[("q", address.as_str().expect("an address"))]).await;
            assert!(ids(found["data"].as_array().expect("rows")).contains(&"2"), "{backend:?} {round}: {found}");
            until_followed(&app).await;
        }
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_filter_means_the_same_followed_or_not() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        for number in 0..8 {
            app.receive(&Deposit { number }.announced()).await;
            app.receive(&Deposit { number }.confirmed()).await;
            // After the final one: ignored.
            app.receive(&Deposit { number }.announced().replace("\"confirmations\":\"0\"", "\"confirmations\":\"1\""))
                .await;
        }
        app.receive(&fixture("withdrawal-confirmed-btc")).await;
        app.receive(&fixture("payment_request-paid-btc_eth")).await;
        for _ in ["not followed", "followed"] {
            check_filters(&app).await;
            until_followed(&app).await;
        }
        // What waited is booked by deciding it anew: it is found by its new state.
        app.receive(&fixture("deposit-confirmed-btc").replace("player-7002", "player-7207")).await;
        until_followed(&app).await;
        let body = serde_json::json!({"dry_run": false});
        assert_eq!(app.send_json("/api/callbacks/replay", OPERATOR, &body).await.status, 200);
        check_filters(&app).await;
        let booked = pages(&app, &[("state", "booked"), ("type", "withdrawal")], "5").await;
        assert_eq!(booked.len(), 1, "{backend:?}: held when it was followed, booked since");
        app.finish().await;
    }
}

async fn check_filters(app: &TestApp) {
    let all = pages(app, &[], "100").await;
    let mut found_any = BTreeSet::new();
    for state in ["", "booked", "ignored", "held", "failed"] {
        for kind in ["", "deposit", "withdrawal", "gift"] {
            for status in ["", "confirmed", "not_confirmed"] {
                for merchant in ["", "main"] {
                    let wanted = [("state", state), ("type", kind), ("status", status), ("merchant", merchant)];
                    let is_meant =
                        |row: &&Value| wanted.iter().all(|(name, word)| word.is_empty() || row[*name] == **word);
                    let expected: Vec<Value> = all.iter().filter(is_meant).cloned().collect();
                    assert_eq!(pages(app, &wanted, "3").await, expected, "{wanted:?}");
                    found_any.extend(expected.first().map(|_| wanted));
                }
            }
        }
    }
    assert!(found_any.len() > 10, "the filters mean something");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_repeats_or_misses_a_callback_while_more_arrive_and_are_followed() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        for number in 0..40 {
            app.receive(&Deposit { number }.confirmed()).await;
        }
        until_followed(&app).await;
        for number in 40..60 {
            app.receive(&Deposit { number }.confirmed()).await;
        }
        for params in [vec![], vec![("q", "user-00")], vec![("foreign_id", "player-01")], vec![("type", "deposit")]] {
            let before = pages(&app, &params, "1000").await;
            assert!(before.len() >= 3);
            let (mut rows, mut after) = (Vec::new(), None::<String>);
            for number in 1_000.. {
                let mut params = [params.as_slice(), &[("limit", "2")]].concat();
                params.extend(after.as_deref().map(|after| ("after", after)));
                let page = page(&app, &params).await;
                rows.extend(page["data"].as_array().expect("a list").iter().cloned());
                let Some(next) = page["next"].as_str() else { break };
                after = Some(next.to_owned());
                app.receive(&Deposit { number: number * 20 }.confirmed()).await;
                app.receive(&Deposit { number: number * 20 + 1 }.confirmed()).await;
                if number % 5 == 0 {
                    until_followed(&app).await;
                }
            }
            assert_eq!(ids(&rows), ids(&before), "{backend:?} {params:?}");
        }
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_typed_is_a_text_to_look_for() {
    let long = "x".repeat(4_000);
    let typed = [
        "' OR 1=1 --",
        "\"; DROP TABLE callbacks; --",
        "%",
        "_",
        "*",
        "\\",
        "$1",
        "?",
        "{now}",
        "<script>alert(1)</script>",
        "\u{202e}player-00",
        "a\nb",
        "\n",
        "=1+1",
        "1e5",
        "-1",
        "9223372036854775808",
        "99999999999999999999999999999999999999999",
        "0.0000000000000000001",
        &long,
    ];
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        app.receive(&Deposit { number: 0 }.confirmed()).await;
        for round in ["not followed", "followed"] {
            for text in typed {
                for name in ["q", "foreign_id", "type", "status"] {
                    if text == "\n" && name == "q" {
                        continue;
                    }
                    let found = page(&app, &[(name, text)]).await;
                    assert_eq!(found["data"], serde_json::json!([]), "{backend:?} {round} {name}={text}");
                }
            }
            until_followed(&app).await;
        }
        assert_eq!(app.get("/api/callbacks?q=%00", VIEWER).await.status, 400);
        assert_eq!(app.get("/api/callbacks?after=s12", VIEWER).await.status, 400);
        app.finish().await;
    }
}

/// Rows that a sequential scan of these tables has read so far.
async fn scanned(connection: &mut PgConnection) -> i64 {
    let sql = "SELECT coalesce(sum(seq_tup_read), 0)::bigint FROM pg_stat_user_tables
        WHERE relname IN ('callbacks', 'callback_terms', 'account_lines', 'journal', 'payments', 'customers')";
    sqlx::query_scalar(sql).fetch_one(connection).await.expect("the statistics")
}

async fn searches(connection: &mut PgConnection) -> i64 {
    let sql = "SELECT coalesce(sum(idx_scan), 0)::bigint FROM pg_stat_user_tables WHERE relname = 'callback_terms'";
    sqlx::query_scalar(sql).fetch_one(connection).await.expect("the statistics")
}

/// A table of 200,000 callbacks, and what PostgreSQL itself counts while it is searched.
#[tokio::test(flavor = "multi_thread")]
async fn lists_and_searches_go_by_an_index() {
    let app = TestApp::start(Backend::Postgres).await;
    app.receive(&Deposit { number: 0 }.confirmed()).await;
    until_followed(&app).await;
    let mut connection = PgConnection::connect(&app.url).await.expect("a connection");
    for sql in [
        "INSERT INTO callbacks SELECT id, 1, 1, 1, NULL, 0, 0, id, id, 0, NULL, NULL, id, id,
            sha256(id::text::bytea), sha512(id::text::bytea), CASE WHEN id % 50000 = 0 THEN 'exchange' ELSE 'deposit' END,
            'confirmed', id::text, 'player-' || id % 5000, 'user-' || id % 5000, 'address-' || id, 'tx-' || id,
            NULL, '{}', NULL, 0 FROM generate_series(1000, 200999) AS id",
        "INSERT INTO callback_terms SELECT id * 7919, id FROM generate_series(1000, 200999) AS id",
        "UPDATE cursors SET position = 200999 WHERE name = 'terms'",
        "ANALYZE",
    ] {
        sqlx::query(sql).execute(&mut connection).await.expect("rows are made");
    }
    let (before, searched) = (scanned(&mut connection).await, searches(&mut connection).await);
    for query in
        ["q=tx-150000", "q=user-00", "foreign_id=player-00", "type=exchange", "state=held", "state=ignored", ""]
    {
        let answer = app.get(&format!("/api/callbacks?{query}"), VIEWER).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.json);
    }
    for path in ["/api/payments", "/api/customers?q=user-00", "/api/customers/1/statement", "/api/accounts/1/postings"]
    {
        assert_eq!(app.get(path, VIEWER).await.status, 200, "{path}");
    }
    // What a connection counts, it tells after a moment.
    eventually("the searches are counted", Duration::from_secs(120), async || {
        (searches(&mut connection).await >= searched + 3).then_some(())
    })
    .await;
    let read = scanned(&mut connection).await.saturating_sub(before);
    assert!(read < 10_000, "{read} rows were read one after the other");
}
