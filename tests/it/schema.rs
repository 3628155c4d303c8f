//! The schema: the entities name exactly its columns, and the migrations go up, down and up again, on both databases.

use std::collections::BTreeSet;

use migration::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, IdenStatic, Iterable, QuerySelect, Statement,
};
use tallyhook::store::{Db, schema};

use crate::support::{fresh_folder, servers};

async fn databases() -> [Db; 2] {
    let sqlite = format!("sqlite://{}/schema.db?mode=rwc", fresh_folder().display());
    let open = async |url: &str| Db::lazy(url, 2).await.expect("a database");
    [open(&sqlite).await, open(&servers::fresh_database().await).await]
}

async fn columns(db: &DatabaseConnection, table: &str) -> BTreeSet<String> {
    let backend = db.get_database_backend();
    let sql = if backend == DbBackend::Postgres {
        format!("SELECT column_name::text FROM information_schema.columns WHERE table_name = '{table}'")
    } else {
        format!("SELECT name FROM pragma_table_info('{table}')")
    };
    let rows = db.query_all_raw(Statement::from_string(backend, sql)).await.expect("the columns");
    rows.iter().map(|row| row.try_get_by_index(0).expect("a name")).collect()
}

/// What only PostgreSQL has, and reads as the view `postings`.
const IN_ENTRIES: [&str; 3] = ["debits", "credits", "amounts"];

