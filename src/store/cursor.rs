//! Cursors over the journal: how far a reader has come, and which replica reads for now. The lease runs by the
//! database's clock, so replicas whose clocks differ agree on when it ends. Each question is a single statement.

use sea_orm::{ConnectionTrait as _, EntityTrait as _, Statement, Value};

use super::{Db, Kind, StoreError};

/// The cursor of the events that `RabbitMQ` confirmed.
pub const RABBITMQ: &str = "rabbitmq";

/// Moves a cursor that no lease guards: whoever comes second finds that it has moved already.
pub(super) const MOVE: &str = "UPDATE cursors SET position = $3 WHERE name = $1 AND position = $2";

/// A cursor as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorState {
    /// Everything up to here is done.
    pub position: i64,
    /// Empty: nobody.
    pub owner: String,
    /// By the database's clock.
    pub until_us: i64,
}

/// Takes the lease, or prolongs it, and tells where to go on from. `None`: another owner has it.
pub async fn take_lease(db: &Db, name: &str, owner: &str, ttl_us: i64) -> Result<Option<i64>, StoreError> {
    let sql = "UPDATE cursors SET owner = $2, until_us = {now} + $3
        WHERE name = $1 AND (owner = $2 OR until_us < {now}) RETURNING position";
    let values = [name.into(), owner.into(), ttl_us.into()];
    let row = db.written(statement(db, sql, values)).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
}

/// Moves the cursor and prolongs the lease. `false`: the lease is no longer the owner's, or the journal does not reach
/// as far, because the server that answers now lost its end; nothing has moved.
pub async fn advance(db: &Db, name: &str, owner: &str, position: i64, ttl_us: i64) -> Result<bool, StoreError> {
    let sql = "UPDATE cursors SET position = $3, until_us = {now} + $4
        WHERE name = $1 AND owner = $2 AND position <= $3 AND $3 <= (SELECT position FROM journal_head)";
    let values = [name.into(), owner.into(), position.into(), ttl_us.into()];
    Ok(db.orm.execute_raw(statement(db, sql, values)).await?.rows_affected() == 1)
}

/// A turn at what is done every so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// When it was done last.
    pub done_us: i64,
    pub now_us: i64,
}

/// Takes the lease of what is done every so often, if it is time again. The cursor is when it was done last. All by the
/// database's clock: a replica whose own is wrong keeps nobody from it, and a time yet to come counts as never.
pub async fn take_turn(
    db: &Db,
    name: &str,
    owner: &str,
    every_us: i64,
    ttl_us: i64,
) -> Result<Option<Turn>, StoreError> {
    let sql = "UPDATE cursors SET owner = $2, until_us = {now} + $3
        WHERE name = $1 AND (owner = $2 OR until_us < {now}) AND (position <= {now} - $4 OR position > {now})
        RETURNING position, {now}";
    let values = [name.into(), owner.into(), ttl_us.into(), every_us.into()];
    let Some(row) = db.written(statement(db, sql, values)).await? else { return Ok(None) };
    let (done_us, now_us): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    Ok(Some(Turn { done_us: done_us.min(now_us), now_us }))
}

/// It is done: the next turn is due from when this one began.
pub async fn end_turn(db: &Db, name: &str, owner: &str, turn: Turn) -> Result<(), StoreError> {
    let sql = "UPDATE cursors SET position = $3, owner = '', until_us = 0 WHERE name = $1 AND owner = $2";
    db.orm.execute_raw(statement(db, sql, [name.into(), owner.into(), turn.now_us.into()])).await?;
    Ok(())
}

/// Gives the lease back, so that another replica need not wait for its end.
pub async fn release(db: &Db, name: &str, owner: &str) -> Result<(), StoreError> {
    let sql = "UPDATE cursors SET owner = '', until_us = 0 WHERE name = $1 AND owner = $2";
    db.orm.execute_raw(statement(db, sql, [name.into(), owner.into()])).await?;
    Ok(())
}

/// How the cursor stands.
pub async fn state(db: &Db, name: &str) -> Result<CursorState, StoreError> {
    let row = entity::cursor::Entity::find_by_id(name).one(&db.orm).await?;
    let row = row.ok_or_else(|| StoreError::Corrupt(format!("there is no cursor {name}")))?;
    Ok(CursorState { position: row.position, owner: row.owner, until_us: row.until_us })
}

/// What time the database's clock says, in microseconds since 1970.
pub async fn database_now_us(db: &Db) -> Result<i64, StoreError> {
    let row = db.orm.query_one_raw(statement(db, "SELECT {now}", [])).await?;
    let row = row.ok_or_else(|| StoreError::Corrupt("the database does not tell its time".into()))?;
    Ok(row.try_get_by_index(0)?)
}

/// A statement in which `{now}` is the database's clock, in microseconds since 1970.
pub(super) fn statement<const N: usize>(db: &Db, sql: &str, values: [Value; N]) -> Statement {
    Statement::from_sql_and_values(db.orm.get_database_backend(), sql.replace("{now}", now(db.kind)), values)
}

/// The database's clock, in SQL.
pub(super) const fn now(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
        Kind::Sqlite => "CAST(unixepoch('subsec') * 1000000 AS integer)",
    }
}
