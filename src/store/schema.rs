//! The schema's version: what is applied, what is missing. Only `migrate up` and `demo` change it.

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, TransactionTrait};

use super::{Db, Kind, StoreError};

/// A migration and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub name: String,
    pub is_applied: bool,
}

/// Every migration in order. Reads only: a database without any tables has none applied.
pub async fn steps(db: &Db) -> Result<Vec<Step>, StoreError> {
    let applied = applied(db).await?;
    let name = |migration: &dyn migration::MigrationTrait| migration.name().to_owned();
    let all = Migrator::migrations();
    Ok(all.iter().map(|m| name(m.as_ref())).map(|name| Step { is_applied: applied.contains(&name), name }).collect())
}

/// The migrations that the database lacks.
pub async fn missing(db: &Db) -> Result<usize, StoreError> {
    Ok(steps(db).await?.iter().filter(|step| !step.is_applied).count())
}

/// Whether this database holds migrations that this program does not know: it is older than its database.
pub async fn is_newer(db: &Db) -> Result<bool, StoreError> {
    let known: Vec<_> = steps(db).await?.into_iter().map(|step| step.name).collect();
    Ok(applied(db).await?.iter().any(|name| !known.contains(name)))
}

async fn applied(db: &Db) -> Result<Vec<String>, StoreError> {
    let manager = migration::SchemaManager::new(&db.orm);
    if !manager.has_table("seaql_migrations").await? {
        return Ok(Vec::new());
    }
    let rows = db.orm.query_all_raw(sea_orm::Statement::from_string(
        db.orm.get_database_backend(),
        "SELECT version FROM seaql_migrations ORDER BY version",
    ));
    rows.await?.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// Applies what is missing. Replicas that start together wait for each other: the migrations themselves take no lock.
pub async fn migrate(db: &Db) -> Result<(), StoreError> {
    if db.kind == Kind::Sqlite {
        return Ok(Migrator::up(&db.orm, None).await?);
    }
    // Held by this transaction for as long as the migrations run on another connection of the pool.
    let lock = db.orm.begin().await?;
    lock.execute_unprepared("SELECT pg_advisory_xact_lock(7322478623)").await?;
    Migrator::up(&db.orm, None).await?;
    lock.commit().await?;
    Ok(())
}
