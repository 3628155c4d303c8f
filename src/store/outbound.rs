//! The switch that stops money from going out: one row that all replicas look at in the very statement that lets a
//! withdrawal go.

use sea_orm::{ConnectionTrait as _, EntityTrait as _, Statement};

use super::audit_log::{Actor, Deed, note};
use super::{Db, StoreError};

/// How the switch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    pub is_stopped: bool,
    /// 0: never.
    pub changed_us: i64,
    pub changed_by: String,
    pub note: String,
}

/// How it stands now.
pub async fn state(db: &Db) -> Result<Switch, StoreError> {
    let row = entity::outbound::Entity::find_by_id(1_i16).one(&db.orm).await?;
    let row = row.ok_or_else(|| StoreError::Corrupt("there is no switch for outgoing money".into()))?;
    let entity::outbound::Model { is_stopped, changed_us, changed_by, note, .. } = row;
    Ok(Switch { is_stopped, changed_us, changed_by, note })
}

/// Turns it. What is committed here holds for every replica's next withdrawal.
pub async fn turn(db: &Db, switch: &Switch, actor: &Actor) -> Result<(), StoreError> {
    let txn = db.begin().await?;
    let sql = "UPDATE outbound SET is_stopped = $1, changed_us = $2, changed_by = $3, note = $4 WHERE id = 1";
    let values = [
        switch.is_stopped.into(),
        switch.changed_us.into(),
        switch.changed_by.as_str().into(),
        switch.note.as_str().into(),
    ];
    txn.execute_raw(Statement::from_sql_and_values(db.orm.get_database_backend(), sql, values)).await?;
    let action = if switch.is_stopped { "outbound.stop" } else { "outbound.start" };
    let after = (!switch.note.is_empty()).then(|| switch.note.clone());
    let deed = Deed { action, subject: "outbound".to_owned(), before: None, after, at_us: switch.changed_us };
    note(&txn, actor, deed).await?;
    txn.commit().await?;
    Ok(())
}
