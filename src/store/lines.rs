//! The journal seen from each account: a line for each entry that moved it, with the balance afterwards. The lines
//! follow the journal at a distance; what they have not reached yet is read from the journal itself, so a page is
//! always complete.

use std::collections::{BTreeMap, HashMap};

use futures_util::TryStreamExt as _;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait as _, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect,
    Statement, StreamTrait as _,
};

use super::{Db, Kind, StoreError, cursor, events};
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use entity::account_line::{Column, Entity};

/// The cursor over the journal.
pub const CURSOR: &str = "lines";
/// Rows of one insert: below SQLite's limit of parameters.
const INSERT_ROWS: usize = 5_000;

/// What a step of following came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed {
    /// Rows of the journal, or callbacks, that this step took in. None when another replica was faster.
    pub taken: i64,
    /// And what is left.
    pub pending: i64,
}

/// Where an account stood after an entry that moved it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    pub place: Place,
    pub at_us: i64,
    pub balance: Amount,
}

/// Lines are in the order of the journal, those of one entry in the order of the accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub position: i64,
    pub account: i64,
}

impl Place {
    pub const END: Self = Self { position: i64::MAX, account: i64::MAX };

    /// The inverse of `Display`.
    pub fn parse(text: &str) -> Option<Self> {
        let (position, account) = text.split_once('.')?;
        let number = |text: &str| text.parse().ok().filter(|number: &i64| *number >= 0);
        Some(Self { position: number(position)?, account: number(account)? })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}", self.position, self.account)
    }
}

/// Which lines are meant: before a place, of a time. Positions only narrow what is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    pub before: Place,
    pub from_position: i64,
    pub since_us: i64,
    pub until_us: i64,
}

impl Range {
    fn holds(&self, line: &Line) -> bool {
        let is_in_time = (self.since_us..self.until_us).contains(&line.at_us);
        line.place < self.before && line.place.position >= self.from_position && is_in_time
    }
}

/// Follows the journal by a step of so many entries: the lines and the cursor move together, or not at all.
pub async fn follow(db: &Db, step: i64) -> Result<Followed, StoreError> {
    let head = events::last_position(db).await?;
    let from = cursor::state(db, CURSOR).await?.position;
    let to = Ord::min(head, from.saturating_add(step));
    if to <= from {
        return Ok(Followed { taken: 0, pending: 0 });
    }
    let moves: Vec<Move> = moves(db, from, to, None).await?;
    let mut ids: Vec<i64> = moves.iter().flat_map(|moved| [moved.debit, moved.credit]).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut accounts = standing(db, &kinds(db, &ids).await?, from).await?;
    let mut lines = BTreeMap::new();
    for moved in moves {
        for line in accounts.take(&moved)? {
            lines.insert(line.place, line);
        }
    }
    let lines: Vec<Line> = lines.into_values().collect();
    let is_ours = write(db, from, to, &lines).await?;
    let taken = if is_ours { to.saturating_sub(from) } else { 0 };
    Ok(Followed { taken, pending: head.saturating_sub(to) })
}

/// The newest lines of these accounts within a range, at most `limit`, newest first.
pub async fn newest(db: &Db, accounts: &[i64], range: Range, limit: u64) -> Result<Vec<Line>, StoreError> {
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    let rows = usize::try_from(limit).unwrap_or(usize::MAX);
    // Read before the lines: what it covers is there.
    let followed = cursor::state(db, CURSOR).await?.position;
    let mut lines = tail(db, accounts, range, followed, rows).await?;
    if lines.len() < rows {
        for account in accounts {
            lines.extend(indexed(db, *account, range, followed, limit).await?);
        }
    }
    lines.sort_unstable_by_key(|line| std::cmp::Reverse(line.place));
    lines.truncate(rows);
    Ok(lines)
}

/// By the index: the entries up to `followed`.
async fn indexed(db: &Db, account: i64, range: Range, followed: i64, limit: u64) -> Result<Vec<Line>, StoreError> {
    let before = range.before;
    // An entry moves several accounts: those above the place's own come first.
    let last = if account < before.account { before.position } else { before.position.saturating_sub(1) };
    let query = Entity::find()
        .filter(Column::AccountId.eq(account))
        .filter(Column::Position.lte(Ord::min(last, followed)))
        .filter(Column::Position.gte(range.from_position))
        .filter(Condition::all().add(Column::AtUs.gte(range.since_us)).add(Column::AtUs.lt(range.until_us)));
    let rows = query.order_by_desc(Column::Position).limit(limit).all(&db.orm).await?;
    rows.into_iter()
        .map(|row| {
            let place = Place { position: row.position, account: row.account_id };
            Ok(Line { place, at_us: row.at_us, balance: amount(&row.balance)? })
        })
        .collect()
}

/// From the journal itself: the newest lines of the entries after `followed`.
async fn tail(db: &Db, accounts: &[i64], range: Range, followed: i64, rows: usize) -> Result<Vec<Line>, StoreError> {
    let mut standing = standing(db, &kinds(db, accounts).await?, followed).await?;
    let mut lines: BTreeMap<Place, Line> = BTreeMap::new();
    for moved in moves(db, followed, i64::MAX, Some(accounts)).await? {
        for line in standing.take(&moved)? {
            if range.holds(&line) {
                lines.insert(line.place, line);
            }
        }
        while lines.len() > rows {
            lines.pop_first();
        }
    }
    Ok(lines.into_values().collect())
}

/// A posting, as far as lines need it.
struct Move {
    position: i64,
    at_us: i64,
    debit: i64,
    credit: i64,
    amount: Amount,
}

