//! `naive`: one sea-orm transaction per request, as most receivers with a ledger are written. Raw
//! callback, payment, transfer, two postings, two balances, an outbox row, one commit, then 200.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use actix_web::web::{Bytes, Data, PayloadConfig, get, post};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use anyhow::{Context as _, Result};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait as _, ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DatabaseTransaction, DbErr,
    EntityTrait as _, ExprTrait as _, Set, TransactionTrait as _, TryInsertResult,
};
use sha2::{Digest as _, Sha256};

use super::tables::{SCHEMA, account, callback, outbox, payment, posting, transfer};
use super::{BODY_BYTES_MAX, Deposit, Keys, WORKERS, satoshi};

const POOL: u32 = 32;

struct Service {
    keys: Keys,
    db: DatabaseConnection,
}

enum Booking {
    Booked,
    Duplicate,
}

pub(crate) async fn serve(listen: SocketAddr, database: &str, merchants: &Path) -> Result<()> {
    let mut options = ConnectOptions::new(database);
    options
        .max_connections(POOL)
        .sqlx_logging(false)
        .acquire_timeout(Duration::from_secs(30))
        .test_before_acquire(false);
    let db = Database::connect(options).await.context("connecting to PostgreSQL")?;
    db.execute_unprepared(SCHEMA).await.context("making the tables")?;
    let service = Data::new(Service { keys: Keys::read(merchants)?, db });
    let app = move || {
        App::new()
            .app_data(Data::clone(&service))
            .app_data(PayloadConfig::new(BODY_BYTES_MAX))
            .route("/callbacks/alphapo", post().to(receive))
            .route("/readyz", get().to(|| async { "ready" }))
    };
    HttpServer::new(app).workers(WORKERS).bind(listen)?.run().await?;
    Ok(())
}

async fn receive(request: HttpRequest, body: Bytes, service: Data<Service>) -> HttpResponse {
    let Some(merchant) = service.keys.verify(&request, &body) else {
        return HttpResponse::Unauthorized().finish();
    };
    let Ok(deposit) = serde_json::from_slice::<Deposit<'_>>(&body) else {
        return HttpResponse::BadRequest().finish();
    };
    match book(&service.db, merchant, &deposit, &body).await {
        Ok(Booking::Booked | Booking::Duplicate) => HttpResponse::Ok().finish(),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

async fn book(db: &DatabaseConnection, merchant: &str, deposit: &Deposit<'_>, body: &[u8]) -> Result<Booking> {
    let amount = satoshi(deposit.currency_received.amount).context("an amount without eight decimals")?;
    let net = satoshi(deposit.currency_received.amount_minus_fee).context("an amount without eight decimals")?;
    let txn = db.begin().await?;
    if insert_callback(&txn, merchant, body).await? == 0 {
        txn.rollback().await?;
        return Ok(Booking::Duplicate);
    }
    insert_payment(&txn, merchant, deposit).await?;
    let transfer = insert_transfer(&txn, merchant, deposit.id).await?;
    let (currency, customer) = (deposit.currency_received.currency, deposit.crypto_address.foreign_id);
    // Always in this order, so that two transactions never wait for each other in a circle.
    let available = add_to_balance(&txn, [merchant, "available", customer, currency], amount).await?;
    let processor = add_to_balance(&txn, [merchant, "processor", "", currency], net).await?;
    let leg = |account: &account::Model, amount: i64| posting::ActiveModel {
        transfer_id: Set(transfer),
        account_id: Set(account.id),
        amount: Set(amount),
        ..Default::default()
    };
    posting::Entity::insert_many([leg(&processor, net), leg(&available, amount)]).exec_without_returning(&txn).await?;
    let event = outbox::ActiveModel {
        routing_key: Set(format!("deposit.credited.{currency}")),
        payload: Set(event(merchant, deposit, available.balance)),
        ..Default::default()
    };
    outbox::Entity::insert(event).exec_without_returning(&txn).await?;
    txn.commit().await?;
    Ok(Booking::Booked)
}

/// The number of rows that were new: none for a repeat.
async fn insert_callback(txn: &DatabaseTransaction, merchant: &str, body: &[u8]) -> Result<u64, DbErr> {
    let row = callback::ActiveModel {
        merchant: Set(merchant.to_owned()),
        digest: Set(Sha256::digest(body).to_vec()),
        body: Set(body.to_vec()),
        ..Default::default()
    };
    let unique = [callback::Column::Merchant, callback::Column::Digest];
    match callback::Entity::insert(row).on_conflict_do_nothing_on(unique).exec_without_returning(txn).await? {
        TryInsertResult::Inserted(rows) => Ok(rows),
        TryInsertResult::Empty | TryInsertResult::Conflicted => Ok(0),
    }
}

async fn insert_payment(txn: &DatabaseTransaction, merchant: &str, deposit: &Deposit<'_>) -> Result<(), DbErr> {
    let row = payment::ActiveModel {
        merchant: Set(merchant.to_owned()),
        processor_id: Set(i64::try_from(deposit.id).unwrap_or(i64::MAX)),
        status: Set(deposit.status.to_owned()),
        foreign_id: Set(deposit.crypto_address.foreign_id.to_owned()),
        ..Default::default()
    };
    payment::Entity::insert(row).exec_without_returning(txn).await?;
    Ok(())
}

async fn insert_transfer(txn: &DatabaseTransaction, merchant: &str, id: u64) -> Result<i64, DbErr> {
    let row = transfer::ActiveModel {
        merchant: Set(merchant.to_owned()),
        effect_key: Set(format!("deposit:{id}:credit")),
        ..Default::default()
    };
    Ok(transfer::Entity::insert(row).exec(txn).await?.last_insert_id)
}

async fn add_to_balance(txn: &DatabaseTransaction, names: [&str; 4], amount: i64) -> Result<account::Model, DbErr> {
    let [merchant, kind, customer, currency] = names.map(str::to_owned);
    let row = account::ActiveModel {
        merchant: Set(merchant),
        kind: Set(kind),
        customer: Set(customer),
        currency: Set(currency),
        balance: Set(amount),
        ..Default::default()
    };
    let key = [account::Column::Merchant, account::Column::Kind, account::Column::Customer, account::Column::Currency];
    let mut add = OnConflict::columns(key);
    add.value(account::Column::Balance, account::Column::Balance.into_expr().add(amount));
    account::Entity::insert(row).on_conflict(add).exec_with_returning(txn).await
}

fn event(merchant: &str, deposit: &Deposit<'_>, balance: i64) -> String {
    let (id, customer, amount) = (deposit.id, deposit.crypto_address.foreign_id, deposit.currency_received.amount);
    format!(
        r#"{{"specversion":"1.0","id":"deposit:{id}:credit","source":"/merchants/{merchant}","type":"deposit.credited","data":{{"customer":"{customer}","payment":"{id}","currency":"{}","amount":"{amount}","balance_after":{balance}}}}}"#,
        deposit.currency_received.currency
    )
}
