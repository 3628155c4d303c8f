//! A withdrawal goes out at most once, whatever happens around it, and its money is free only when it is certain that
//! nothing went out.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sea_orm::ConnectionTrait as _;
use serde_json::json;
use sha2::{Digest, Sha256};
use tallyhook::app::App;
use tallyhook::domain::amount::Amount;
use tallyhook::domain::customer::ReferenceKind;
use tallyhook::domain::ids::MerchantId;
use tallyhook::domain::order::{Api, Order, Withdrawal};
use tallyhook::outbound::withdrawals::{Fate, Outgoing, send};
use tallyhook::store::withdrawals as store;

use crate::support::merchant::{APPROVER, HASTY, accepted, beside, fund, post, processor, spoken, state, withdrawal};
use crate::support::process::{Deployment, KEY, eventually};
use crate::support::upstream::{Reply, Seen, Upstream};
use crate::support::{Backend, OPERATOR, SECRET, TestApp};

const MAIN: MerchantId = MerchantId(1);
const PATIENCE: Duration = Duration::from_secs(120);
/// What the resolver gives up on soon.
const IMPATIENT: [(&str, &str); 3] =
    [("TALLYHOOK_OUTBOUND__STUCK_S", "1"), ("TALLYHOOK_OUTBOUND__MISSING_S", "1"), HASTY];

fn app_of(app: &TestApp) -> Arc<App> {
    Arc::clone(&app.running.as_ref().expect("it runs").app)
}

/// Books the intent, and nothing more: what a process leaves that dies before it sends.
async fn request(app: &TestApp, foreign_id: &str, amount: &str) -> Outgoing {
    let order = Order::Withdrawal(Withdrawal {
        foreign_id: foreign_id.to_owned(),
        customer: Some((ReferenceKind::EndUserReference, "user-1".to_owned())),
        currency: "BTC".to_owned(),
        amount: Amount::parse(amount).expect("an amount"),
        currency_to: None,
        address: "115Mn1jCjBh1CNqug7yAB21Hq2rw8PfmTA".to_owned(),
        tag: None,
        api: Api::Gateway,
        request_sha256: const_hex::encode(Sha256::digest(withdrawal(foreign_id, "user-1", amount))),
        request: withdrawal(foreign_id, "user-1", amount).into_bytes(),
    });
    let placed = app_of(app).booker.order(MAIN, order).await.expect("it is set aside");
    let foreign_id = foreign_id.to_owned();
    Outgoing { id: placed.id, merchant: MAIN, foreign_id, path: "/withdrawal/crypto".to_owned(), headers: None }
}

async fn until(app: &TestApp, foreign_id: &str, wanted: &str) {
    let what = format!("{foreign_id} is {wanted}");
    eventually(&what, PATIENCE, async || (state(app, foreign_id).await == wanted).then_some(())).await;
}

fn sent(upstream: &Upstream) -> usize {
    upstream.seen_at("/withdrawal/crypto").len()
}

