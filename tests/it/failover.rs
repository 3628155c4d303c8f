//! PostgreSQL fails over to a standby that lacks the last commits: what was answered and lost there is AlphaPo's to repeat
//! and ours to find, but nothing that comes afterwards may be skipped, and nothing that went out may look as if it had not.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use futures_util::FutureExt as _;
use sea_orm::ConnectionTrait as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tallyhook::cli::serve::Part;
use tallyhook::store::{Db, cursor};

use crate::resolution::deposit;
use crate::support::merchant::{accepted, beside, fund, post, state, withdrawal};
use crate::support::process::eventually;
use crate::support::queue::{CREDITED, drain};
use crate::support::servers::{fresh_vhost, postgres_url};
use crate::support::upstream::{Reply, Seen, Upstream};
use crate::support::{Backend, OPERATOR, TestApp, launch};

const PATIENCE: Duration = Duration::from_secs(120);

const STUCK: &str = "CREATE FUNCTION stuck() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'not now'; END $$;
    CREATE TRIGGER stuck BEFORE UPDATE ON cursors FOR EACH ROW
        WHEN (NEW.name = 'rabbitmq' AND NEW.position > OLD.position) EXECUTE FUNCTION stuck()";

/// The server beside its databases.
struct Server(PgConnection);

impl Server {
    async fn reach() -> Self {
        Self(PgConnection::connect(&format!("{}/postgres", postgres_url())).await.expect("PostgreSQL answers"))
    }

