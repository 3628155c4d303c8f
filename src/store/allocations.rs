//! Which request an idempotency key of a client stands for: one for each (API key, idempotency key), for ever. The row
//! is claimed before anything is done for it, and names its request only once all of it is done.

use sea_orm::{ConnectionTrait as _, EntityTrait as _};

use super::cursor::{database_now_us, statement};
use super::{Db, StoreError};
use entity::gateway_allocation::Entity;

/// By what an allocation is known: the client's key id, and the key it chose.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    pub api_key: &'a str,
    pub idempotency_key: &'a str,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub currency: String,
    pub network: String,
    pub user_identifier: Option<String>,
}

/// How an allocation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    pub asked: Asked,
    /// `None` while somebody is at it.
    pub request: Option<i64>,
    /// Nobody is at it any longer.
    pub is_abandoned: bool,
}

pub async fn find(db: &Db, key: Key<'_>) -> Result<Option<Allocation>, StoreError> {
    let id = (key.api_key.to_owned(), key.idempotency_key.to_owned());
    let Some(row) = Entity::find_by_id(id).one(&db.orm).await? else { return Ok(None) };
    let is_abandoned = row.request_id.is_none() && row.claim_until_us < database_now_us(db).await?;
    let asked = Asked { currency: row.currency, network: row.network, user_identifier: row.user_identifier };
    Ok(Some(Allocation { asked, request: row.request_id, is_abandoned }))
}

/// Claims a key that nobody used, or that was abandoned. `false`: somebody was faster.
pub async fn claim(db: &Db, key: Key<'_>, asked: &Asked, owner: &str, ttl_us: i64) -> Result<bool, StoreError> {
    let sql = "INSERT INTO gateway_allocations (api_key, idempotency_key, currency, network, user_identifier,
        claim_owner, claim_until_us) VALUES ($1, $2, $3, $4, $5, $6, {now} + $7)
        ON CONFLICT (api_key, idempotency_key) DO UPDATE SET currency = excluded.currency, network = excluded.network,
            user_identifier = excluded.user_identifier, claim_owner = excluded.claim_owner,
            claim_until_us = excluded.claim_until_us
        WHERE gateway_allocations.request_id IS NULL AND gateway_allocations.claim_until_us < {now}";
    let values = [
        key.api_key.into(),
        key.idempotency_key.into(),
        asked.currency.as_str().into(),
        asked.network.as_str().into(),
        asked.user_identifier.clone().into(),
        owner.into(),
        ttl_us.into(),
    ];
    Ok(db.orm.execute_raw(statement(db, sql, values)).await?.rows_affected() == 1)
}

/// All is done. `false`: somebody took over, and what they did counts.
pub async fn settle(db: &Db, key: Key<'_>, owner: &str, request: i64) -> Result<bool, StoreError> {
    let sql = "UPDATE gateway_allocations SET request_id = $4
        WHERE api_key = $1 AND idempotency_key = $2 AND claim_owner = $3 AND request_id IS NULL";
    let values = [key.api_key.into(), key.idempotency_key.into(), owner.into(), request.into()];
    Ok(db.orm.execute_raw(statement(db, sql, values)).await?.rows_affected() == 1)
}

/// What it stands for was given up: the key is as good as abandoned.
pub async fn let_go(db: &Db, key: Key<'_>, request: i64) -> Result<(), StoreError> {
    let sql = "UPDATE gateway_allocations SET request_id = NULL, claim_until_us = 0
        WHERE api_key = $1 AND idempotency_key = $2 AND request_id = $3";
    let values = [key.api_key.into(), key.idempotency_key.into(), request.into()];
    db.orm.execute_raw(statement(db, sql, values)).await?;
    Ok(())
}

/// Nothing came of it: the key is as good as unused.
pub async fn abandon(db: &Db, key: Key<'_>, owner: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM gateway_allocations
        WHERE api_key = $1 AND idempotency_key = $2 AND claim_owner = $3 AND request_id IS NULL";
    let values = [key.api_key.into(), key.idempotency_key.into(), owner.into()];
    db.orm.execute_raw(statement(db, sql, values)).await?;
    Ok(())
}