/// Takes every withdrawal, and knows of none afterwards.
fn forgetful(seen: &Seen) -> Reply {
    match seen.path.as_str() {
        "/api/v2/withdrawal/crypto" => Reply::Hang,
        _ => Reply::Json(404, r#"{"error":"Not found","code":"not_found"}"#.into()),
    }
}

/// Executes a withdrawal and never says so; knows of it when it is asked.
fn silent(seen: &Seen) -> Reply {
    match seen.path.as_str() {
        "/api/v2/withdrawal/crypto" => Reply::Hang,
        _ => Reply::Json(200, spoken(7, "w-1", "1", "confirmed")),
    }
}

async fn a_thousand_at_once(backend: Backend) {
    let upstream = Upstream::always(Reply::Json(201, accepted(7, "w"))).await;
    let patient = ["ALPHAPO__TIMEOUT_MS", "LIMITS__HEAD_TIMEOUT_MS", "LIMITS__BODY_TIMEOUT_MS"];
    let patient = patient.map(|name| (format!("TALLYHOOK_{name}"), "60000"));
    let patient = patient.each_ref().map(|(name, value)| (name.as_str(), *value));
    let app = beside(backend, &upstream, &patient).await;
    fund(&app, "1").await;
    let posted = (0..1_000).map(async |number| {
        let body = withdrawal(&format!("w-{number}"), "user-1", "1");
        post(&app, "/withdrawal/crypto", &body).await.status
    });
    let statuses = join_all(posted).await;
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    // A database that is asked by too many at once says so (503): nothing was sent for those either.
    let refused = statuses.iter().filter(|status| matches!(status, 400 | 503)).count();
    assert_eq!((count(201), refused), (1, 999));
    assert!(count(400) > 500, "{} were told that there is not enough", count(400));
    assert_eq!(sent(&upstream), 1);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_withdrawals_of_the_full_balance_one_goes_out_on_postgres() {
    a_thousand_at_once(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_withdrawals_of_the_full_balance_one_goes_out_on_sqlite() {
    a_thousand_at_once(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_withdrawal_many_times_over_two_replicas_goes_out_once() {
    let upstream = Upstream::always(Reply::Late(200, Box::new(Reply::Json(201, accepted(7, "w-1"))))).await;
    let one = beside(Backend::Postgres, &upstream, &[]).await;
    let other = crate::support::launch(&one.url, &processor(&upstream.url)).await;
    let other_public = format!("http://{}", other.public.expect("it takes requests"));
    fund(&one, "5").await;
    let body = withdrawal("w-1", "user-1", "1");
    let signature = tallyhook::processor::signature::sign(&SECRET.into(), body.as_bytes());
    let posted = (0..100).map(async |number| {
        let public = if number % 2 == 0 { &one.public } else { &other_public };
        let request = one.client.post(format!("{public}/api/v2/withdrawal/crypto")).body(body.clone());
        let request = request.header("X-Processing-Key", KEY).header("X-Processing-Signature", &signature);
        let request = request.header("Content-Type", "application/json");
        request.send().await.expect("an answer").status().as_u16()
    });
    let statuses = join_all(posted).await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(sent(&upstream), 1);
    assert_eq!(state(&one, "w-1").await, "pending");
    other.app.stop.cancel();
    other.until_stopped().await.expect("it stops in order");
    one.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sent_by_hand_and_by_itself_it_goes_out_once() {
    let upstream = Upstream::always(Reply::Late(100, Box::new(Reply::Json(201, accepted(7, "w-1"))))).await;
    let app = beside(Backend::Sqlite, &upstream, &[]).await;
    fund(&app, "1").await;
    let outgoing = request(&app, "w-1", "1").await;
    let again = || Outgoing {
        foreign_id: outgoing.foreign_id.clone(),
        path: outgoing.path.clone(),
        headers: None,
        id: outgoing.id,
        merchant: MAIN,
    };
    let shared = app_of(&app);
    let fates = join_all((0..20).map(|_| send(&shared, again()))).await;
    let taken = fates.iter().filter(|fate| matches!(fate, Ok(Fate::Taken { .. }))).count();
    let elsewhere = fates.iter().filter(|fate| matches!(fate, Ok(Fate::Elsewhere))).count();
    assert_eq!((taken, elsewhere, sent(&upstream)), (1, 19, 1));
    drop(shared);
    app.finish().await;
}

/// The database tells what it changed, and then can't commit it. On SQLite that takes a disk that fails at that moment,
/// which no test makes: there it is the form of the statements that holds.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_committed_as_taken_is_not_sent() {
    let upstream = Upstream::always(Reply::Json(201, accepted(7, "w-1"))).await;
    let app = beside(Backend::Postgres, &upstream, &[]).await;
    fund(&app, "1").await;
    let outgoing = request(&app, "w-1", "1").await;
    let (id, foreign_id, path) = (outgoing.id, outgoing.foreign_id.clone(), outgoing.path.clone());
    let shared = app_of(&app);
    let broken =
        "CREATE FUNCTION no_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
        CREATE CONSTRAINT TRIGGER no_commit AFTER UPDATE ON withdrawals DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (NEW.state = 2) EXECUTE FUNCTION no_commit()";
    shared.db.orm.execute_unprepared(broken).await.expect("it can be broken");
    let fate = send(&shared, outgoing).await;
    assert!(fate.is_err(), "{fate:?}");
    assert_eq!((state(&app, "w-1").await, sent(&upstream)), ("requested", 0));
    shared.db.orm.execute_unprepared("DROP TRIGGER no_commit ON withdrawals").await.expect("it can be mended");
    let fate = send(&shared, Outgoing { id, merchant: MAIN, foreign_id, path, headers: None }).await;
    assert!(matches!(fate, Ok(Fate::Taken { .. })), "{fate:?}");
    assert_eq!((state(&app, "w-1").await, sent(&upstream)), ("pending", 1));
    drop(shared);
    app.finish().await;
}

async fn done_without_an_answer(backend: Backend) {
    let upstream = Upstream::start(silent).await;
    let app = beside(backend, &upstream, &[HASTY]).await;
    fund(&app, "1").await;
    let told = post(&app, "/withdrawal/crypto", &withdrawal("w-1", "user-1", "1")).await;
    assert_eq!(told.status, 504);
    until(&app, "w-1", "settled").await;
    assert_eq!(sent(&upstream), 1);
    assert_eq!(app.receive(&spoken(7, "w-1", "1", "confirmed")).await, 200, "the callback comes after all");
    assert_eq!(app.ledger().await, "");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_without_an_answer_is_found_by_asking_on_postgres() {
    done_without_an_answer(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_without_an_answer_is_found_by_asking_on_sqlite() {
    done_without_an_answer(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_is_faster_than_the_answer_ends_the_same() {
    let upstream = Upstream::always(Reply::Late(600, Box::new(Reply::Json(201, accepted(7, "w-1"))))).await;
    let app = beside(Backend::Postgres, &upstream, &[]).await;
    fund(&app, "1").await;
    let body = withdrawal("w-1", "user-1", "1");
    let callback = async {
        eventually("it is on its way", PATIENCE, async || (sent(&upstream) == 1).then_some(())).await;
        app.receive(&spoken(7, "w-1", "1", "confirmed")).await
    };
    let (told, called) = tokio::join!(post(&app, "/withdrawal/crypto", &body), callback);
    assert_eq!((told.status, called.as_u16()), (201, 200));
    assert_eq!((state(&app, "w-1").await, app.ledger().await.as_str()), ("settled", ""));
    app.finish().await;
}

/// A process that ended between the intent and the call: nothing went out, and nothing will.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_sent_comes_back_and_can_never_be_sent() {
    let upstream = Upstream::start(forgetful).await;
    let app = beside(Backend::Postgres, &upstream, &IMPATIENT).await;
    fund(&app, "1").await;
    let outgoing = request(&app, "w-1", "1").await;
    assert!(app.ledger().await.contains("held"));
    until(&app, "w-1", "failed").await;
    assert!(app.ledger().await.contains("available"), "{}", app.ledger().await);
    let late = send(&app_of(&app), outgoing).await;
    assert!(matches!(late, Ok(Fate::Elsewhere)), "{late:?}");
    assert_eq!(sent(&upstream), 0);
    app.finish().await;
}

/// A process that ended after it took the withdrawal: it may have gone out.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_gone_out_stays_set_aside_until_a_person_decides() {
    let upstream = Upstream::start(forgetful).await;
    let app =
        beside(Backend::Postgres, &upstream, &[&IMPATIENT[..], &[("TALLYHOOK_ADMIN__ALONE", "BTC=1")]].concat()).await;
    fund(&app, "1").await;
    let outgoing = request(&app, "w-1", "1").await;
    let taken = store::take(&app_of(&app).db, outgoing.id, (app_of(&app).clock)()).await.expect("a database");
    assert!(taken.is_some());
    until(&app, "w-1", "unknown").await;
    let path = format!("/api/withdrawals/{}/refund", outgoing.id);
    let why = json!({"note": "the processor's support says so"});
    assert_eq!(app.send_json(&path, OPERATOR, &why).await.status, 403, "an approver decides");
    assert_eq!(app.send_json(&path, APPROVER, &why).await.status, 422, "not yet missing");
    let missing = async || {
        let shown = app.get("/api/outbound", OPERATOR).await.json;
        (shown["withdrawals"]["missing"] == 1).then_some(())
    };
    eventually("the processor knew nothing of it several times", PATIENCE, missing).await;
    assert!(app.ledger().await.contains("held"), "nothing moves by itself");
    let told = async || (app.rows("/api/discrepancies?reason=withdrawal_missing").await.len() == 1).then_some(());
    eventually("people are told", PATIENCE, told).await;
    assert_eq!(app.send_json(&path, APPROVER, &json!({})).await.status, 400, "a reason is asked for");
    assert_eq!(app.send_json(&path, APPROVER, &why).await.status, 200);
    assert_eq!(state(&app, "w-1").await, "failed");
    assert!(app.ledger().await.contains("available"));
    assert_eq!(app.send_json(&path, APPROVER, &why).await.status, 409, "once");
    assert_eq!(sent(&upstream), 0);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_call_and_answer_it_is_found_by_asking() {
    let upstream = Upstream::start(silent).await;
    let mut deployment = Deployment::on_sqlite();
    for (name, value) in processor(&upstream.url).into_iter().chain(IMPATIENT) {
        deployment = deployment.set(name, value);
    }
    let deployment = deployment.set("TALLYHOOK_ALPHAPO__TIMEOUT_MS", "60000").migrated();
    let mut server = deployment.serve().await;
    let deposit = json!({
        "id": 900, "end_user_reference": "user-1", "type": "deposit", "crypto_address": {"currency": "BTC"},
        "currency_received": {"currency": "BTC", "amount": "1", "amount_minus_fee": "1"},
        "transactions": [], "fees": [], "error": "", "status": "confirmed",
    })
    .to_string();
    let posted = crate::support::sender::send(&deployment.client, deployment.public, deposit.as_bytes());
    assert_eq!(posted.await.map(|(status, _)| status), Some(200));
    let body = withdrawal("w-1", "user-1", "1");
    let signature = tallyhook::processor::signature::sign(&SECRET.into(), body.as_bytes());
    let request = deployment.client.post(format!("http://{}/api/v2/withdrawal/crypto", deployment.public)).body(body);
    let request = request.header("X-Processing-Key", KEY).header("X-Processing-Signature", signature);
    let asked = tokio::spawn(request.header("Content-Type", "application/json").send());
    eventually("it is on its way", PATIENCE, async || (sent(&upstream) == 1).then_some(())).await;
    server.signal("KILL");
    assert!(asked.await.expect("it ends").is_err(), "nobody answers");
    server.until_ended(PATIENCE).await;

    let server = deployment.serve().await;
    let settled = async || {
        let events = crate::support::books::feed(&deployment).await;
        events.values().any(|event| event.contains("withdrawal.settled")).then_some(())
    };
    eventually("it is settled", PATIENCE, settled).await;
    assert_eq!(sent(&upstream), 1);
    assert_eq!(server.terminate().await, Some(0));
    deployment.assert_ledger_verifies();
}
