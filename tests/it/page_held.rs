//! Claims about the pages of what is held: two people move money with plain forms, nobody alone, and what a body or a
//! person says is shown as text. On both databases.

use serde_json::json;
use tallyhook::cli::serve::Part;

use crate::page::{Browser, Seen};
use crate::resolution::{AFTER, BEFORE, SECOND, deposit, with_suspense};
use crate::support::{APPROVER, Backend, OPERATOR, TestApp, VIEWER};

stories!(
    two_people_assign_suspense_with_forms,
    whoever_asked_is_refused_and_told_so,
    a_held_callback_is_owned_talked_about_and_ended,
    a_replay_is_watched_and_stopped_and_the_log_tells_by_whom,
);

const APPROVE: &str = "action=\"/proposals/1/approve\"";
const ASSIGN: [(&str, &str); 4] =
    [("action", "assign"), ("by", "end_user_reference"), ("customer", "ada"), ("note", "ticket <7>")];

/// Sends a form of the page at `shown` to `path`.
async fn fill(browser: &mut Browser<'_>, shown: &str, path: &str, fields: &[(&str, &str)]) -> Seen {
    let csrf = browser.get(shown).await.csrf();
    browser.post(path, &[&[("csrf", csrf.as_str())], fields].concat(), &[]).await
}

fn goes_to(seen: &Seen, path: &str) {
    let location = seen.headers.get("location").and_then(|value| value.to_str().ok());
    assert_eq!((seen.status, location), (303, Some(path)), "{}", seen.text);
}

async fn two_people_assign_suspense_with_forms(backend: Backend) {
    let (app, id) = with_suspense(backend, &[]).await;
    let (page, resolve) = (format!("/held/{id}"), format!("/held/{id}/resolve"));
    let mut viewer = Browser::logged_in(&app, VIEWER).await;
    let list = viewer.get("/held").await;
    for told in [&page, "customer missing", "The body names no customer at all", "0.1 BTC"] {
        assert!(list.status == 200 && list.text.contains(told), "{told}: {}", list.text);
    }
    let seen = viewer.get(&page).await;
    for told in ["/callbacks/2/body", "Signature", "suspense", "tx-2", "0.1 BTC"] {
        assert!(seen.text.contains(told), "{told}: {}", seen.text);
    }
    assert!(!seen.text.contains("action=\"/held/"), "a viewer gets no form");
    assert_eq!(fill(&mut viewer, &page, &resolve, &ASSIGN).await.status, 403, "nor may one send it");

    let mut ops = Browser::logged_in(&app, OPERATOR).await;
    assert_eq!(ops.post(&resolve, &ASSIGN, &[]).await.status, 403, "not without the page's own token");
    let seen = fill(&mut ops, &page, &resolve, &[("action", "assign"), ("note", "whose?")]).await;
    assert!(seen.status == 400 && seen.text.contains("role=\"alert\">Nothing was done"), "{}", seen.text);
    goes_to(&fill(&mut ops, &page, &resolve, &ASSIGN).await, &format!("{page}?done=proposed"));
    let seen = ops.get(&format!("{page}?done=proposed")).await;
    assert!(seen.text.contains("nothing has moved") && seen.text.contains("ticket &#60;7&#62;"), "{}", seen.text);
    assert!(!seen.text.contains(APPROVE), "{}", seen.text);
    let seen = fill(&mut ops, &page, &resolve, &ASSIGN).await;
    assert!(seen.status == 409 && seen.text.contains("another proposal"), "{}", seen.text);
    assert_eq!(fill(&mut ops, &page, "/proposals/1/approve", &[]).await.status, 403, "an operator lets nothing pass");
    assert_eq!(app.ledger().await, BEFORE);

    let mut boss = Browser::logged_in(&app, APPROVER).await;
    let waiting = boss.get("/proposals").await;
    assert!(waiting.text.contains(APPROVE) && waiting.text.contains("Assign to end user ada"), "{}", waiting.text);
    goes_to(&fill(&mut boss, "/proposals", "/proposals/1/approve", &[]).await, &format!("{page}?done=resolved"));
    assert_eq!(app.ledger().await, AFTER);
    assert!(boss.get("/held").await.text.contains("Nothing to look at."));
    assert!(boss.get("/held?state=resolved").await.text.contains(&page));
    let seen = boss.get(&page).await;
    assert!(seen.text.contains("badge-resolved") && seen.text.contains("<dd>boss</dd>"), "{}", seen.text);
    assert!(!seen.text.contains(&resolve), "what is resolved has no such form");
    let again = fill(&mut boss, &page, "/proposals/1/approve", &[]).await;
    assert_eq!((again.status, app.ledger().await.as_str()), (303, AFTER), "again moves nothing");
    app.finish().await;
}

