//! Answers by idempotency key: claimed by whoever comes first, kept once they are known. A claim without an answer says
//! that somebody began, and is never taken over: what came of it is not known here.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, TryInsertResult};

use super::{Db, StoreError};
use entity::answer::{ActiveModel, Column, Entity, Model};

/// Whose key it is, and what it stands for.
#[derive(Debug, Clone)]
pub struct Claim {
    pub owner: String,
    pub key: String,
    /// SHA-256 of the request.
    pub digest: [u8; 32],
    pub at_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: Option<String>,
    pub location: Option<String>,
    pub body: Vec<u8>,
}

/// The claim that was there before.
#[derive(Debug)]
pub struct Earlier {
    pub digest: Vec<u8>,
    pub at_us: i64,
    /// `None`: not known yet, or never.
    pub answer: Option<Answer>,
}

/// Claims a key. `None`: it is ours; else whoever came first has it.
pub async fn claim(db: &Db, claim: &Claim) -> Result<Option<Earlier>, StoreError> {
    let Claim { owner, key, digest, at_us } = claim.clone();
    let row = ActiveModel {
        owner: Set(owner),
        key: Set(key),
        digest: Set(digest.to_vec()),
        claimed_us: Set(at_us),
        status: Set(None),
        content_type: Set(None),
        location: Set(None),
        body: Set(None),
    };
    let first = OnConflict::columns([Column::Owner, Column::Key]).do_nothing().to_owned();
    let inserted = Entity::insert(row).on_conflict(first).try_insert().exec_without_returning(&db.orm).await?;
    if let TryInsertResult::Inserted(1) = inserted {
        return Ok(None);
    }
    let found = Entity::find_by_id((claim.owner.clone(), claim.key.clone())).one(&db.orm).await?;
    // Released or forgotten between the two statements: whoever asks again may have it.
    let gone = Earlier { digest: claim.digest.to_vec(), at_us: claim.at_us, answer: None };
    Ok(Some(found.map_or(gone, earlier)))
}

/// Keeps the answer of a claim that is ours.
pub async fn keep(db: &Db, claim: &Claim, answer: &Answer) -> Result<(), StoreError> {
    let Answer { status, content_type, location, body } = answer.clone();
    let values = Entity::update_many()
        .col_expr(Column::Status, Expr::value(i16::try_from(status).unwrap_or(i16::MAX)))
        .col_expr(Column::ContentType, Expr::value(content_type))
        .col_expr(Column::Location, Expr::value(location))
        .col_expr(Column::Body, Expr::value(body));
    let ours = Column::Owner.eq(claim.owner.as_str()).and(Column::Key.eq(claim.key.as_str()));
    values.filter(ours).exec(&db.orm).await?;
    Ok(())
}

/// Gives a claim back: nothing was done.
pub async fn release(db: &Db, claim: &Claim) -> Result<(), StoreError> {
    Entity::delete_by_id((claim.owner.clone(), claim.key.clone())).exec(&db.orm).await?;
    Ok(())
}

/// Forgets what was claimed before a moment; answers how many.
pub async fn forget(db: &Db, before_us: i64) -> Result<u64, StoreError> {
    let old = Entity::delete_many().filter(Column::ClaimedUs.lt(before_us));
    Ok(old.exec(&db.orm).await?.rows_affected)
}

fn earlier(row: Model) -> Earlier {
    let Model { digest, claimed_us, status, content_type, location, body, .. } = row;
    let answer = status.zip(body).map(|(status, body)| Answer {
        status: u16::try_from(status).unwrap_or_default(),
        content_type,
        location,
        body,
    });
    Earlier { digest, at_us: claimed_us, answer }
}
