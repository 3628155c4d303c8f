//! The requests that had a pool address: asked only when a batch has a deposit to one.

use std::collections::HashMap;

use super::{Connection, StoreError};
use crate::domain::claim::Window;
use crate::domain::ids::{CustomerId, MerchantId};

/// The windows of each pool address, by its merchant and foreign id.
pub type Windows = HashMap<(MerchantId, String), Vec<Window>>;

type Row = (i64, i64, i64, Option<i64>);

const WINDOWS: &str = "SELECT r.created_us, r.monitoring_until_us, r.claim_until_us, k.customer_id
    FROM addresses a JOIN deposit_requests r ON r.address_id = a.id
    LEFT JOIN customer_references k ON k.value = 'request:' || r.id AND k.kind = 2 AND k.merchant_id = a.merchant_id
    WHERE a.foreign_id = $1 AND a.merchant_id = $2 ORDER BY r.id";

impl Connection {
    /// The windows of the addresses that deposits of a batch came to.
    pub async fn windows(&mut self, pools: &[(MerchantId, &str)]) -> Result<Windows, StoreError> {
        let mut windows = Windows::new();
        for (merchant, foreign_id) in pools {
            let rows: Vec<Row> = match self {
                Self::Postgres(connection) => {
                    let query = sqlx::query_as(WINDOWS).bind(*foreign_id).bind(merchant.0);
                    query.fetch_all(connection.as_mut()).await?
                }
                Self::Sqlite(connection) => {
                    let query = sqlx::query_as(WINDOWS).bind(*foreign_id).bind(merchant.0);
                    query.fetch_all(connection.as_mut()).await?
                }
            };
            windows.insert((*merchant, (*foreign_id).to_owned()), rows.into_iter().map(window).collect());
        }
        Ok(windows)
    }
}

pub(in crate::store) fn window((created_us, monitoring_until_us, claim_until_us, customer): Row) -> Window {
    Window { created_us, monitoring_until_us, claim_until_us, customer: customer.map(CustomerId) }
}
