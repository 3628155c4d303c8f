//! Sessions of the page, and wrong logins: in the database, so that every replica knows them. What is kept lets nobody
//! in: the session's id and the token are not.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter};

use super::{Db, StoreError};
use entity::{login_failure, session};

/// A session as it is kept.
#[derive(Debug, Clone)]
pub struct Session {
    /// SHA-256 of the id that the browser has.
    pub digest: [u8; 32],
    /// The name of the token it was opened with.
    pub token: String,
    pub role: String,
    /// Ties the id to the token's secret.
    pub proof: [u8; 32],
    pub csrf: String,
    pub created_us: i64,
    pub seen_us: i64,
}

/// Wrong logins of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    pub count: i64,
    pub last_us: i64,
}

pub async fn add(db: &Db, session: &Session) -> Result<(), StoreError> {
    let Session { digest, token, role, proof, csrf, created_us, seen_us } = session.clone();
    let row = session::ActiveModel {
        digest: Set(digest.to_vec()),
        token: Set(token),
        role: Set(role),
        proof: Set(proof.to_vec()),
        csrf: Set(csrf),
        created_us: Set(created_us),
        seen_us: Set(seen_us),
    };
    session::Entity::insert(row).exec_without_returning(&db.orm).await?;
    Ok(())
}

pub async fn find(db: &Db, digest: [u8; 32]) -> Result<Option<Session>, StoreError> {
    let row = session::Entity::find_by_id(digest.to_vec()).one(&db.orm).await?;
    let session = |row: session::Model| {
        let proof = row.proof.try_into().map_err(|_length| StoreError::Corrupt("a session's proof".into()))?;
        let session::Model { token, role, csrf, created_us, seen_us, .. } = row;
        Ok(Session { digest, token, role, proof, csrf, created_us, seen_us })
    };
    row.map(session).transpose()
}

/// It was used just now.
pub async fn touch(db: &Db, digest: [u8; 32], now_us: i64) -> Result<(), StoreError> {
    use session::Column;
    let update = session::Entity::update_many().col_expr(Column::SeenUs, Expr::value(now_us));
    update.filter(Column::Digest.eq(digest.to_vec())).exec(&db.orm).await?;
    Ok(())
}

pub async fn remove(db: &Db, digest: [u8; 32]) -> Result<(), StoreError> {
    session::Entity::delete_by_id(digest.to_vec()).exec(&db.orm).await?;
    Ok(())
}

/// Forgets sessions that were last used before `seen_us`.
pub async fn forget_before(db: &Db, seen_us: i64) -> Result<(), StoreError> {
    session::Entity::delete_many().filter(session::Column::SeenUs.lt(seen_us)).exec(&db.orm).await?;
    Ok(())
}

/// The wrong logins of a peer, if any.
pub async fn failures(db: &Db, peer: &str) -> Result<Option<Failures>, StoreError> {
    let row = login_failure::Entity::find_by_id(peer).one(&db.orm).await?;
    Ok(row.map(|row| Failures { count: row.failures, last_us: row.last_us }))
}

/// Counts a login as wrong, after forgetting what is older than `forget_us`.
pub async fn count_failure(db: &Db, peer: &str, now_us: i64, forget_us: i64) -> Result<(), StoreError> {
    use login_failure::{ActiveModel, Column, Entity};
    Entity::delete_many().filter(Column::LastUs.lt(forget_us)).exec(&db.orm).await?;
    let row = ActiveModel { peer: Set(peer.to_owned()), failures: Set(1), last_us: Set(now_us) };
    let counted = OnConflict::column(Column::Peer)
        .value(Column::Failures, Expr::col((Entity, Column::Failures)).add(1))
        .update_column(Column::LastUs)
        .to_owned();
    Entity::insert(row).on_conflict(counted).exec_without_returning(&db.orm).await?;
    Ok(())
}

/// A right login of the peer: forgets its wrong ones, and takes `counted` off those of all.
pub async fn forgive(db: &Db, peer: &str, everybody: &str, counted: i64) -> Result<(), StoreError> {
    use login_failure::{Column, Entity};
    Entity::delete_by_id(peer).exec(&db.orm).await?;
    let fewer = Expr::col(Column::Failures).sub(counted);
    let of_all = Condition::all().add(Column::Peer.eq(everybody)).add(Column::Failures.gte(counted));
    Entity::update_many().col_expr(Column::Failures, fewer).filter(of_all).exec(&db.orm).await?;
    Ok(())
}
