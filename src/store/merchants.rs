//! Which merchants there are, and the short number each goes by in the other tables.

use sea_orm::EntityTrait;

use super::events::MerchantNames;
use super::{Db, StoreError};
use crate::domain::ids::MerchantId;

/// Every merchant that ever was configured.
pub async fn all(db: &Db) -> Result<MerchantNames, StoreError> {
    let rows = entity::merchant::Entity::find().all(&db.orm).await?;
    Ok(MerchantNames(rows.into_iter().map(|row| (row.id, row.name)).collect()))
}

/// Gives a number to each name that has none yet, and returns the numbers in the order of the names, with every merchant.
pub async fn ensure(db: &Db, names: &[String]) -> Result<(Vec<MerchantId>, MerchantNames), StoreError> {
    let mut known = all(db).await?;
    if names.iter().any(|name| !known.0.values().any(|known| known == name)) {
        let mut connection = db.booking_connection().await?;
        connection.begin().await?;
        connection.add_merchants(names).await?;
        connection.commit().await?;
        connection.close().await;
        known = all(db).await?;
    }
    let number = |name: &String| known.0.iter().find(|(_, known)| *known == name).map(|(id, _)| MerchantId(*id));
    let ids: Option<Vec<_>> = names.iter().map(number).collect();
    let ids = ids.ok_or_else(|| StoreError::Corrupt("a merchant that was just added is missing".into()))?;
    Ok((ids, known))
}
