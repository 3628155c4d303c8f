//! Which signatures of the gateway's clients were taken already. They are in the database, so that every replica knows
//! them and a restart forgets none. One task writes what has queued up meanwhile in one statement, and its commits do not
//! wait for the disk: a loss of power may forget the last half second's. Nothing hangs on that alone, as withdrawals,
//! invoices and addresses have names of their own that are taken once.

use std::collections::HashSet;

use sea_orm::{ConnectionTrait as _, Statement, Value};
use tokio::sync::{mpsc, oneshot};

use super::{Db, StoreError};

/// Signatures that may wait to be written.
const QUEUE: usize = 4_096;
/// Signatures of one statement.
const BATCH: usize = 512;

struct Request {
    signature: [u8; 32],
    until_us: i64,
    answer: oneshot::Sender<Result<bool, StoreError>>,
}

/// How handlers ask.
#[derive(Clone)]
pub struct Signatures(mpsc::Sender<Request>);

/// Makes the handle, and the task to be spawned: it ends when every handle is gone.
pub fn signatures(db: Db) -> (Signatures, impl Future<Output = ()> + Send) {
    let (requests, queue) = mpsc::channel(QUEUE);
    (Signatures(requests), write(db, queue))
}

impl Signatures {
    /// Whether this signature comes for the first time; from now on it does not. It may be forgotten after `until_us`.
    pub async fn is_first(&self, signature: [u8; 32], until_us: i64) -> Result<bool, StoreError> {
        let gone = || StoreError::Unreachable(sqlx::Error::PoolClosed);
        let (answer, answered) = oneshot::channel();
        self.0.send(Request { signature, until_us, answer }).await.map_err(|_closed| gone())?;
        answered.await.map_err(|_closed| gone())?
    }
}

/// Forgets signatures that are refused for their age by now; answers how many.
pub async fn forget(db: &Db, now_us: i64) -> Result<u64, StoreError> {
    let sql = "DELETE FROM gateway_signatures WHERE until_us < $1";
    let statement = Statement::from_sql_and_values(db.orm.get_database_backend(), sql, [now_us.into()]);
    Ok(db.orm.execute_raw(statement).await?.rows_affected())
}

async fn write(db: Db, mut queue: mpsc::Receiver<Request>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        match insert(&db, &batch).await {
            Ok(mut new) => {
                for request in batch.drain(..) {
                    // Of two that came together, one is the first.
                    let is_first = new.remove(request.signature.as_slice());
                    // Whoever hung up has used the signature up.
                    drop(request.answer.send(Ok(is_first)));
                }
            }
            Err(error) => {
                tracing::warn!(error = %error, "The database can't keep signatures; the gateway answers 503 until it can");
                for request in batch.drain(..) {
                    drop(request.answer.send(Err(StoreError::Unreachable(sqlx::Error::PoolTimedOut))));
                }
            }
        }
    }
}

/// The signatures of a batch that were not known before.
async fn insert(db: &Db, batch: &[Request]) -> Result<HashSet<Vec<u8>>, StoreError> {
    use std::fmt::Write as _;
    let mut sql = "INSERT INTO gateway_signatures (signature, until_us) VALUES ".to_owned();
    let mut values: Vec<Value> = Vec::with_capacity(batch.len().saturating_mul(2));
    for request in batch {
        let comma = if values.is_empty() { "" } else { ", " };
        let place = values.len();
        let (signature, until) = (place.saturating_add(1), place.saturating_add(2));
        write!(sql, "{comma}(${signature}, ${until})").expect("a String takes every write");
        values.push(request.signature.to_vec().into());
        values.push(request.until_us.into());
    }
    sql.push_str(" ON CONFLICT (signature) DO NOTHING RETURNING signature");
    let statement = Statement::from_sql_and_values(db.orm.get_database_backend(), sql, values);
    let rows = db.orm.query_all_raw(statement).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}
