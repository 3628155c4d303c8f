//! Bodies that come while the booker is busy, so that it books them together.

use std::pin::Pin;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, MaybeDone, join_all, maybe_done};
use sea_orm::{
    ConnectionTrait as _, DatabaseBackend, DatabaseTransaction, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait as _,
};
use tallyhook::app::App;
use tallyhook::booker::{Incoming, Receipt};
use tallyhook::domain::ids::MerchantId;
use tallyhook::store::{Db, Kind};

use super::deposits::signature;
use super::process::eventually;

/// Books bodies of the merchant `main` while somebody else holds the lock of SQLite or the head's row of PostgreSQL: on
/// SQLite in one batch, on PostgreSQL the first alone, as it comes to an idle booker, and then all others.
pub(crate) async fn book_together(app: &App, url: &str, bodies: impl Iterator<Item = String>) -> Vec<Receipt> {
    let Waiting { lock, mut receipts } = Waiting::begin(app, url, bodies).await;
    lock.rollback().await.expect("the lock is given back");
    join_all(&mut receipts).await;
    receipts.iter_mut().map(|receipt| receipt.as_mut().take_output().expect("it is done")).collect()
}

/// Bodies that the booker has, and the lock that it waits for.
pub(crate) struct Waiting<'a> {
    pub(crate) lock: DatabaseTransaction,
    pub(crate) receipts: Vec<Pin<Box<MaybeDone<BoxFuture<'a, Receipt>>>>>,
}

impl<'a> Waiting<'a> {
    pub(crate) async fn begin(app: &'a App, url: &str, bodies: impl Iterator<Item = String>) -> Self {
        let sqlite_transaction_mode = Some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() };
        let db = Db::lazy(url, 1).await.expect("a database");
        let lock = db.orm.begin_with_options(options).await.expect("the lock of SQLite");
        if db.kind == Kind::Postgres {
            lock.execute_unprepared("SELECT FROM journal_head FOR UPDATE").await.expect("the head's row");
        }
        let receipts = bodies.map(|body| {
            let signed = const_hex::decode_to_array(signature(body.as_bytes())).expect("64 bytes");
            let incoming =
                Incoming::new(MerchantId(1), signed, "{}".to_owned(), body.into_bytes(), 1_700_000_000_000_000);
            async move { app.booker.receive(incoming).await.expect("it is booked") }.boxed()
        });
        // Each is in the queue once it has been looked at.
        let mut has_begun = false;
        let mut receipts: Vec<_> = receipts.map(|receipt| Box::pin(maybe_done(receipt))).collect();
        for receipt in &mut receipts {
            let _is_done = futures_util::poll!(receipt).is_ready();
            if db.kind == Kind::Postgres && !has_begun {
                until_waited_for(&lock).await;
                has_begun = true;
            }
        }
        Self { lock, receipts }
    }
}

/// The booker waits for a row that this transaction holds.
pub(crate) async fn until_waited_for(lock: &DatabaseTransaction) {
    // Somebody waits for this very transaction to end.
    const WAITING: &str = "SELECT 1 FROM pg_locks
        WHERE NOT granted AND locktype = 'transactionid' AND transactionid = pg_current_xact_id()::xid";
    eventually("the booker waits", Duration::from_secs(120), async || {
        let question = Statement::from_string(DatabaseBackend::Postgres, WAITING);
        lock.query_one_raw(question).await.expect("the database answers").map(drop)
    })
    .await;
}