async fn fits<E: EntityTrait>(db: &DatabaseConnection, entity: E) {
    let mut ours: BTreeSet<_> = E::Column::iter().map(|column| column.as_str().to_owned()).collect();
    if db.get_database_backend() == DbBackend::Postgres && entity.table_name() == "journal" {
        ours.extend(IN_ENTRIES.map(str::to_owned));
    }
    assert_eq!(ours, columns(db, entity.table_name()).await, "{}", entity.table_name());
    E::find().limit(1).all(db).await.expect("a row can be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_entities_are_what_the_migrations_make() {
    for db in databases().await {
        schema::migrate(&db).await.expect("migrations apply");
        let orm = &db.orm;
        fits(orm, entity::account::Entity).await;
        fits(orm, entity::account_line::Entity).await;
        fits(orm, entity::address::Entity).await;
        fits(orm, entity::answer::Entity).await;
        fits(orm, entity::ask::Entity).await;
        fits(orm, entity::audit_entry::Entity).await;
        fits(orm, entity::callback::Entity).await;
        fits(orm, entity::callback_class::Entity).await;
        fits(orm, entity::callback_term::Entity).await;
        fits(orm, entity::check::Entity).await;
        fits(orm, entity::checked::Entity).await;
        fits(orm, entity::cursor::Entity).await;
        fits(orm, entity::customer::Entity).await;
        fits(orm, entity::customer_reference::Entity).await;
        fits(orm, entity::deposit_request::Entity).await;
        fits(orm, entity::discrepancy::Entity).await;
        fits(orm, entity::event_redelivery::Entity).await;
        fits(orm, entity::export::Entity).await;
        fits(orm, entity::export_row::Entity).await;
        fits(orm, entity::failure::Entity).await;
        fits(orm, entity::gateway_allocation::Entity).await;
        fits(orm, entity::gateway_invoice::Entity).await;
        fits(orm, entity::gateway_signature::Entity).await;
        fits(orm, entity::journal::Entity).await;
        fits(orm, entity::journal_head::Entity).await;
        fits(orm, entity::login_failure::Entity).await;
        fits(orm, entity::merchant::Entity).await;
        fits(orm, entity::outage::Entity).await;
        fits(orm, entity::outbound::Entity).await;
        fits(orm, entity::payment::Entity).await;
        fits(orm, entity::posting::Entity).await;
        fits(orm, entity::reception::Entity).await;
        fits(orm, entity::reconciled::Entity).await;
        fits(orm, entity::reconciliation::Entity).await;
        fits(orm, entity::discrepancy_note::Entity).await;
        fits(orm, entity::discrepancy_owner::Entity).await;
        fits(orm, entity::proposal::Entity).await;
        fits(orm, entity::redelivery::Entity).await;
        fits(orm, entity::retired_address::Entity).await;
        fits(orm, entity::session::Entity).await;
        fits(orm, entity::request::Entity).await;
        fits(orm, entity::withdrawal::Entity).await;
        fits(orm, entity::replay_change::Entity).await;
        fits(orm, entity::replay_job::Entity).await;
        fits(orm, entity::replay_sum::Entity).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_go_up_down_and_up_again() {
    for db in databases().await {
        schema::migrate(&db).await.expect("up");
        schema::migrate(&db).await.expect("up once more changes nothing");
        Migrator::down(&db.orm, None).await.expect("down");
        assert_eq!(schema::missing(&db).await.expect("a status"), Migrator::migrations().len());
        schema::migrate(&db).await.expect("up again");
        assert_eq!(schema::missing(&db).await.expect("a status"), 0);
    }
}

/// PostgreSQL keeps them in the journal's rows: whatever was a row of its own stays what it was, there and back.
#[tokio::test(flavor = "multi_thread")]
async fn postings_come_through_their_migration() {
    let [_, db] = databases().await;
    let all = Migrator::migrations();
    let place = all.iter().position(|one| one.name() == "m20261129_000002_postings_of_entries").expect("it is one");
    Migrator::up(&db.orm, Some(u32::try_from(place).expect("a few"))).await.expect("up to the one before");
    db.orm
        .execute_unprepared(
            "INSERT INTO journal (position, merchant_id, event, effect, postings, subject, callback_id, at_us, hash)
             SELECT i, 1, 2, 2, i % 3, i, i, 1, decode(repeat('00', 32), 'hex') FROM generate_series(1, 5) AS i;
             INSERT INTO postings VALUES (1, 1, 10, 20, 0.000000000000000001), (2, 2, 11, 20, 5), (2, 1, 12, 20, 7.5),
                (4, 1, 13, 20, 99999999999999999999.123456789012345678), (5, 1, 20, 10, 3), (5, 2, 20, 11, 1)",
        )
        .await
        .expect("rows");
    let postings = async || {
        let sql = "SELECT string_agg(concat_ws(' ', position, ordinal, debit_id, credit_id, amount), ', '
            ORDER BY position, ordinal) FROM postings";
        let row = db.orm.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await.expect("a question");
        row.expect("a row").try_get_by_index::<String>(0).expect("a text")
    };
    let before = postings().await;
    assert_eq!(before.split(", ").count(), 6, "{before}");
    Migrator::up(&db.orm, None).await.expect("up");
    assert_eq!(postings().await, before);
    let changed = db.orm.execute_unprepared("UPDATE journal SET amounts = NULL WHERE position = 2").await;
    assert!(changed.expect_err("append-only").to_string().contains("append-only"));
    for wrong in ["amounts = amounts[1:1]", "amounts[1] = 0", "amounts[1] = NULL", "credits = NULL"] {
        let sql = format!("ALTER TABLE journal DISABLE TRIGGER ALL; UPDATE journal SET {wrong} WHERE position = 2");
        let refused = db.orm.execute_unprepared(&sql).await.expect_err("an entry out of shape").to_string();
        assert!(refused.contains("journal_postings"), "{wrong}: {refused}");
    }
    Migrator::down(&db.orm, Some(u32::try_from(all.len() - place).expect("a few"))).await.expect("down");
    assert_eq!(postings().await, before);
    let changed = db.orm.execute_unprepared("DELETE FROM postings").await;
    assert!(changed.expect_err("append-only").to_string().contains("append-only"));
}

/// Autovacuum samples these tables while callbacks wait for the processor that it takes.
#[tokio::test(flavor = "multi_thread")]
async fn little_is_sampled_of_the_hot_tables() {
    let [_, db] = databases().await;
    let all = Migrator::migrations();
    let place = all.iter().position(|one| one.name() == "m20261130_000001_fewer_statistics").expect("it is one");
    Migrator::up(&db.orm, Some(u32::try_from(place).expect("a few"))).await.expect("up to the one before");
    db.orm
        .execute_unprepared(
            "INSERT INTO callbacks (id, merchant_id, family, state, policy, entries, locality, turn, position,
                received_us, decided_us, digest, signature, detail, headers, body)
             SELECT i, 1, 1, 1, 0, 0, i, i, i, 1, 1, decode(repeat('00', 32), 'hex'), decode(repeat('00', 64), 'hex'),
                'detail', '{}', 'a body' FROM generate_series(1, 100) AS i;
             ANALYZE callbacks",
        )
        .await
        .expect("rows");
    let sampled = async || {
        let sql =
            "SELECT count(*) FROM pg_stats WHERE tablename = 'callbacks' AND attname IN ('detail', 'headers', 'body')";
        let row = db.orm.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await.expect("a question");
        row.expect("a row").try_get_by_index::<i64>(0).expect("a number")
    };
    assert_eq!(sampled().await, 3);
    Migrator::up(&db.orm, None).await.expect("up");
    assert_eq!(sampled().await, 0, "a pruned body would stay there");
    db.orm.execute_unprepared("ANALYZE callbacks").await.expect("it is analysed");
    assert_eq!(sampled().await, 0);
    let names = async |filter: &str| {
        let sql = format!(
            "SELECT coalesce(string_agg(attrelid::regclass || '.' || attname, ' '), '') FROM pg_attribute
             WHERE attnum > 0 AND NOT attisdropped AND {filter} AND attrelid IN
                ('callbacks'::regclass, 'journal'::regclass, 'payments'::regclass, 'accounts'::regclass)"
        );
        let row = db.orm.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await.expect("a question");
        row.expect("a row").try_get_by_index::<String>(0).expect("a text")
    };
    assert_eq!(names("coalesce(attstattarget, -1) NOT BETWEEN 0 AND 10").await, "", "a column that came later");
    let never = names("attstattarget = 0").await;
    let heavy = ["callbacks.body", "callbacks.signature", "journal.amounts", "journal.credits", "journal.debits"];
    for column in heavy {
        assert!(never.split(' ').any(|name| name == column), "{column} is not among {never}");
    }
}
