//! Giving up addresses: those that the gateway took, and those that clients of the drop-in took through us. A page is one
//! transaction, with its line in the audit log; the journal's head is locked for no longer than that.

use sea_orm::{ConnectionTrait as _, Statement, Value};
use serde_json::Value as Json;

use super::audit_log::{Actor, Deed, note};
use super::booking::retired::announce;
use super::{Db, StoreError, customers};
use crate::domain::ids::MerchantId;

/// Addresses of one transaction.
const PAGE: i64 = 500;

/// Which addresses are meant. Nothing set means all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    pub merchant: Option<MerchantId>,
    /// As the processor or a client of the gateway calls it.
    pub currency: Option<String>,
    /// Only addresses of the gateway have one.
    pub network: Option<String>,
    /// Taken before then.
    pub before_us: Option<i64>,
    /// A customer by any of their references.
    pub customer: Option<String>,
}

/// How far a pass has come, and what it met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pass {
    pub gateway: u64,
    pub drop_in: u64,
    gateway_after: i64,
    drop_in_after: i64,
    pub is_over: bool,
}

/// An address that was found.
struct Found {
    id: i64,
    merchant: i16,
    address: String,
    foreign_id: String,
}

/// Who gives them up, and when.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    pub actor: &'a Actor,
    pub at_us: i64,
}

/// Takes the next page: gives its addresses up, or only counts them when nobody is named.
pub async fn step(db: &Db, which: &Which, by: Option<By<'_>>, mut pass: Pass) -> Result<Pass, StoreError> {
    let found = gateway(db, which, pass.gateway_after).await?;
    if let Some(last) = found.last() {
        pass.gateway_after = last.id;
        pass.gateway = pass.gateway.saturating_add(count(found.len()));
        if let Some(by) = by {
            retire(db, which, &found, true, by).await?;
        }
        return Ok(pass);
    }
    let (found, last) = drop_in(db, which, pass.drop_in_after).await?;
    let Some(last) = last else { return Ok(Pass { is_over: true, ..pass }) };
    pass.drop_in_after = last;
    pass.drop_in = pass.drop_in.saturating_add(count(found.len()));
    if let Some(by) = by.filter(|_| !found.is_empty()) {
        retire(db, which, &found, false, by).await?;
    }
    Ok(pass)
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

async fn gateway(db: &Db, which: &Which, after: i64) -> Result<Vec<Found>, StoreError> {
    let mut sql = "SELECT a.id, a.merchant_id, a.address, a.foreign_id FROM addresses a
        WHERE a.id > $1 AND a.address IS NOT NULL AND a.retired_us IS NULL"
        .to_owned();
    let mut values: Vec<Value> = vec![after.into()];
    let mut also = |condition: &str, value: Value| {
        values.push(value);
        sql.push_str(&condition.replace("{}", &format!("${}", values.len())));
    };
    if let Some(merchant) = which.merchant {
        also(" AND a.merchant_id = {}", merchant.0.into());
    }
    if let Some(currency) = &which.currency {
        let condition = " AND (a.code = {} OR EXISTS (SELECT 1 FROM deposit_requests r
            WHERE r.address_id = a.id AND r.currency = {}))";
        also(condition, currency.as_str().into());
    }
    if let Some(network) = &which.network {
        also(" AND a.network = {}", network.as_str().into());
    }
    if let Some(before_us) = which.before_us {
        let condition =
            " AND EXISTS (SELECT 1 FROM deposit_requests r WHERE r.address_id = a.id AND r.created_us < {})";
        also(condition, before_us.into());
    }
    if let Some(customer) = &which.customer {
        also(" AND a.user_identifier = {}", customer.as_str().into());
    }
    sql.push_str(&format!(" ORDER BY a.id LIMIT {PAGE}"));
    let statement = Statement::from_sql_and_values(db.orm.get_database_backend(), sql, values);
    let mut found = Vec::new();
    for row in db.orm.query_all_raw(statement).await? {
        found.push(Found {
            id: row.try_get_by_index(0)?,
            merchant: row.try_get_by_index(1)?,
            address: row.try_get_by_index(2)?,
            foreign_id: row.try_get_by_index(3)?,
        });
    }
    Ok(found)
}

