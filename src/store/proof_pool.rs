//! What the audit must know of pool addresses, from its one snapshot.

use std::collections::HashMap;

use super::StoreError;
use super::booking::pool::{Windows, window};
use super::booking::retired::{Retired, by_address};
use super::proof::Snapshot;
use crate::domain::claim::POOL;
use crate::domain::ids::MerchantId;

type WindowRow = (i16, String, i64, i64, i64, Option<i64>);

const WINDOWS: &str = "SELECT a.merchant_id, a.foreign_id, r.created_us, r.monitoring_until_us, r.claim_until_us,
        k.customer_id
    FROM addresses a JOIN deposit_requests r ON r.address_id = a.id
    LEFT JOIN customer_references k ON k.value = 'request:' || r.id AND k.kind = 2 AND k.merchant_id = a.merchant_id
    WHERE a.user_identifier IS NULL ORDER BY r.id";
/// A range and not a pattern, which would be compared by the locale. Reads every callback, as the audit does anyway.
const CALLBACKS: &str = "SELECT id, received_us FROM callbacks WHERE foreign_id >= $1 AND foreign_id < $2";

const RETIRED: &str = "SELECT merchant_id, address, foreign_id, retired_us, turn FROM retired_addresses";
const RETIRED_CALLBACKS: &str = "SELECT DISTINCT c.id, c.received_us FROM callbacks c
    JOIN retired_addresses r ON r.address = c.address AND r.merchant_id = c.merchant_id";

impl Snapshot {
    /// Every address that was given up.
    pub async fn retired(&mut self) -> Result<Retired, StoreError> {
        let rows = match self {
            Self::Postgres(connection) => sqlx::query_as(RETIRED).fetch_all(connection.as_mut()).await?,
            Self::Sqlite(connection) => sqlx::query_as(RETIRED).fetch_all(connection.as_mut()).await?,
        };
        Ok(by_address(rows))
    }

    /// When each callback about one came, by its id.
    pub async fn retired_callbacks(&mut self) -> Result<HashMap<i64, i64>, StoreError> {
        let rows: Vec<(i64, i64)> = match self {
            Self::Postgres(connection) => sqlx::query_as(RETIRED_CALLBACKS).fetch_all(connection.as_mut()).await?,
            Self::Sqlite(connection) => sqlx::query_as(RETIRED_CALLBACKS).fetch_all(connection.as_mut()).await?,
        };
        Ok(rows.into_iter().collect())
    }

    /// Every window of every pool address.
    pub async fn windows(&mut self) -> Result<Windows, StoreError> {
        let rows: Vec<WindowRow> = match self {
            Self::Postgres(connection) => sqlx::query_as(WINDOWS).fetch_all(connection.as_mut()).await?,
            Self::Sqlite(connection) => sqlx::query_as(WINDOWS).fetch_all(connection.as_mut()).await?,
        };
        let mut windows = Windows::new();
        for (merchant, foreign_id, created, monitoring, claim, customer) in rows {
            let row = window((created, monitoring, claim, customer));
            windows.entry((MerchantId(merchant), foreign_id)).or_default().push(row);
        }
        Ok(windows)
    }

    /// When each callback about a pool address came, by its id.
    pub async fn pool_callbacks(&mut self) -> Result<HashMap<i64, i64>, StoreError> {
        // `;` comes right after `:`.
        let (from, to) = (POOL, format!("{};", POOL.trim_end_matches(':')));
        let rows: Vec<(i64, i64)> = match self {
            Self::Postgres(connection) => {
                sqlx::query_as(CALLBACKS).bind(from).bind(to.as_str()).fetch_all(connection.as_mut()).await?
            }
            Self::Sqlite(connection) => {
                sqlx::query_as(CALLBACKS).bind(from).bind(to.as_str()).fetch_all(connection.as_mut()).await?
            }
        };
        Ok(rows.into_iter().collect())
    }
}
