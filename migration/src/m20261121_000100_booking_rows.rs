//! The rows that one booking statement takes, each as one value: PostgreSQL unpacks an array of them several times faster
//! than an array for each column. Types of their own, so that a column added to a table disturbs no older replica.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, DOWN).await
    }
}

const UP: &str = r#"
postgres:CREATE TYPE booking_key AS (
    merchant_id smallint, locality bigint, digest bytea, family smallint, ext_id text, fingerprint bigint
)
---
postgres:CREATE TYPE booking_callback AS (
    id bigint, merchant_id smallint, family smallint, state smallint, reason smallint, policy smallint,
    entries smallint, locality bigint, turn bigint, position bigint, payment_id bigint, customer_id bigint,
    received_us bigint, decided_us bigint, digest bytea, signature bytea, type text, status text, ext_id text,
    foreign_id text, end_user_reference text, address text, txids text, detail text, headers text, body bytea,
    origin smallint
)
---
postgres:CREATE TYPE booking_payment AS (
    id bigint, merchant_id smallint, family smallint, status smallint, facts bigint, fingerprint bigint,
    customer_id bigint, ext_id text
)
---
postgres:CREATE TYPE booking_entry AS (
    position bigint, merchant_id smallint, event smallint, effect smallint, reason smallint, postings smallint,
    subject bigint, callback_id bigint, payment_id bigint, customer_id bigint, at_us bigint, hash bytea,
    currency text, amount numeric(38,18), fee numeric(38,18), balance_after numeric(38,18)
)
---
postgres:CREATE TYPE booking_posting AS (
    position bigint, ordinal smallint, debit_id bigint, credit_id bigint, amount numeric(38,18)
)
---
postgres:CREATE TYPE booking_balance AS (id bigint, balance numeric(38,18))
---
postgres:CREATE TYPE booking_customer AS (id bigint, merchant_id smallint, name text)
---
postgres:CREATE TYPE booking_reference AS (merchant_id smallint, kind smallint, value text, customer_id bigint)
---
postgres:CREATE TYPE booking_account AS (
    id bigint, merchant_id smallint, kind smallint, customer_id bigint, currency text, balance numeric(38,18)
)
"#;

const DOWN: &str = r#"
postgres:DROP TYPE booking_account
---
postgres:DROP TYPE booking_reference
---
postgres:DROP TYPE booking_customer
---
postgres:DROP TYPE booking_balance
---
postgres:DROP TYPE booking_posting
---
postgres:DROP TYPE booking_entry
---
postgres:DROP TYPE booking_payment
---
postgres:DROP TYPE booking_callback
---
postgres:DROP TYPE booking_key
"#;
