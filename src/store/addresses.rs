//! Addresses that were taken from the processor, and the requests they were given out for. A customer's own address is
//! claimed before the processor is asked, by the row's unique key: one asks, the others wait. A pool address is taken
//! by a statement that only one can win. Claims run by the database's clock.

use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DbErr, EntityTrait as _, FromQueryResult, QueryFilter as _, Statement,
};

use super::cursor::statement;
use super::{Db, Kind, StoreError};
use crate::domain::ids::MerchantId;
use entity::address;

/// The end of a window that has none.
pub const FOR_EVER_US: i64 = i64::MAX;
/// Rows that one sweep changes.
const SWEEP: i64 = 1_000;

/// A request with the address that it was given.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Request {
    pub id: i64,
    pub merchant_id: i16,
    pub address: String,
    pub tag: Option<String>,
    pub network: String,
    pub currency: String,
    pub user_identifier: Option<String>,
    pub created_us: i64,
    pub display_until_us: i64,
    pub monitoring_until_us: i64,
    /// What callbacks about the address carry.
    pub foreign_id: String,
    /// The processor's name of the currency that the address was made for.
    pub code: String,
    /// When its address was given up, if it was.
    pub retired_us: Option<i64>,
}

/// When a request's windows end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub created_us: i64,
    pub display_until_us: i64,
    pub monitoring_until_us: i64,
    /// Until then a callback may be about money that came within the window.
    pub claim_until_us: i64,
    /// When a pool address may be given out again.
    pub free_us: i64,
}

/// Whose address, for what.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub merchant: MerchantId,
    pub network: &'a str,
    pub currency: &'a str,
    pub code: &'a str,
}

/// A customer's own address, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    pub id: i64,
    pub is_ready: bool,
    pub foreign_id: String,
    /// Who asks the processor for it.
    pub owner: String,
    /// When asking the processor failed last, and how.
    pub failed: Option<(i64, String)>,
}

const REQUEST: &str = "SELECT r.id, r.merchant_id, a.address, a.tag, r.network, r.currency, r.user_identifier,
    r.created_us, r.display_until_us, r.monitoring_until_us, a.foreign_id, a.code, a.retired_us
    FROM deposit_requests r JOIN addresses a ON a.id = r.address_id";

/// A request by its number.
pub async fn request(db: &Db, id: i64) -> Result<Option<Request>, StoreError> {
    let found = statement(db, &format!("{REQUEST} WHERE r.id = $1"), [id.into()]);
    Ok(Request::find_by_statement(found).one(&db.orm).await?)
}

/// The request of a customer for a currency, on their own address of the network.
pub async fn own_request(db: &Db, wanted: &Wanted<'_>, user: &str) -> Result<Option<Request>, StoreError> {
    let sql = format!(
        "{REQUEST} WHERE a.user_identifier = $1 AND a.network = $2 AND a.merchant_id = $3 AND a.state > 1 AND a.retired_us IS NULL
            AND r.currency = $4 AND r.user_identifier IS NOT NULL"
    );
    let values = [user.into(), wanted.network.into(), wanted.merchant.0.into(), wanted.currency.into()];
    Ok(Request::find_by_statement(statement(db, &sql, values)).one(&db.orm).await?)
}

/// A customer's own address of a network.
pub async fn own(db: &Db, wanted: &Wanted<'_>, user: &str) -> Result<Option<Own>, StoreError> {
    use address::{Column, Entity};
    let query = Entity::find().filter(Column::UserIdentifier.eq(user)).filter(Column::Network.eq(wanted.network));
    let query = query.filter(Column::MerchantId.eq(wanted.merchant.0)).filter(Column::RetiredUs.is_null());
    let row = query.one(&db.orm).await?;
    Ok(row.map(|row| Own {
        id: row.id,
        is_ready: row.address.is_some(),
        foreign_id: row.foreign_id,
        owner: row.claim_owner,
        failed: row.failed_us.zip(row.failure),
    }))
}

