//! Everything that is asked of the database, as free functions named after the question. The only importer of
//! `entity`: rows do not leave this folder. Writing the ledger is `booking`'s, and only the booker calls it.

pub mod addresses;
pub mod allocations;
pub mod answers;
pub mod asks;
pub mod audit_log;
pub mod board;
pub mod booking;
pub mod callbacks;
pub mod checks;
pub mod cursor;
pub mod customers;
pub mod discrepancies;
pub mod entries;
pub mod events;
pub mod exports;
pub mod heard;
pub mod invoices;
pub mod ledger;
pub mod lines;
pub mod merchants;
pub mod outages;
pub mod outbound;
pub mod outgoing;
pub mod payments;
pub mod payouts;
pub mod proof;
mod proof_pool;
pub mod proposals;
pub mod reconcile;
pub mod redelivery;
pub mod replays;
pub mod requests;
pub mod retire;
pub mod schema;
pub mod sessions;
pub mod signatures;
pub mod statement;
pub mod terms;
pub mod timeline;
pub mod told;
pub mod withdrawals;

use std::time::Duration;

use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DatabaseTransaction, DbErr, QueryResult,
    RuntimeErr, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait as _,
};
use sqlx::sqlite::SqliteSynchronous;

/// What went wrong between us and the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database refused a statement")]
    Refused(#[source] sqlx::Error),
    #[error("the database can't be reached")]
    Unreachable(#[source] sqlx::Error),
    #[error("the database refused a query")]
    Query(#[from] DbErr),
    #[error("a stored row makes no sense: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// The database's trouble, not the question's: asking again later makes sense.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Query(DbErr::Conn(_) | DbErr::ConnectionAcquire(_)) => true,
            Self::Query(DbErr::Query(RuntimeErr::SqlxError(error)) | DbErr::Exec(RuntimeErr::SqlxError(error))) => {
                !is_about_the_statement(error)
            }
            Self::Refused(_) | Self::Query(_) | Self::Corrupt(_) => false,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_about_the_statement(&error) { Self::Refused(error) } else { Self::Unreachable(error) }
    }
}

/// Whether the statement itself is at fault, so that trying another one makes sense. Shutting down (57P01..3),
/// read-only (25006), time-outs, too many connections, full disks (53xxx) and lost connections are the database's trouble.
fn is_about_the_statement(error: &sqlx::Error) -> bool {
    let Some(database) = error.as_database_error() else {
        return matches!(error, sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. });
    };
    let code = database.code().unwrap_or_default();
    let is_postgres = database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some();
    if is_postgres {
        let troubles = ["08", "25", "40", "53", "55", "57", "58", "XX"];
        return !troubles.iter().any(|class| code.starts_with(class));
    }
    // SQLite: 19 constraint (with its extended codes), 20 mismatch, 25 range, 1 generic; 5 busy, 13 full, 10 I/O are not.
    let primary = code.parse::<i64>().map_or(1, |code| code & 0xff);
    matches!(primary, 1 | 18 | 19 | 20 | 25)
}

/// The two databases there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    Sqlite,
}

/// What connections are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Questions,
    /// Commits that do not wait for the disk.
    Haste,
    /// Reading the journal page after page.
    Pages,
}

/// A plan is made once, and goes by an index wherever there is one: one that was made while the tables were small must not
/// scan them when they have grown.
const BY_INDEX: [(&str, &str); 4] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];
/// Pages come in the order of the index: nothing is gathered first and sorted then.
const IN_ORDER: [(&str, &str); 2] = [("enable_bitmapscan", "off"), ("enable_sort", "off")];

/// What to say when the file of a `SQLite` database is not there: whoever opened it would make an empty one.
pub fn no_file(url: &str) -> Option<String> {
    let options: sqlx::sqlite::SqliteConnectOptions = url.strip_prefix("sqlite:").and_then(|_| url.parse().ok())?;
    let file = options.get_filename().to_owned();
    // A URI of SQLite's own is for SQLite to read, and what may not be looked at may be there.
    let is_plain = !file.to_string_lossy().starts_with("file:");
    let is_missing = is_plain && matches!(file.try_exists(), Ok(false));
    let file = file.display();
    is_missing.then(|| {
        format!("there is no database {file}: is DATABASE_URL right? A new one is made by `tallyhook migrate up`")
    })
}

