//! The schema's version: what is applied, what is missing. Only `migrate up` and `demo` change it.

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DbErr, TransactionTrait};

use super::{Db, Kind, StoreError};

/// A migration and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub name: String,
    pub is_applied: bool,
}

/// How a database and this program differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Migrations that the database lacks.
    pub missing: usize,
    /// Whether it holds migrations that this program does not know: it is older than its database.
    pub is_newer: bool,
}

/// Every migration in order. Reads only: a database without any tables has none applied.
pub async fn steps(db: &Db) -> Result<Vec<Step>, StoreError> {
    Ok(steps_of(&applied(db).await?))
}

fn steps_of(applied: &[String]) -> Vec<Step> {
    let name = |migration: &dyn migration::MigrationTrait| migration.name().to_owned();
    let all = Migrator::migrations();
    all.iter().map(|m| name(m.as_ref())).map(|name| Step { is_applied: applied.contains(&name), name }).collect()
}

/// How this database and this program differ.
pub async fn difference(db: &Db) -> Result<Difference, StoreError> {
    let applied = applied(db).await?;
    let known = steps_of(&applied);
    let missing = known.iter().filter(|step| !step.is_applied).count();
    let is_newer = applied.iter().any(|name| !known.iter().any(|step| step.name == *name));
    Ok(Difference { missing, is_newer })
}

/// The migrations that the database lacks.
pub async fn missing(db: &Db) -> Result<usize, StoreError> {
    Ok(difference(db).await?.missing)
}

async fn applied(db: &Db) -> Result<Vec<String>, StoreError> {
    let rows = db.orm.query_all_raw(sea_orm::Statement::from_string(
        db.orm.get_database_backend(),
        "SELECT version FROM seaql_migrations ORDER BY version",
    ));
    match rows.await {
        Ok(rows) => rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect(),
        Err(error @ (DbErr::Conn(_) | DbErr::ConnectionAcquire(_))) => Err(error.into()),
        // Whether there is a table takes PostgreSQL longer than all else at a start: asked only if there seems to be none.
        Err(error) if migration::SchemaManager::new(&db.orm).has_table("seaql_migrations").await? => Err(error.into()),
        Err(_no_table) => Ok(Vec::new()),
    }
}

/// Applies what is missing. Replicas that start together wait for each other: the migrations themselves take no lock.
pub async fn migrate(db: &Db) -> Result<(), StoreError> {
    if db.kind == Kind::Sqlite {
        return Ok(Migrator::up(&db.orm, None).await?);
    }
    // Held by this transaction for as long as the migrations run on another connection of the pool.
    let lock = db.orm.begin().await?;
    // Another one may take longer than a statement may elsewhere.
    lock.execute_unprepared("SET LOCAL statement_timeout = 0").await?;
    lock.execute_unprepared("SELECT pg_advisory_xact_lock(7322478623)").await?;
    Migrator::up(&db.orm, None).await?;
    lock.commit().await?;
    Ok(())
}