/// Makes the row of a customer's own address, so that nobody else does. `false`: somebody was faster.
pub async fn claim_own(
    db: &Db,
    wanted: &Wanted<'_>,
    (user, foreign_id): (&str, &str),
    (owner, ttl_us): (&str, i64),
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO addresses (merchant_id, state, network, code, user_identifier, foreign_id, claim_owner,
        claim_until_us) VALUES ($1, 1, $2, $3, $4, $5, $6, {now} + $7) ON CONFLICT DO NOTHING";
    let values = [
        wanted.merchant.0.into(),
        wanted.network.into(),
        wanted.code.into(),
        user.into(),
        foreign_id.into(),
        owner.into(),
        ttl_us.into(),
    ];
    Ok(db.orm.execute_raw(statement(db, sql, values)).await?.rows_affected() == 1)
}

/// Takes over from whoever claimed the address and has not come back in time. The processor is then asked for what
/// this caller wants. `false`: nothing to take over.
pub async fn take_over_own(
    db: &Db,
    id: i64,
    wanted: &Wanted<'_>,
    owner: &str,
    ttl_us: i64,
) -> Result<bool, StoreError> {
    let sql = "UPDATE addresses SET claim_owner = $2, claim_until_us = {now} + $3, code = $4
        WHERE id = $1 AND state = 1 AND claim_until_us < {now}";
    let values = [id.into(), owner.into(), ttl_us.into(), wanted.code.into()];
    Ok(db.orm.execute_raw(statement(db, sql, values)).await?.rows_affected() == 1)
}

/// The processor gave an address. When somebody took over meanwhile, it is theirs that counts.
pub async fn settle_own(
    db: &Db,
    id: i64,
    owner: &str,
    (address, tag): (&str, Option<&str>),
) -> Result<bool, StoreError> {
    let sql = "UPDATE addresses SET state = 2, address = $3, tag = $4, failed_us = NULL, failure = NULL
        WHERE id = $1 AND claim_owner = $2 AND state = 1";
    let values = [id.into(), owner.into(), address.into(), tag.into()];
    Ok(db.orm.execute_raw(statement(db, sql, values)).await?.rows_affected() == 1)
}

/// The processor gave none: whoever waits is told so, and whoever comes later asks again.
pub async fn fail_own(db: &Db, id: i64, owner: &str, failure: &str, now_us: i64) -> Result<(), StoreError> {
    let sql = "UPDATE addresses SET claim_until_us = 0, failed_us = $3, failure = $4
        WHERE id = $1 AND claim_owner = $2 AND state = 1";
    let values = [id.into(), owner.into(), now_us.into(), failure.into()];
    db.orm.execute_raw(statement(db, sql, values)).await?;
    Ok(())
}

/// Makes a customer's request for a currency on their own address, unless there is one.
pub async fn add_own_request(
    db: &Db,
    address: i64,
    wanted: &Wanted<'_>,
    user: &str,
    times: &Times,
) -> Result<(), StoreError> {
    db.orm.execute_raw(insert_request(db, address, wanted, Some(user), times)).await?;
    Ok(())
}

/// Shows an address for longer.
pub async fn prolong(db: &Db, request: i64, display_until_us: i64) -> Result<(), StoreError> {
    let sql = "UPDATE deposit_requests SET display_until_us = $2, state = 1 WHERE id = $1 AND display_until_us < $2";
    db.orm.execute_raw(statement(db, sql, [request.into(), display_until_us.into()])).await?;
    Ok(())
}

