//! What the checks of the ledger go by: where they stand, what they found, and the questions they ask. Those about the
//! ledger itself see one moment; each looks at a bounded number of rows, but for the sum of all accounts.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait as _, EntityTrait as _};

use super::cursor::statement;
use super::proof::{Snapshot, amount};
use super::{Db, StoreError, cursor, lines};
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::check::{Check, Sums};

/// How far the checks have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The last entry that was found right, and its hash.
    pub position: i64,
    pub hash: [u8; 32],
    /// The account after which to go on.
    pub account: i64,
}

/// What a check found last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub check: Check,
    pub is_fine: bool,
    pub checked_us: i64,
    /// Since when it is so.
    pub changed_us: i64,
    pub detail: String,
}

pub async fn mark(db: &Db) -> Result<Mark, StoreError> {
    let row = entity::checked::Entity::find_by_id(1_i16).one(&db.orm).await?;
    let row = row.ok_or_else(|| StoreError::Corrupt("the checks have no mark".into()))?;
    let hash = row.hash.try_into().map_err(|_bytes| StoreError::Corrupt("the mark's hash is not 32 bytes".into()))?;
    Ok(Mark { position: row.position, hash, account: row.account_id })
}

pub async fn set_mark(db: &Db, mark: &Mark) -> Result<(), StoreError> {
    let sql = "UPDATE checked SET position = $1, account_id = $2, hash = $3 WHERE id = 1";
    let values = [mark.position.into(), mark.account.into(), mark.hash.to_vec().into()];
    db.orm.execute_raw(statement(db, sql, values)).await?;
    Ok(())
}

/// What was found last, in the order of the checks.
pub async fn kept(db: &Db) -> Result<Vec<Kept>, StoreError> {
    let rows = entity::check::Entity::find().all(&db.orm).await?;
    let mut kept: Vec<Kept> = Vec::with_capacity(rows.len());
    for row in rows {
        // A newer version may know more of them.
        let Some(check) = Check::of(&row.name) else { continue };
        let entity::check::Model { is_fine, checked_us, changed_us, detail, .. } = row;
        kept.push(Kept { check, is_fine, checked_us, changed_us, detail });
    }
    kept.sort_unstable_by_key(|kept| kept.check);
    Ok(kept)
}

pub async fn keep(db: &Db, kept: &Kept) -> Result<(), StoreError> {
    let sql = "INSERT INTO checks (name, is_fine, checked_us, changed_us, detail) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (name) DO UPDATE SET is_fine = excluded.is_fine, checked_us = excluded.checked_us,
            changed_us = excluded.changed_us, detail = excluded.detail";
    let values = [
        kept.check.word().into(),
        kept.is_fine.into(),
        kept.checked_us.into(),
        kept.changed_us.into(),
        kept.detail.clone().into(),
    ];
    db.orm.execute_raw(statement(db, sql, values)).await?;
    Ok(())
}

/// Merchants and currencies whose accounts do not sum to zero: reads every account.
pub async fn unequal(snapshot: &mut Snapshot) -> Result<Vec<(i16, String)>, StoreError> {
    if let Snapshot::Postgres(connection) = snapshot {
        let sql = "SELECT merchant_id, currency FROM accounts GROUP BY merchant_id, currency
            HAVING sum(CASE WHEN kind IN ($1, $2) THEN balance ELSE -balance END) <> 0 ORDER BY 1, 2";
        let query = sqlx::query_as(sql).bind(AccountKind::Processor.code()).bind(AccountKind::Fees.code());
        return Ok(query.fetch_all(connection.as_mut()).await?);
    }
    let mut sums = Sums::default();
    for account in snapshot.accounts().await? {
        let corrupt = || StoreError::Corrupt(format!("account {}: its kind", account.id));
        let kind = AccountKind::from_code(account.kind).ok_or_else(corrupt)?;
        sums.add(account.merchant.0, &account.currency, kind, account.balance);
    }
    Ok(sums.unequal())
}

/// Which accounts to look at.
#[derive(Debug)]
pub enum Which<'a> {
    These(&'a BTreeSet<i64>),
    /// So many after this one.
    After(i64, i64),
}

