//! Imported exports of the processor's dashboard, kept for ever: what each was, what was counted, and every row that did
//! not plainly match with what became of it.

use sea_orm::sea_query::{Expr, Query};
use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, Condition, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect,
};

use super::{Db, StoreError};
use crate::domain::amount::Amount;
use crate::domain::ids::{CallbackId, MerchantId, PaymentId};
use crate::domain::matching::Verdict;
use crate::domain::pairing::How;
use crate::domain::payment::{Family, Status};
use entity::{discrepancy, export, export_row};

/// Rows that one statement writes.
const CHUNK: usize = 400;

/// How many rows came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub matched: i64,
    pub missing_here: i64,
    pub missing_there: i64,
    pub amounts: i64,
    pub fees: i64,
    pub statuses: i64,
    pub duplicates: i64,
}

impl Counts {
    /// One more of a kind.
    pub fn add(&mut self, verdict: Verdict) {
        let count = match verdict {
            Verdict::Matched => &mut self.matched,
            Verdict::MissingHere => &mut self.missing_here,
            Verdict::MissingThere => &mut self.missing_there,
            Verdict::Amount => &mut self.amounts,
            Verdict::Fee => &mut self.fees,
            Verdict::Status => &mut self.statuses,
            Verdict::Duplicate => &mut self.duplicates,
        };
        *count = count.saturating_add(1);
    }

    /// What differs.
    pub const fn differences(&self) -> i64 {
        self.missing_here
            .saturating_add(self.missing_there)
            .saturating_add(self.amounts)
            .saturating_add(self.fees)
            .saturating_add(self.statuses)
    }
}

/// What an export was.
#[derive(Debug, Clone)]
pub struct Export {
    pub id: i64,
    pub merchant: MerchantId,
    pub sha256: [u8; 32],
    pub file: String,
    pub asked_by: String,
    pub began_us: i64,
    /// `None`: there is still something to do.
    pub ended_us: Option<i64>,
    pub from_us: i64,
    pub until_us: i64,
    pub rows: i64,
    pub payments: i64,
    pub counts: Counts,
}

/// How a row stands. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowState {
    Found,
    /// Someone was told.
    Open,
    Over,
}

impl RowState {
    pub const fn code(self) -> i16 {
        match self {
            Self::Found => 1,
            Self::Open => 2,
            Self::Over => 3,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Open => "open",
            Self::Over => "over",
        }
    }

    fn from_code(code: i16) -> Option<Self> {
        [Self::Found, Self::Open, Self::Over].into_iter().find(|state| state.code() == code)
    }
}

/// A row that did not plainly match, or a payment without one.
#[derive(Debug, Clone)]
pub struct Row {
    pub ordinal: i64,
    pub verdict: Verdict,
    pub how: Option<How>,
    pub state: RowState,
    pub family: Family,
    pub line: Option<i64>,
    pub ext_id: String,
    pub currency: String,
    pub theirs: Option<Amount>,
    pub ours: Option<Amount>,
    pub their_fee: Option<Amount>,
    pub our_fee: Option<Amount>,
    pub their_status: Option<String>,
    pub our_status: Option<Status>,
    pub note: Option<String>,
    pub payment: Option<PaymentId>,
    pub callback: Option<CallbackId>,
    pub discrepancy: Option<i64>,
}

/// The import of these very bytes, if there was one.
pub async fn find(db: &Db, merchant: MerchantId, sha256: &[u8; 32]) -> Result<Option<Export>, StoreError> {
    let query = export::Entity::find()
        .filter(export::Column::MerchantId.eq(merchant.0))
        .filter(export::Column::Sha256.eq(sha256.to_vec()));
    query.one(&db.orm).await?.map(read).transpose()
}

/// An import by its number.
pub async fn get(db: &Db, id: i64) -> Result<Option<Export>, StoreError> {
    export::Entity::find_by_id(id).one(&db.orm).await?.map(read).transpose()
}

/// Imports, newest first.
pub async fn list(db: &Db, before: i64, limit: u64) -> Result<Vec<Export>, StoreError> {
    let query = export::Entity::find().filter(export::Column::Id.lt(before)).order_by_desc(export::Column::Id);
    query.limit(limit).all(&db.orm).await?.into_iter().map(read).collect()
}

/// Keeps an import with its rows, all or nothing. `None`: somebody was faster with the same file.
pub async fn keep(db: &Db, new: &Export, rows: &[Row]) -> Result<Option<i64>, StoreError> {
    let txn = db.begin().await?;
    let Counts { matched, missing_here, missing_there, amounts, fees, statuses, duplicates } = new.counts;
    let model = export::Model {
        id: 0,
        merchant_id: new.merchant.0,
        sha256: new.sha256.to_vec(),
        file: new.file.clone(),
        asked_by: new.asked_by.clone(),
        began_us: new.began_us,
        ended_us: new.ended_us,
        from_us: new.from_us,
        until_us: new.until_us,
        rows_read: new.rows,
        payments_read: new.payments,
        matched,
        missing_here,
        missing_there,
        amounts,
        fees,
        statuses,
        duplicates,
    };
    let mut insert = model.into_active_model();
    insert.id = ActiveValue::NotSet;
    let id = match insert.insert(&txn).await {
        Ok(kept) => kept.id,
        Err(error) if matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_))) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    for chunk in rows.chunks(CHUNK) {
        let models = chunk.iter().map(|row| model_of(id, row).into_active_model().reset_all());
        export_row::Entity::insert_many(models).exec_without_returning(&txn).await?;
    }
    txn.commit().await?;
    Ok(Some(id))
}