/// Gives out the pool address that has rested longest. `None`: there is none.
pub async fn reuse(db: &Db, wanted: &Wanted<'_>, times: &Times) -> Result<Option<i64>, StoreError> {
    let skip = if db.kind == Kind::Postgres { "FOR UPDATE SKIP LOCKED" } else { "" };
    let sql = format!(
        "UPDATE addresses SET state = 2, free_us = $3 WHERE id = (SELECT id FROM addresses
            WHERE state = 3 AND retired_us IS NULL AND merchant_id = $1 AND code = $2 ORDER BY free_us LIMIT 1 {skip}) RETURNING id"
    );
    let values = [wanted.merchant.0.into(), wanted.code.into(), times.free_us.into()];
    let transaction = db.begin().await?;
    let Some(row) = transaction.query_one_raw(statement(db, &sql, values)).await? else { return Ok(None) };
    let address: i64 = row.try_get_by_index(0)?;
    let made = transaction.query_one_raw(insert_request(db, address, wanted, None, times)).await?;
    transaction.commit().await?;
    id_of(made)
}

/// Adds an address that the processor gave for the pool, with the request that it was taken for.
pub async fn add(
    db: &Db,
    wanted: &Wanted<'_>,
    foreign_id: &str,
    (address, tag): (&str, Option<&str>),
    times: &Times,
) -> Result<Option<i64>, StoreError> {
    let sql = "INSERT INTO addresses (merchant_id, state, network, code, foreign_id, address, tag, claim_owner,
        claim_until_us, free_us) VALUES ($1, 2, $2, $3, $4, $5, $6, '', 0, $7) RETURNING id";
    let values = [
        wanted.merchant.0.into(),
        wanted.network.into(),
        wanted.code.into(),
        foreign_id.into(),
        address.into(),
        tag.into(),
        times.free_us.into(),
    ];
    let transaction = db.begin().await?;
    let Some(address) = id_of(transaction.query_one_raw(statement(db, sql, values)).await?)? else { return Ok(None) };
    let made = transaction.query_one_raw(insert_request(db, address, wanted, None, times)).await?;
    transaction.commit().await?;
    id_of(made)
}

fn id_of(row: Option<sea_orm::QueryResult>) -> Result<Option<i64>, StoreError> {
    let id: Result<Option<i64>, DbErr> = row.map(|row| row.try_get_by_index(0)).transpose();
    Ok(id?)
}

fn insert_request(db: &Db, address: i64, wanted: &Wanted<'_>, user: Option<&str>, times: &Times) -> Statement {
    let sql = "INSERT INTO deposit_requests (merchant_id, state, address_id, currency, network, user_identifier,
        created_us, display_until_us, monitoring_until_us, claim_until_us)
        VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING id";
    let values = [
        wanted.merchant.0.into(),
        address.into(),
        wanted.currency.into(),
        wanted.network.into(),
        user.into(),
        times.created_us.into(),
        times.display_until_us.into(),
        times.monitoring_until_us.into(),
        times.claim_until_us.into(),
    ];
    statement(db, sql, values)
}

/// What a sweep changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    pub hidden: u64,
    pub unwatched: u64,
    pub freed: u64,
}

impl Swept {
    /// Whether there may be more.
    pub fn is_full(&self) -> bool {
        let most = u64::try_from(SWEEP).unwrap_or_default();
        self.hidden >= most || self.unwatched >= most || self.freed >= most
    }
}

/// Marks what is no longer shown and no longer watched, and frees pool addresses that have rested.
pub async fn sweep(db: &Db, now_us: i64) -> Result<Swept, StoreError> {
    let run = async |sql: &str| -> Result<u64, StoreError> {
        Ok(db.orm.execute_raw(statement(db, sql, [now_us.into(), SWEEP.into()])).await?.rows_affected())
    };
    Ok(Swept {
        hidden: run("UPDATE deposit_requests SET state = 2 WHERE id IN (SELECT id FROM deposit_requests
            WHERE state = 1 AND display_until_us <= $1 LIMIT $2)")
        .await?,
        unwatched: run("UPDATE deposit_requests SET state = 3 WHERE id IN (SELECT id FROM deposit_requests
            WHERE state = 2 AND monitoring_until_us <= $1 LIMIT $2)")
        .await?,
        freed: run("UPDATE addresses SET state = 3 WHERE id IN (SELECT id FROM addresses
            WHERE state = 2 AND user_identifier IS NULL AND free_us <= $1 LIMIT $2)")
        .await?,
    })
}