/// Accounts whose balance is not the sum of their postings, and the last account that was looked at if there are more. What the postings
/// come to is the last line of the account, which a worker derived from them, and what came after the lines.
pub async fn differing(
    snapshot: &mut Snapshot,
    which: Which<'_>,
    (followed, moves): (i64, &BTreeMap<i64, (Amount, Amount)>),
) -> Result<(Vec<i64>, Option<i64>), StoreError> {
    type Row = (i64, i16, String, Option<String>);
    let chosen = match which {
        Which::These(ids) if ids.is_empty() => return Ok((Vec::new(), None)),
        // Numbers, written out: the two databases bind lists differently.
        Which::These(ids) => {
            format!("a.id IN ({})", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
        Which::After(id, _) => format!("a.id > {id}"),
    };
    let limit = match which {
        Which::These(_) => i64::MAX,
        Which::After(_, limit) => limit,
    };
    let sql = format!(
        "SELECT a.id, a.kind, CAST(a.balance AS text), (SELECT CAST(l.balance AS text) FROM account_lines l
            WHERE l.account_id = a.id AND l.position <= {followed} ORDER BY l.position DESC LIMIT 1)
        FROM accounts a WHERE {chosen} ORDER BY a.id LIMIT {limit}"
    );
    let sql = sqlx::AssertSqlSafe(sql);
    let rows: Vec<Row> = match snapshot {
        Snapshot::Postgres(connection) => sqlx::query_as(sql).persistent(false).fetch_all(connection.as_mut()).await?,
        Snapshot::Sqlite(connection) => sqlx::query_as(sql).fetch_all(connection.as_mut()).await?,
    };
    let is_more = i64::try_from(rows.len()).is_ok_and(|rows| rows >= limit);
    let last = rows.last().map(|row| row.0).filter(|_| is_more);
    let mut differing = Vec::new();
    for (id, kind, balance, line) in rows {
        let before = line.as_deref().map(amount).transpose()?.unwrap_or_default();
        let (debits, credits) = moves.get(&id).copied().unwrap_or_default();
        let grows = AccountKind::from_code(kind).is_some_and(AccountKind::grows_by_debit);
        let (more, less) = if grows { (debits, credits) } else { (credits, debits) };
        let sum = before.checked_add(more).and_then(|sum| sum.checked_sub(less));
        if sum != Some(amount(&balance)?) {
            differing.push(id);
        }
    }
    Ok((differing, last))
}

/// What came after the lines, by account: debits and credits. `None`: too much, the lines are far behind.
pub async fn moves(
    snapshot: &mut Snapshot,
    head: i64,
    most: i64,
) -> Result<Option<(i64, BTreeMap<i64, (Amount, Amount)>)>, StoreError> {
    const FOLLOWED: &str = "SELECT position FROM cursors WHERE name = $1";
    let row: Option<(i64,)> = match snapshot {
        Snapshot::Postgres(connection) => {
            sqlx::query_as(FOLLOWED).bind(lines::CURSOR).fetch_optional(connection.as_mut()).await?
        }
        Snapshot::Sqlite(connection) => {
            sqlx::query_as(FOLLOWED).bind(lines::CURSOR).fetch_optional(connection.as_mut()).await?
        }
    };
    let followed = row.map_or(0, |row| row.0);
    if head.saturating_sub(followed) > most {
        return Ok(None);
    }
    const MOVES: &str = "SELECT debit_id, credit_id, CAST(amount AS text) FROM postings WHERE position > $1";
    let rows: Vec<(i64, i64, String)> = match snapshot {
        Snapshot::Postgres(connection) => sqlx::query_as(MOVES).bind(followed).fetch_all(connection.as_mut()).await?,
        Snapshot::Sqlite(connection) => sqlx::query_as(MOVES).bind(followed).fetch_all(connection.as_mut()).await?,
    };
    let mut moves: BTreeMap<i64, (Amount, Amount)> = BTreeMap::new();
    for (debit, credit, text) in rows {
        let moved = amount(&text)?;
        let beyond = || StoreError::Corrupt("postings beyond any amount".into());
        let debits = &mut moves.entry(debit).or_default().0;
        *debits = debits.checked_add(moved).ok_or_else(beyond)?;
        let credits = &mut moves.entry(credit).or_default().1;
        *credits = credits.checked_add(moved).ok_or_else(beyond)?;
    }
    Ok(Some((followed, moves)))
}

/// How the journal and its readers stand.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    pub head: i64,
    pub last: i64,
    pub published: i64,
    /// Entries from the one after `published`, as far as was looked.
    pub expected: i64,
    pub there: i64,
    pub oldest_us: Option<i64>,
}

/// Looks for holes after what was published, at most so far.
pub async fn standing(db: &Db, from: Option<i64>, most: i64) -> Result<Standing, StoreError> {
    let published = cursor::state(db, cursor::RABBITMQ).await?.position;
    let from = from.unwrap_or(published);
    let sql = "SELECT h.position, (SELECT coalesce(max(position), 0) FROM journal),
            (SELECT count(*) FROM journal WHERE position > $1 AND position <= $2 AND position <= h.position),
            (SELECT at_us FROM journal WHERE position > $1 ORDER BY position LIMIT 1)
        FROM journal_head h WHERE h.id = 1";
    let to = from.saturating_add(most);
    let row = db.orm.query_one_raw(statement(db, sql, [from.into(), to.into()])).await?;
    let row = row.ok_or_else(|| StoreError::Corrupt("there is no journal head".into()))?;
    let head: i64 = row.try_get_by_index(0)?;
    Ok(Standing {
        head,
        last: row.try_get_by_index(1)?,
        published,
        expected: Ord::min(head, to).saturating_sub(from).max(0),
        there: row.try_get_by_index(2)?,
        oldest_us: row.try_get_by_index(3)?,
    })
}

/// How many discrepancies have been open since before a moment.
pub async fn old_holds(db: &Db, before_us: i64) -> Result<i64, StoreError> {
    let sql = "SELECT count(*) FROM discrepancies WHERE resolved_us IS NULL AND opened_us < $1";
    let row = db.orm.query_one_raw(statement(db, sql, [before_us.into()])).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or_default())
}