    async fn run(&mut self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.0).await.expect("PostgreSQL does it");
    }

    /// Nobody is connected any more, and nobody can be.
    async fn cut(&mut self, name: &str) {
        self.run(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
        self.run(format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")).await;
    }

    /// A standby has all of it, from now on without what follows.
    async fn copy(&mut self, name: &str) {
        self.cut(name).await;
        self.run(format!("CREATE DATABASE {name}_standby TEMPLATE {name}")).await;
        self.run(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
    }

    /// The standby takes its place.
    async fn fail_over(&mut self, name: &str) {
        self.cut(name).await;
        self.run(format!("ALTER DATABASE {name} RENAME TO {name}_lost")).await;
        self.run(format!("ALTER DATABASE {name}_standby RENAME TO {name}")).await;
    }
}

async fn receive(app: &TestApp, ids: std::ops::RangeInclusive<u32>) {
    for id in ids {
        let body = deposit(id, Some(&format!("user-{id}")), "0.1", &format!("tx-{id}"));
        // As AlphaPo does it: again, until it is taken.
        eventually("it is taken", PATIENCE, async || (app.receive(&body).await == 200).then_some(())).await;
    }
}

async fn is_at(app: &TestApp, position: i64) {
    let db = &app.running.as_ref().expect("it runs").app.db;
    eventually(&format!("the cursor is at {position}"), PATIENCE, async || {
        cursor::state(db, cursor::RABBITMQ).await.ok().filter(|state| state.position == position)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_booked_after_commits_were_lost_is_published_all_the_same() {
    let app = TestApp::start_as(Backend::Postgres, Part::Receive).await;
    let name = app.url.rsplit_once('/').expect("a database's name").1.to_owned();
    let mut server = Server::reach().await;
    let amqp = fresh_vhost();
    let publishing = launch(&app.url, &[("AMQP_URL", &amqp)]).await;
    receive(&app, 1..=3).await;
    is_at(&app, 3).await;
    server.copy(&name).await;

    // Published and confirmed, but that can't be stored.
    let mut other = PgConnection::connect(&app.url).await.expect("PostgreSQL answers");
    sqlx::raw_sql(STUCK).execute(&mut other).await.expect("a trigger");
    let before = publishing.app.metrics.events_published.get();
    receive(&app, 4..=6).await;
    eventually("three more are confirmed", PATIENCE, async || {
        (publishing.app.metrics.events_published.get() >= before + 3).then_some(())
    })
    .await;
    server.fail_over(&name).await;

    // Positions 4 to 6 are given a second time.
    receive(&app, 14..=16).await;
    is_at(&app, 6).await;
    let told: Vec<_> = drain(&amqp, CREDITED).await.into_iter().map(|message| message.bytes).collect();
    for user in [1, 2, 3, 4, 5, 6, 14, 15, 16] {
        let name = format!("\"user-{user}\"");
        assert!(told.iter().any(|bytes| bytes.contains(&name)), "nobody was told of {name}: {told:?}");
    }
    publishing.app.stop.cancel();
    assert_eq!(publishing.until_stopped().await.expect("it stops in order"), 0);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cursor_of_publishing_never_passes_the_end_of_the_journal() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let app = TestApp::start_as(backend, Part::Receive).await;
        receive(&app, 1..=2).await;
        let db = Db::lazy(&app.url, 1).await.expect("a database");
        let taken = cursor::take_lease(&db, cursor::RABBITMQ, "a replica", 60_000_000).await;
        assert_eq!(taken.expect("the database answers"), Some(0));
        for (position, is_moved) in [(3, false), (2, true)] {
            let moved = cursor::advance(&db, cursor::RABBITMQ, "a replica", position, 60_000_000).await;
            assert_eq!(moved.expect("the database answers"), is_moved, "to {position} of 2");
        }
        app.finish().await;
    }
}

/// When it is let, it takes `w-1`, and says nothing of `w-2`; it knows of none afterwards.
fn forgetful(seen: &Seen, is_let: &Mutex<mpsc::Receiver<()>>) -> Reply {
    if seen.path != "/api/v2/withdrawal/crypto" {
        return Reply::Json(404, r#"{"error":"Not found","code":"not_found"}"#.into());
    }
    let is_let = is_let.lock().expect("no test panics while it holds this");
    tokio::task::block_in_place(|| is_let.recv_timeout(PATIENCE)).expect("it is let");
    if String::from_utf8_lossy(&seen.body).contains("w-1") {
        return Reply::Json(201, accepted(7, "w-1"));
    }
    Reply::Break
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_never_looks_as_if_it_was_not() {
    let (let_it, is_let) = mpsc::channel();
    let is_let = Mutex::new(is_let);
    let upstream = Upstream::start(move |seen| forgetful(seen, &is_let)).await;
    let patient = [("TALLYHOOK_ALPHAPO__TIMEOUT_MS", "60000"), ("TALLYHOOK_OUTBOUND__MISSING_S", "1")];
    let app = beside(Backend::Postgres, &upstream, &patient).await;
    fund(&app, "2").await;
    let db = &app.running.as_ref().expect("it runs").app.db;
    for (count, name, becomes) in [(1, "w-1", "pending"), (2, "w-2", "unknown")] {
        let body = withdrawal(name, "user-1", "1");
        let mut call = Box::pin(post(&app, "/withdrawal/crypto", &body)).fuse();
        let is_asked = eventually("the processor is asked", PATIENCE, async || {
            (upstream.seen_at("/withdrawal/crypto").len() == count).then_some(())
        });
        tokio::select! {
            () = is_asked => {}
            reply = &mut call => panic!("too early: {reply:?}"),
        }
        // The commit by which it was taken is lost.
        let sql = format!("UPDATE withdrawals SET state = 1, sent_us = NULL WHERE foreign_id = '{name}'");
        assert_eq!(db.orm.execute_unprepared(&sql).await.expect("SQL").rows_affected(), 1);
        let_it.send(()).expect("the processor waits");
        call.await;
        assert_eq!(state(&app, name).await, becomes);
    }
    let missing = async || {
        let shown = app.get("/api/outbound", OPERATOR).await.json;
        (shown["withdrawals"]["missing"] == 1).then_some(())
    };
    eventually("the processor knew nothing of it several times", PATIENCE, missing).await;
    assert_eq!(state(&app, "w-2").await, "unknown");
    let ledger = app.ledger().await;
    assert!(ledger.contains("held       user-1           BTC    2\n"), "nothing comes back by itself: {ledger}");
    app.finish().await;
}
