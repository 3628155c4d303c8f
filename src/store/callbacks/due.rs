//! Failed callbacks that are to be tried again.

use sea_orm::ConnectionTrait as _;

use crate::domain::ids::{CallbackId, MerchantId};
use crate::store::cursor::statement;
use crate::store::{Db, StoreError};

/// Failed callbacks of these merchants whose next try is due, the longest waiting first.
pub async fn due_failures(
    db: &Db,
    merchants: &[MerchantId],
    now_us: i64,
    limit: u64,
) -> Result<Vec<CallbackId>, StoreError> {
    let of: Vec<String> = merchants.iter().map(|id| id.0.to_string()).collect();
    if of.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT f.callback_id FROM failures f JOIN callbacks c ON c.id = f.callback_id
        WHERE f.next_us <= $1 AND c.merchant_id IN ({}) ORDER BY f.next_us LIMIT $2",
        of.join(", ")
    );
    let rows = db.orm.query_all_raw(statement(db, &sql, [now_us.into(), limit.into()])).await?;
    rows.iter().map(|row| Ok(CallbackId(row.try_get_by_index(0)?))).collect()
}
