//! Invoices that clients of the gateway asked for. The foreign id is the processor's own uniqueness: the row is there
//! before it is asked, so that an invoice that came about unseen is found again.

use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use super::cursor::statement;
use super::{Db, StoreError, callbacks};
use crate::domain::amount::Amount;
use crate::domain::ids::MerchantId;
use crate::domain::payment::Family;
use entity::callback;
use entity::gateway_invoice::{Column, Entity, Model};

/// Callbacks about one invoice that are looked at, newest first.
const CALLBACKS_MAX: u64 = 1_000;

/// An invoice as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    pub id: i64,
    pub merchant: MerchantId,
    pub foreign_id: String,
    pub user_identifier: String,
    /// As the processor calls it.
    pub currency: String,
    pub amount: Amount,
    pub created_us: i64,
    /// `None`: the processor has not told yet.
    pub processor_id: Option<String>,
    /// Where it is paid.
    pub url: Option<String>,
}

impl Invoice {
    /// What of it is not what is asked for.
    pub fn differing(&self, wanted: &Wanted<'_>) -> Vec<&'static str> {
        let fields = [
            ("currency", self.currency != wanted.currency),
            ("amount", self.amount != wanted.amount),
            ("user_identifier", self.user_identifier != wanted.user_identifier),
        ];
        fields.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub merchant: MerchantId,
    pub foreign_id: &'a str,
    pub user_identifier: &'a str,
    pub currency: &'a str,
    pub amount: Amount,
    pub now_us: i64,
}

/// Writes an invoice down. `false`: there is one of that name.
pub async fn add(db: &Db, wanted: &Wanted<'_>) -> Result<bool, StoreError> {
    let sql = "INSERT INTO gateway_invoices (merchant_id, foreign_id, user_identifier, currency, amount, created_us)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (foreign_id, merchant_id) DO NOTHING";
    let values = [
        wanted.merchant.0.into(),
        wanted.foreign_id.into(),
        wanted.user_identifier.into(),
        wanted.currency.into(),
        wanted.amount.to_string().into(),
        wanted.now_us.into(),
    ];
    Ok(db.orm.execute_raw(statement(db, sql, values)).await?.rows_affected() == 1)
}

/// The processor made it.
pub async fn made(db: &Db, wanted: &Wanted<'_>, processor_id: &str, url: Option<&str>) -> Result<(), StoreError> {
    let sql = "UPDATE gateway_invoices SET processor_id = $3, url = $4 WHERE foreign_id = $1 AND merchant_id = $2";
    let values = [wanted.foreign_id.into(), wanted.merchant.0.into(), processor_id.into(), url.into()];
    db.orm.execute_raw(statement(db, sql, values)).await?;
    Ok(())
}

/// The processor refused it for certain: the name is as good as unused.
pub async fn forget(db: &Db, wanted: &Wanted<'_>) -> Result<(), StoreError> {
    let sql = "DELETE FROM gateway_invoices WHERE foreign_id = $1 AND merchant_id = $2 AND processor_id IS NULL";
    db.orm.execute_raw(statement(db, sql, [wanted.foreign_id.into(), wanted.merchant.0.into()])).await?;
    Ok(())
}

pub async fn named(db: &Db, merchant: MerchantId, foreign_id: &str) -> Result<Option<Invoice>, StoreError> {
    let query = Entity::find().filter(Column::ForeignId.eq(foreign_id)).filter(Column::MerchantId.eq(merchant.0));
    query.one(&db.orm).await?.map(invoice).transpose()
}

pub async fn by_id(db: &Db, merchant: MerchantId, id: i64) -> Result<Option<Invoice>, StoreError> {
    let row = Entity::find_by_id(id).filter(Column::MerchantId.eq(merchant.0)).one(&db.orm).await?;
    row.map(invoice).transpose()
}

/// The processor's last word about an invoice or a withdrawal, by its name.
pub async fn last_status(db: &Db, merchant: MerchantId, foreign_id: &str) -> Result<Option<String>, StoreError> {
    use callback::Column;
    let ids = callbacks::of_foreign_id(db, merchant, foreign_id, CALLBACKS_MAX).await?;
    let query = callback::Entity::find()
        .filter(Column::Id.is_in(ids.into_iter().map(|id| id.0)))
        .filter(Column::Family.eq(Family::Invoice.code()))
        .filter(Column::Status.is_not_null())
        .order_by_desc(Column::Id);
    let told: Vec<String> = query.select_only().column(Column::Status).into_tuple().all(&db.orm).await?;
    let is_final = |status: &&String| matches!(status.as_str(), "confirmed" | "failed" | "cancelled");
    Ok(told.iter().find(is_final).or(told.first()).cloned())
}

fn invoice(row: Model) -> Result<Invoice, StoreError> {
    let amount = Amount::parse(&row.amount);
    let amount = amount.map_err(|_unreadable| StoreError::Corrupt(format!("invoice {}: its amount", row.id)))?;
    Ok(Invoice {
        id: row.id,
        merchant: MerchantId(row.merchant_id),
        foreign_id: row.foreign_id,
        user_identifier: row.user_identifier,
        currency: row.currency,
        amount,
        created_us: row.created_us,
        processor_id: row.processor_id,
        url: row.url,
    })
}