/// The database: a lazily filled pool for reading and small writes. The booker has a connection of its own.
#[derive(Clone)]
pub struct Db {
    pub orm: DatabaseConnection,
    pub kind: Kind,
    purpose: Purpose,
    /// With its password: for the booker's own connection only, never for a log.
    url: std::sync::Arc<str>,
}

impl Db {
    /// Makes the pool without opening a connection: the first question does.
    pub async fn lazy(url: &str, max_connections: u32) -> Result<Self, StoreError> {
        Self::open(url, max_connections, Purpose::Questions).await
    }

    /// The same database by one connection whose commits do not wait for the disk: for what may be forgotten when the
    /// machine loses power, and must survive the end of any process.
    pub async fn hasty(&self) -> Result<Self, StoreError> {
        Self::open(&self.url, 1, Purpose::Haste).await
    }

    /// The same database by two connections that plan a question once: for whoever reads page after page, and notes
    /// meanwhile how far it is.
    pub async fn paging(&self) -> Result<Self, StoreError> {
        Self::open(&self.url, 2, Purpose::Pages).await
    }

    async fn open(url: &str, max_connections: u32, purpose: Purpose) -> Result<Self, StoreError> {
        let kind = if url.starts_with("sqlite:") { Kind::Sqlite } else { Kind::Postgres };
        let mut options = ConnectOptions::new(url);
        options
            .connect_lazy(true)
            .min_connections(0)
            .max_connections(max_connections)
            .acquire_timeout(Duration::from_secs(3))
            .idle_timeout(Duration::from_mins(5))
            .max_lifetime(Duration::from_mins(30))
            .sqlx_logging(false);
        if purpose == Purpose::Pages {
            // Whoever publishes must learn that it was lost: another server may answer from now on.
            options.test_before_acquire(false);
        } else {
            // Asking each time whether a connection still lives would double the questions.
            options.test_before_acquire_if_idle_for(Duration::from_secs(1));
        }
        if kind == Kind::Postgres {
            options.map_sqlx_postgres_opts(move |options| {
                let options = options.application_name("tallyhook");
                let options = options.options([("statement_timeout", "30s"), ("jit", "off")]);
                match purpose {
                    Purpose::Questions => options,
                    Purpose::Haste => options.options([("synchronous_commit", "off")]),
                    Purpose::Pages => options.options(BY_INDEX).options(IN_ORDER),
                }
            });
        } else {
            options.map_sqlx_sqlite_opts(move |options| {
                let options = booking::sqlite::durable(options);
                if purpose == Purpose::Haste { options.synchronous(SqliteSynchronous::Normal) } else { options }
            });
        }
        let orm = Database::connect(options).await?;
        Ok(Self { orm, kind, purpose, url: url.into() })
    }

    /// Whether a plan may be kept. Elsewhere one that was made while the tables were small would be used when they have
    /// grown.
    fn keeps_plans(&self) -> bool {
        self.purpose == Purpose::Pages
    }

    /// A connection outside the pool, for the booker.
    pub async fn booking_connection(&self) -> Result<booking::Connection, StoreError> {
        booking::Connection::open(self.kind, &self.url).await
    }

    /// Makes a connection of its own and closes it: unlike the pool it says why it can't.
    pub async fn knock(&self) -> Result<(), StoreError> {
        self.booking_connection().await?.close().await;
        Ok(())
    }

    /// A transaction that writes. On `SQLite` it waits for its turn at once: one that had only read so far would be
    /// refused without waiting when somebody else wrote meanwhile.
    async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let sqlite_transaction_mode = Some(SqliteTransactionMode::Immediate);
        self.orm
            .begin_with_options(TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() })
            .await
    }

    /// The row that a statement wrote outside of a transaction, once it is committed. A row comes before its commit, which
    /// may still fail: sqlx, asked for one row, reads on to the commit on `PostgreSQL` but not on `SQLite`. Whoever acts on
    /// such a row acts on what may never have happened.
    async fn written(&self, statement: Statement) -> Result<Option<QueryResult>, StoreError> {
        Ok(self.orm.query_all_raw(statement).await?.into_iter().next())
    }

    /// Answers when the database does.
    pub async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.orm.ping().await?)
    }
}

/// The number of microseconds of a moment since 1970: what every `_us` column holds.
pub fn micros(at: std::time::SystemTime) -> i64 {
    let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
