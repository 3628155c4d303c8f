//! What the board of reconciliation shows: what is open, since when and how much. Reads only.

use sea_orm::ConnectionTrait as _;

use super::cursor::statement;
use super::{Db, StoreError};
use crate::domain::amount::Amount;
use crate::domain::ids::MerchantId;
use crate::domain::journal::Effect;
use crate::domain::reason::Reason;

/// Rows that are looked at, the oldest first.
const OPEN_MAX: i64 = 5_000;

/// A difference that nobody has brought to an end.
#[derive(Debug, Clone)]
pub struct Open {
    pub discrepancy: i64,
    pub merchant: MerchantId,
    pub reason: Reason,
    pub currency: String,
    pub amount: Amount,
    pub opened_us: i64,
}

/// Whatever reconciliation found and is open, the oldest first.
pub async fn open(db: &Db) -> Result<Vec<Open>, StoreError> {
    let sql = "SELECT d.position, d.merchant_id, d.reason, j.currency, CAST(j.amount AS text), d.opened_us
        FROM discrepancies d JOIN journal j ON j.position = d.position AND j.effect = $1
        WHERE d.resolved_us IS NULL ORDER BY d.position LIMIT $2";
    let values = [Effect::Reported.code().into(), OPEN_MAX.into()];
    let mut open = Vec::new();
    for row in db.orm.query_all_raw(statement(db, sql, values)).await? {
        let discrepancy: i64 = row.try_get_by_index(0)?;
        let nonsense = |what: &str| StoreError::Corrupt(format!("discrepancy {discrepancy} has {what}"));
        let (reason, amount): (i16, Option<String>) = (row.try_get_by_index(2)?, row.try_get_by_index(4)?);
        let amount = amount.map(|amount| Amount::parse(&amount)).transpose();
        open.push(Open {
            discrepancy,
            merchant: MerchantId(row.try_get_by_index(1)?),
            reason: Reason::from_code(reason).ok_or_else(|| nonsense("no such reason"))?,
            currency: row.try_get_by_index::<Option<String>>(3)?.unwrap_or_default(),
            amount: amount.map_err(|error| nonsense(&error.to_string()))?.unwrap_or_default(),
            opened_us: row.try_get_by_index(5)?,
        });
    }
    Ok(open)
}