/// Addresses that the processor gave to clients of the drop-in: its answers were kept.
async fn drop_in(db: &Db, which: &Which, after: i64) -> Result<(Vec<Found>, Option<i64>), StoreError> {
    if which.network.is_some() {
        return Ok((Vec::new(), None));
    }
    let mut sql = "SELECT q.id, q.merchant_id, q.foreign_id, q.answer, q.customer_id FROM requests q
        WHERE q.id > $1 AND q.kind = 1 AND q.state = 2"
        .to_owned();
    let mut values: Vec<Value> = vec![after.into()];
    if let Some(merchant) = which.merchant {
        values.push(merchant.0.into());
        sql.push_str(&format!(" AND q.merchant_id = ${}", values.len()));
    }
    if let Some(before_us) = which.before_us {
        values.push(before_us.into());
        sql.push_str(&format!(" AND q.asked_us < ${}", values.len()));
    }
    sql.push_str(&format!(" ORDER BY q.id LIMIT {PAGE}"));
    let whose = match &which.customer {
        Some(customer) => Some(customers::named(db, customer).await?),
        None => None,
    };
    let statement = Statement::from_sql_and_values(db.orm.get_database_backend(), sql, values);
    let (mut found, mut last) = (Vec::new(), None);
    for row in db.orm.query_all_raw(statement).await? {
        let id: i64 = row.try_get_by_index(0)?;
        last = Some(id);
        let answer: Option<Vec<u8>> = row.try_get_by_index(3)?;
        let customer: Option<i64> = row.try_get_by_index(4)?;
        let answer: Json = answer.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let told = |field: &str| answer.get("data")?.get(field)?.as_str().map(str::to_owned);
        let is_wanted = whose.as_ref().is_none_or(|whose| customer.is_some_and(|customer| whose.contains(&customer)))
            && which.currency.as_ref().is_none_or(|currency| told("currency").as_ref() == Some(currency));
        if let Some(address) = told("address").filter(|_| is_wanted) {
            found.push(Found { id, merchant: row.try_get_by_index(1)?, address, foreign_id: row.try_get_by_index(2)? });
        }
    }
    Ok((new_only(db, found).await?, last))
}

/// Those that were not given up before.
async fn new_only(db: &Db, found: Vec<Found>) -> Result<Vec<Found>, StoreError> {
    use entity::retired_address::{Column, Entity};
    use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};
    let addresses = found.iter().map(|one| one.address.as_str());
    let known = Entity::find().filter(Column::Address.is_in(addresses)).all(&db.orm).await?;
    let is_known = |one: &Found| {
        let same = |row: &entity::retired_address::Model| {
            (row.merchant_id, &row.address, &row.foreign_id) == (one.merchant, &one.address, &one.foreign_id)
        };
        known.iter().any(same)
    };
    let mut met = std::collections::HashSet::new();
    let is_first = |one: &Found| met.insert((one.merchant, one.address.clone(), one.foreign_id.clone()));
    Ok(found.into_iter().filter(|one| !is_known(one)).filter(is_first).collect())
}

async fn retire(db: &Db, which: &Which, found: &[Found], is_gateway: bool, by: By<'_>) -> Result<(), StoreError> {
    let transaction = db.begin().await?;
    let turn = announce(&transaction).await?;
    let backend = db.orm.get_database_backend();
    for one in found {
        let sql = "INSERT INTO retired_addresses (merchant_id, retired_us, turn, address, foreign_id)
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
        let values: [Value; 5] = [
            one.merchant.into(),
            by.at_us.into(),
            turn.into(),
            one.address.as_str().into(),
            one.foreign_id.as_str().into(),
        ];
        transaction.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        if is_gateway {
            let sql = "UPDATE addresses SET retired_us = $2 WHERE id = $1 AND retired_us IS NULL";
            let values: [Value; 2] = [one.id.into(), by.at_us.into()];
            transaction.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        }
    }
    let deed = Deed {
        action: "addresses.retire",
        subject: "addresses".to_owned(),
        before: Some(which.to_string()),
        after: Some(format!("{} {}", found.len(), if is_gateway { "of the gateway" } else { "of the drop-in" })),
        at_us: by.at_us,
    };
    note(&transaction, by.actor, deed).await?;
    transaction.commit().await?;
    Ok(())
}

impl std::fmt::Display for Which {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { merchant, currency, network, before_us, customer } = self;
        let parts = [
            merchant.map(|merchant| format!("merchant {}", merchant.0)),
            currency.as_ref().map(|currency| format!("currency {currency}")),
            network.as_ref().map(|network| format!("network {network}")),
            before_us.map(|before_us| format!("before {}", crate::domain::event::rfc3339(before_us))),
            customer.as_ref().map(|_| "one customer".to_owned()),
        ];
        let given: Vec<String> = parts.into_iter().flatten().collect();
        out.write_str(if given.is_empty() { "all" } else { "" })?;
        out.write_str(&given.join(", "))
    }
}

/// All of them: given up, or only counted when nobody is named.
pub async fn all(db: &Db, which: &Which, by: Option<By<'_>>) -> Result<Pass, StoreError> {
    let mut pass = Pass::default();
    while !pass.is_over {
        pass = step(db, which, by, pass).await?;
    }
    Ok(pass)
}