async fn moves(db: &Db, after: i64, to: i64, only: Option<&[i64]>) -> Result<Vec<Move>, StoreError> {
    let mut sql = "SELECT p.position, j.at_us, p.debit_id, p.credit_id, CAST(p.amount AS text)
        FROM postings p JOIN journal j ON j.position = p.position WHERE p.position > $1 AND p.position <= $2"
        .to_owned();
    if let Some(accounts) = only {
        let ids = accounts.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        sql.push_str(&format!(" AND (p.debit_id IN ({ids}) OR p.credit_id IN ({ids}))"));
    }
    sql.push_str(" ORDER BY p.position, p.ordinal");
    let statement = Statement::from_sql_and_values(db.orm.get_database_backend(), sql, [after.into(), to.into()]);
    let read = |row: QueryResult| {
        Ok::<_, StoreError>(Move {
            position: row.try_get_by_index(0)?,
            at_us: row.try_get_by_index(1)?,
            debit: row.try_get_by_index(2)?,
            credit: row.try_get_by_index(3)?,
            amount: amount(&row.try_get_by_index::<String>(4)?)?,
        })
    };
    let mut moves = Vec::new();
    let mut rows = db.orm.stream_raw(statement).await?;
    while let Some(row) = rows.try_next().await? {
        moves.push(read(row)?);
    }
    Ok(moves)
}

/// Which way each account grows.
async fn kinds(db: &Db, accounts: &[i64]) -> Result<HashMap<i64, AccountKind>, StoreError> {
    use entity::account::{Column, Entity};
    let query = Entity::find().filter(Column::Id.is_in(accounts.iter().copied()));
    let rows: Vec<(i64, i16)> =
        query.select_only().columns([Column::Id, Column::Kind]).into_tuple().all(&db.orm).await?;
    let kind = |(id, code)| {
        let kind = AccountKind::from_code(code);
        Ok((id, kind.ok_or_else(|| StoreError::Corrupt(format!("account {id} is of kind {code}")))?))
    };
    rows.into_iter().map(kind).collect()
}

/// Accounts as they stand at a position, moved on by one posting after the other.
struct Standing(HashMap<i64, (AccountKind, Amount)>);

impl Standing {
    /// The lines that a posting makes: none for accounts that are not looked at.
    fn take(&mut self, moved: &Move) -> Result<Vec<Line>, StoreError> {
        let mut lines = Vec::with_capacity(2);
        for (account, is_debit) in [(moved.debit, true), (moved.credit, false)] {
            let Some((kind, balance)) = self.0.get_mut(&account) else { continue };
            let grows = kind.grows_by_debit() == is_debit;
            let changed = if grows { balance.checked_add(moved.amount) } else { balance.checked_sub(moved.amount) };
            let beyond = || StoreError::Corrupt(format!("account {account} leaves the bound at {}", moved.position));
            *balance = changed.ok_or_else(beyond)?;
            let place = Place { position: moved.position, account };
            lines.push(Line { place, at_us: moved.at_us, balance: *balance });
        }
        Ok(lines)
    }
}

/// By the last line of each account up to a position; without one it holds nothing.
async fn standing(db: &Db, kinds: &HashMap<i64, AccountKind>, at: i64) -> Result<Standing, StoreError> {
    if kinds.is_empty() {
        return Ok(Standing(HashMap::new()));
    }
    let ids = kinds.keys().map(i64::to_string).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT a.id, (SELECT CAST(l.balance AS text) FROM account_lines l
            WHERE l.account_id = a.id AND l.position <= $1 ORDER BY l.position DESC LIMIT 1)
         FROM accounts a WHERE a.id IN ({ids})"
    );
    let statement = Statement::from_sql_and_values(db.orm.get_database_backend(), sql, [at.into()]);
    let mut standing = HashMap::new();
    for row in db.orm.query_all_raw(statement).await? {
        let (id, balance): (i64, Option<String>) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let balance = balance.map_or(Ok(Amount::ZERO), |text| amount(&text))?;
        standing.extend(kinds.get(&id).map(|kind| (id, (*kind, balance))));
    }
    Ok(Standing(standing))
}

async fn write(db: &Db, from: i64, to: i64, lines: &[Line]) -> Result<bool, StoreError> {
    if db.kind == Kind::Postgres {
        let mut transaction = db.orm.get_postgres_connection_pool().begin().await?;
        let moved = sqlx::query(cursor::MOVE).bind(CURSOR).bind(from).bind(to).execute(&mut *transaction).await?;
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO account_lines (account_id, position, at_us, balance)
             SELECT * FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::text[]::numeric[])",
        )
        .bind(lines.iter().map(|line| line.place.account).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| line.place.position).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| line.at_us).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| line.balance.to_string()).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        return Ok(true);
    }
    let mut transaction = db.orm.get_sqlite_connection_pool().begin().await?;
    let moved = sqlx::query(cursor::MOVE).bind(CURSOR).bind(from).bind(to).execute(&mut *transaction).await?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    for lines in lines.chunks(INSERT_ROWS) {
        let mut insert = sqlx::QueryBuilder::new("INSERT INTO account_lines (account_id, position, at_us, balance) ");
        insert.push_values(lines, |mut row, line| {
            row.push_bind(line.place.account).push_bind(line.place.position);
            row.push_bind(line.at_us).push_bind(line.balance.to_string());
        });
        insert.build().persistent(false).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(true)
}

fn amount(text: &str) -> Result<Amount, StoreError> {
    Amount::parse(text).map_err(|error| StoreError::Corrupt(format!("a line's amount {text}: {error}")))
}
