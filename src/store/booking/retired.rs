//! Addresses that were given up: asked about only when there ever was one, which the journal's head tells.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, Statement};

use super::{Connection, StoreError};
use crate::domain::ids::MerchantId;
use crate::domain::retired::Retirement;

/// The retirements of each address, by its merchant.
pub type Retired = HashMap<(MerchantId, String), Vec<Retirement>>;

type Row = (i16, String, String, i64, i64);

const OF_ALL: &str = "SELECT merchant_id, address, foreign_id, retired_us, turn FROM retired_addresses
    WHERE address = ANY($1)";
const OF_ONE: &str = "SELECT merchant_id, address, foreign_id, retired_us, turn FROM retired_addresses
    WHERE address = ?";
const COUNT: &str =
    "UPDATE journal_head SET turn = turn + 1, retirements = retirements + 1 WHERE id = 1 RETURNING turn";

impl Connection {
    /// Which of the addresses that deposits of a batch came to were given up.
    pub async fn retired(&mut self, addresses: &[&str]) -> Result<Retired, StoreError> {
        let rows: Vec<Row> = match self {
            Self::Postgres(connection) => sqlx::query_as(OF_ALL).bind(addresses).fetch_all(connection.as_mut()).await?,
            Self::Sqlite(connection) => {
                let mut rows = Vec::new();
                for address in addresses {
                    rows.extend(sqlx::query_as::<_, Row>(OF_ONE).bind(*address).fetch_all(connection.as_mut()).await?);
                }
                rows
            }
        };
        Ok(by_address(rows))
    }
}

pub(in crate::store) fn by_address(rows: Vec<Row>) -> Retired {
    let mut retired = Retired::new();
    for (merchant, address, foreign_id, at_us, turn) in rows {
        let of_address = retired.entry((MerchantId(merchant), address)).or_default();
        of_address.push(Retirement { foreign_id, at_us, turn });
    }
    retired
}

/// Makes every booker look again: whoever has looked at the head finds it moved, and asks about addresses from now on.
/// Answers the turn. The head stays locked until the transaction ends.
pub(in crate::store) async fn announce<C: ConnectionTrait>(transaction: &C) -> Result<i64, StoreError> {
    let statement = Statement::from_string(transaction.get_database_backend(), COUNT);
    let row = transaction.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| StoreError::Corrupt("there is no journal head".into()))?;
    Ok(row.try_get_by_index(0)?)
}