async fn whoever_asked_is_refused_and_told_so(backend: Backend) {
    let (app, id) = with_suspense(backend, &[]).await;
    let page = format!("/held/{id}");
    let mut boss = Browser::logged_in(&app, APPROVER).await;
    goes_to(&fill(&mut boss, &page, &format!("{page}/resolve"), &ASSIGN).await, &format!("{page}?done=proposed"));
    for path in [page.as_str(), "/proposals"] {
        let seen = boss.get(path).await;
        assert!(!seen.text.contains(APPROVE) && seen.text.contains("You asked for this"), "{path}: {}", seen.text);
    }
    let seen = fill(&mut boss, &page, "/proposals/1/approve", &[]).await;
    let alert = "be the one who lets it pass: another approver must</p>";
    assert!(seen.status == 403 && seen.text.contains("role=\"alert\"") && seen.text.contains(alert), "{}", seen.text);
    assert_eq!(app.ledger().await, BEFORE);

    let mut chief = Browser::logged_in(&app, SECOND).await;
    assert!(chief.get(&page).await.text.contains(APPROVE), "another approver has the button");
    goes_to(&fill(&mut chief, &page, "/proposals/1/refuse", &[]).await, &format!("{page}?done=refused"));
    let seen = fill(&mut chief, &page, "/proposals/1/approve", &[]).await;
    assert!(seen.status == 409 && seen.text.contains("this proposal was refused"), "{}", seen.text);
    assert_eq!(app.ledger().await, BEFORE);
    app.finish().await;
}

async fn a_held_callback_is_owned_talked_about_and_ended(backend: Backend) {
    let one = "available  ada              BTC    0.5\nprocessor  -                BTC    0.5";
    let two = "available  ada              BTC    1\nprocessor  -                BTC    1";
    let cases: [(&[(&str, &str)], &str); 3] = [
        (&[("action", "book_anyway"), ("note", "two payments indeed")], two),
        (&[("action", "ignore"), ("note", "sent twice by mistake")], one),
        (&[("action", "link"), ("payment_type", "deposit"), ("payment_id", "7000001"), ("note", "the same")], one),
    ];
    for (fields, ledger) in cases {
        let app = TestApp::start(backend).await;
        assert_eq!(app.receive(&deposit(7_000_001, Some("ada"), "0.5", "tx-1")).await, 200);
        assert_eq!(app.receive(&deposit(7_000_002, Some("ada"), "0.5", "tx-1")).await, 200);
        let mut ops = Browser::logged_in(&app, OPERATOR).await;
        let list = ops.get("/held").await.text;
        assert!(list.contains("possible duplicate") && list.contains("0.5 BTC"), "{list}");
        let (_, rest) = list.split_once("<a href=\"/held/").expect("a discrepancy");
        let page = format!("/held/{}", rest.split('"').next().expect("an id"));
        goes_to(
            &fill(&mut ops, &page, &format!("{page}/owner"), &[("owner", "ops")]).await,
            &format!("{page}?done=owned"),
        );
        assert!(ops.get("/held?owner=ops").await.text.contains(&page));
        assert!(!ops.get("/held?owner=mia").await.text.contains(&page));
        let said = [("text", "<script>alert(1)</script>")];
        goes_to(&fill(&mut ops, &page, &format!("{page}/comments"), &said).await, &format!("{page}?done=noted"));
        let seen = ops.get(&page).await.text;
        assert!(seen.contains("&#60;script&#62;alert(1)") && !seen.contains("<script>alert"), "{seen}");
        let empty = fill(&mut ops, &page, &format!("{page}/comments"), &[("text", " ")]).await;
        assert!(empty.status == 400 && empty.text.contains("must say something"), "{}", empty.text);

        let seen = fill(&mut ops, &page, &format!("{page}/resolve"), fields).await;
        assert_eq!(seen.status, 303, "{fields:?}: {}", seen.text);
        if ledger == two {
            assert_eq!(app.ledger().await, one, "it waits for a second person");
            let mut boss = Browser::logged_in(&app, APPROVER).await;
            goes_to(&fill(&mut boss, &page, "/proposals/1/approve", &[]).await, &format!("{page}?done=resolved"));
        }
        assert_eq!(app.ledger().await, ledger, "{fields:?}");
        assert!(ops.get(&page).await.text.contains("badge-resolved"), "{fields:?}");
        app.finish().await;
    }
}

async fn a_replay_is_watched_and_stopped_and_the_log_tells_by_whom(backend: Backend) {
    let app = TestApp::start_as(backend, Part::Receive).await;
    assert_eq!(app.receive(&deposit(7_000_001, Some("ada"), "0.5", "tx-1")).await, 200);
    let asked = app.send_json("/api/replays", OPERATOR, &json!({"reason": "just to <see>"})).await;
    assert_eq!(asked.status, 201, "{}", asked.json);
    let page = format!("/replays/{}", asked.json["id"].as_str().expect("an id"));
    let stop = format!("{page}/stop");
    let mut viewer = Browser::logged_in(&app, VIEWER).await;
    let list = viewer.get("/replays").await.text;
    assert!(list.contains(&format!("href=\"{page}\"")) && list.contains("just to &#60;see&#62;"), "{list}");
    let seen = viewer.get(&page).await.text;
    assert!(seen.contains("badge-running") && seen.contains("<progress") && !seen.contains(&stop), "{seen}");
    assert_eq!(fill(&mut viewer, &page, &stop, &[]).await.status, 403);
    let mut ops = Browser::logged_in(&app, OPERATOR).await;
    assert!(ops.get(&page).await.text.contains(&stop));
    goes_to(&fill(&mut ops, &page, &stop, &[]).await, &page);
    let seen = ops.get(&page).await.text;
    assert!(seen.contains("badge-stopped") && seen.contains("<dd>ops</dd>") && !seen.contains(&stop), "{seen}");
    let log = viewer.get("/audit").await.text;
    for told in ["replay.ask", "replay.stop", "just to &#60;see&#62;"] {
        assert!(log.contains(told), "{told}: {log}");
    }
    let log = viewer.get("/audit?action=replay.stop").await.text;
    assert!(log.contains("replay.stop") && !log.contains("replay.ask"), "{log}");
    app.finish().await;
}
