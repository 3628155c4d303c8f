//! Claims about hiding customers' references: no page tells one in full, searches by the exact reference go on working,
//! and bodies, which name the customer, are for operators.

use serde_json::json;
use tallyhook::http::page::show::Names;

use crate::page::Browser;
use crate::support::{Backend, OPERATOR, TestApp, VIEWER};
use crate::wire::fixture;

stories!(no_page_tells_a_reference_in_full);

const HIDE: (&str, &str) = ("TALLYHOOK_PAGE__HIDE_REFERENCES", "true");
/// Of what `data` sends.
const REFERENCES: [&str; 5] = ["player-7002", "customer-7002", "player-7207", "payout:7207", "customer-late"];
const PAGES: &[&str] = &[
    "/",
    "/live/tail",
    "/callbacks",
    "/callbacks/1",
    "/callbacks/2",
    "/callbacks/3",
    "/payments",
    "/payments/1",
    "/customers",
    "/customers/1",
    "/withdrawals",
    "/addresses",
    "/held",
    "/held?state=all",
    "/proposals",
    "/events",
    "/replays",
    "/replays/1",
    "/rejected",
    "/audit",
];

/// A credit, a withdrawal of somebody unknown, money in suspense that is to be the first one's, and a replay.
async fn data(app: &TestApp) -> String {
    assert_eq!(app.receive(&fixture("deposit-confirmed-btc")).await, 200);
    assert_eq!(app.receive(&fixture("withdrawal-confirmed-btc")).await, 200);
    let late = fixture("deposit-confirmed-btc").replace("48120148", "48120149").replace("c56e5183", "c56e5184");
    let late = late.replace("\"player-7002\"", "\"player-7207\"").replace("customer-7002", "customer-late");
    assert_eq!(app.receive(&late).await, 200);
    let nobody = fixture("deposit-confirmed-btc").replace("48120148", "48120150").replace("c56e5183", "c56e5185");
    let nobody = nobody.replace("\"player-7002\"", "null").replace("\"customer-7002\"", "null");
    assert_eq!(app.receive(&nobody).await, 200);
    let rows = app.rows("/api/discrepancies?reason=customer_missing").await;
    let id = rows[0]["id"].as_str().expect("an id").to_owned();
    let body = json!({"action": "assign", "customer": {"end_user_reference": "player-7002"}, "note": "theirs"});
    let asked = app.send_json(&format!("/api/discrepancies/{id}/resolve"), OPERATOR, &body).await;
    assert_eq!(asked.status, 202, "{}", asked.json);
    assert_eq!(app.send_json("/api/replays", OPERATOR, &json!({"reason": "to see"})).await.status, 201);
    id
}

async fn no_page_tells_a_reference_in_full(backend: Backend) {
    let app = TestApp::with(backend, &[HIDE]).await;
    let id = data(&app).await;
    let own = format!("/held/{id}");
    for token in [VIEWER, OPERATOR] {
        let mut browser = Browser::logged_in(&app, token).await;
        for path in PAGES.iter().copied().chain([own.as_str()]) {
            let seen = browser.get(path).await;
            assert_eq!(seen.status, 200, "{path}");
            for reference in REFERENCES {
                assert!(!seen.text.contains(reference), "{path} tells {reference}: {}", seen.text);
            }
        }
        for (path, short) in [("/callbacks", "pl…02"), ("/customers", "pl…02"), ("/proposals", "end user pl…02")]
        {
            let seen = browser.get(path).await;
            assert!(seen.text.contains(short), "{path}: {}", seen.text);
        }
        let seen = browser.get("/callbacks?q=player-7002").await.text;
        assert!(seen.contains("href=\"/callbacks/1\"") && !seen.contains("href=\"/callbacks/2\""), "{seen}");
        let seen = browser.get("/customers?q=customer-7002").await.text;
        assert!(seen.contains("href=\"/customers/1\""), "{seen}");
        let body = browser.get("/callbacks/1/body").await;
        if token == VIEWER {
            assert_eq!(body.status, 403, "a body names its customer");
        } else {
            assert_eq!((body.status, body.text), (200, fixture("deposit-confirmed-btc")));
        }
        let link = "href=\"/callbacks/1/body\"";
        assert_eq!(browser.get("/callbacks/1").await.text.contains(link), token == OPERATOR);
    }
    app.finish().await;

    let app = TestApp::start(backend).await;
    data(&app).await;
    let mut viewer = Browser::logged_in(&app, VIEWER).await;
    for path in ["/callbacks", "/callbacks/1", "/customers", "/proposals"] {
        let seen = viewer.get(path).await.text;
        assert!(seen.contains("player-7002") && !seen.contains("pl…02"), "{path}: {seen}");
    }
    assert_eq!(viewer.get("/callbacks/1/body").await.status, 200);
    app.finish().await;
}

#[test]
fn references_within_a_text_of_ours_are_shortened_too() {
    let text = |first: &str, second: &str| {
        format!(r#"assign {{"customer":{{"end_user_reference":"{first}"}},"or":{{"foreign_id":"{second}"}}}}: note"#)
    };
    let short = Names { is_short: true };
    assert_eq!(short.within(text("player-7002", r#"a \" quoted \\ one"#)), text("pl…02", "a …ne"));
    assert_eq!(short.within("nothing of the kind".to_owned()), "nothing of the kind");
    assert_eq!(Names { is_short: false }.within(text("player-7002", "b")), text("player-7002", "b"));
}

#[test]
fn the_ends_of_a_reference_are_shown_and_never_most_of_it() {
    for (reference, shown) in [
        ("", "…"),
        ("ada", "…"),
        ("anna", "a…a"),
        ("1234567", "1…7"),
        ("12345678", "12…78"),
        ("player-7002", "pl…02"),
        ("日本語の参照です", "日本…です"),
    ] {
        assert_eq!(Names { is_short: true }.show(reference.to_owned()), shown);
        assert_eq!(Names { is_short: false }.show(reference.to_owned()), reference);
    }
}
