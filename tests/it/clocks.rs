//! Claims about clocks that are wrong: a process that would write times yet to come does not start, and such times in the
//! tables stop nobody else.

use reqwest::StatusCode;
use sea_orm::{ConnectionTrait as _, Statement};
use tallyhook::cli::serve::Part;
use tallyhook::store::asks::{Ages, enrol};
use tallyhook::store::{Db, cursor};

use crate::checks::untie;
use crate::support::deposits::Deposit;
use crate::support::process::Deployment;
use crate::support::servers::fresh_database;
use crate::support::{Backend, TestApp};

const BOTH: [Backend; 2] = [Backend::Sqlite, Backend::Postgres];
const HOUR_US: i64 = 3_600_000_000;
const YEARS_US: i64 = 10 * 365 * 24 * HOUR_US;

/// Sets PostgreSQL's clock forward by that, for the next connections to this database.
pub(crate) fn shifted(database: &str, by: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql
            AS 'SELECT pg_catalog.clock_timestamp() + interval ''{by}''';
         ALTER DATABASE {database} SET search_path TO public, pg_catalog"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_hours_away_from_the_databases_is_refused() {
    let deployment = Deployment::on(&fresh_database().await).migrated();
    let db = Db::lazy(deployment.setting("DATABASE_URL"), 1).await.expect("a database");
    let name = deployment.setting("DATABASE_URL").rsplit_once('/').expect("a database's name").1;
    for (hours, side) in [(-2, "ahead of"), (2, "behind")] {
        let clock = shifted(name, &format!("{hours} hours"));
        db.orm.execute_unprepared(&clock).await.expect("a clock");
        let refused = deployment.run(&["serve"]);
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        let last = refused.stderr.lines().last().unwrap_or_default();
        assert!(last.contains(&format!("s {side} the database's")) && last.contains("NTP"), "{last}");
        let seconds = last.split(' ').find_map(|word| word.parse::<u32>().ok()).expect("how far");
        assert!((7_100..7_300).contains(&seconds), "{last}");
    }
    db.orm.execute_unprepared("DROP FUNCTION public.clock_timestamp()").await.expect("the true clock");
    assert_eq!(deployment.serve().await.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_was_taken_in_years_to_come_keeps_nobody_from_the_next() {
    for backend in BOTH {
        let app = TestApp::start_as(backend, Part::Receive).await;
        let db = Db::lazy(&app.url, 1).await.expect("a database");
        for name in ["checks", "reconcile"] {
            let take = async |owner: &str| {
                cursor::take_turn(&db, name, owner, HOUR_US, 60_000_000).await.expect("the database answers")
            };
            let first = take("one").await.expect("it was never done");
            assert_eq!((first.done_us, take("another").await), (0, None), "{name}: one at a time");
            cursor::end_turn(&db, name, "one", first).await.expect("the database answers");
            assert_eq!(take("another").await, None, "{name}: an hour has not passed");
            let sql = format!("UPDATE cursors SET position = position + {YEARS_US} WHERE name = '{name}'");
            db.orm.execute_unprepared(&sql).await.expect("SQL");
            let next = take("another").await.expect("a time yet to come counts as never");
            cursor::end_turn(&db, name, "another", next).await.expect("the database answers");
            let state = cursor::state(&db, name).await.expect("the database answers");
            assert_eq!((state.position, state.owner.as_str()), (next.now_us, ""), "{name}: it is set right");
        }
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_years_to_come_hides_no_overdue_payment() {
    for backend in BOTH {
        let app = TestApp::start_as(backend, Part::Receive).await;
        for number in [1, 2] {
            assert_eq!(app.receive(&Deposit { number }.announced()).await, StatusCode::OK);
        }
        untie(&app, backend).await;
        let app_of = &app.running.as_ref().expect("it runs").app;
        let db = &app_of.db.orm;
        let shift = async |by_us: i64| {
            let sql = format!("UPDATE journal SET at_us = at_us + {by_us} WHERE position = 1");
            db.execute_unprepared(&sql).await.expect("SQL");
        };
        shift(YEARS_US).await;
        let ages = Ages { deposit_us: Some(HOUR_US), withdrawal_us: None, invoice_us: None, exchange_us: None };
        let later_us = (app_of.clock)() + 2 * HOUR_US;
        enrol(&app_of.db, &ages, later_us).await.expect("the database answers");
        let sql = "SELECT count(*) FROM asks";
        let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await.expect("SQL");
        let count: i64 = row.expect("a row").try_get_by_index(0).expect("a number");
        assert_eq!(count, 2, "{backend:?}");
        shift(-YEARS_US).await;
        app.finish().await;
    }
}