/// Rows in their order: all of them, or those in a state.
pub async fn rows(
    db: &Db,
    export: i64,
    after: i64,
    state: Option<RowState>,
    limit: u64,
) -> Result<Vec<Row>, StoreError> {
    use export_row::Column;
    let all = Condition::all()
        .add(Column::ExportId.eq(export))
        .add(Column::Ordinal.gt(after))
        .add_option(state.map(|state| Column::State.eq(state.code())));
    let query = export_row::Entity::find().filter(all).order_by_asc(Column::Ordinal).limit(limit);
    query.all(&db.orm).await?.into_iter().map(row).collect()
}

/// Writes down what became of a row.
pub async fn mark(db: &Db, export: i64, row: &Row) -> Result<(), StoreError> {
    let model = model_of(export, row).into_active_model().reset_all();
    export_row::Entity::update(model).exec(&db.orm).await?;
    Ok(())
}

/// Nothing is left to do for an import, for now.
pub async fn end(db: &Db, export: i64, now_us: i64) -> Result<(), StoreError> {
    export::Entity::update_many()
        .col_expr(export::Column::EndedUs, Expr::value(now_us))
        .filter(export::Column::Id.eq(export))
        .exec(&db.orm)
        .await?;
    Ok(())
}

/// How many rows of an import nobody has brought to an end.
pub async fn open_rows(db: &Db, export: i64) -> Result<u64, StoreError> {
    use export_row::Column;
    let of = export_row::Entity::find().filter(Column::ExportId.eq(export));
    let found = of.clone().filter(Column::State.eq(RowState::Found.code())).count(&db.orm).await?;
    let unresolved = Query::select()
        .column(discrepancy::Column::Position)
        .from(discrepancy::Entity)
        .and_where(discrepancy::Column::ResolvedUs.is_null())
        .to_owned();
    let told = of.filter(Column::State.eq(RowState::Open.code())).filter(Column::Discrepancy.in_subquery(unresolved));
    Ok(found.saturating_add(told.count(&db.orm).await?))
}

fn read(row: export::Model) -> Result<Export, StoreError> {
    let sha256 = row.sha256.try_into().map_err(|_other_length| corrupt("a digest that is not 32 bytes"))?;
    let counts = Counts {
        matched: row.matched,
        missing_here: row.missing_here,
        missing_there: row.missing_there,
        amounts: row.amounts,
        fees: row.fees,
        statuses: row.statuses,
        duplicates: row.duplicates,
    };
    Ok(Export {
        id: row.id,
        merchant: MerchantId(row.merchant_id),
        sha256,
        file: row.file,
        asked_by: row.asked_by,
        began_us: row.began_us,
        ended_us: row.ended_us,
        from_us: row.from_us,
        until_us: row.until_us,
        rows: row.rows_read,
        payments: row.payments_read,
        counts,
    })
}

fn row(row: export_row::Model) -> Result<Row, StoreError> {
    let exact = |text: Option<String>| {
        text.map(|text| Amount::parse(&text)).transpose().map_err(|error| corrupt(&format!("an amount: {error}")))
    };
    Ok(Row {
        ordinal: row.ordinal,
        verdict: Verdict::from_code(row.verdict).ok_or_else(|| corrupt("a verdict"))?,
        how: row.how.and_then(How::from_code),
        state: RowState::from_code(row.state).ok_or_else(|| corrupt("a state"))?,
        family: Family::from_code(row.family).ok_or_else(|| corrupt("a family"))?,
        line: row.line,
        ext_id: row.ext_id,
        currency: row.currency,
        theirs: exact(row.theirs)?,
        ours: exact(row.ours)?,
        their_fee: exact(row.their_fee)?,
        our_fee: exact(row.our_fee)?,
        their_status: row.their_status,
        our_status: row.our_status.as_deref().and_then(Status::of),
        note: row.note,
        payment: row.payment_id.map(PaymentId),
        callback: row.callback_id.map(CallbackId),
        discrepancy: row.discrepancy,
    })
}

fn model_of(export: i64, row: &Row) -> export_row::Model {
    let text = |amount: Option<Amount>| amount.map(|amount| amount.to_string());
    export_row::Model {
        export_id: export,
        ordinal: row.ordinal,
        verdict: row.verdict.code(),
        how: row.how.map(How::code),
        state: row.state.code(),
        family: row.family.code(),
        line: row.line,
        ext_id: row.ext_id.clone(),
        currency: row.currency.clone(),
        theirs: text(row.theirs),
        ours: text(row.ours),
        their_fee: text(row.their_fee),
        our_fee: text(row.our_fee),
        their_status: row.their_status.clone(),
        our_status: row.our_status.map(|status| status.word().to_owned()),
        note: row.note.clone(),
        payment_id: row.payment.map(|id| id.0),
        callback_id: row.callback.map(|id| id.0),
        discrepancy: row.discrepancy,
    }
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("an export has {what}"))
}
