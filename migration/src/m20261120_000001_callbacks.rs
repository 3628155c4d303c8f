//! What arrived: merchants, the journal's head, callbacks with their decision, and what is counted beside them.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(
            manager,
            "DROP TABLE failures\n---\nDROP TABLE redeliveries\n---\nDROP TABLE callbacks\n---\n\
             DROP TABLE journal_head\n---\nDROP TABLE merchants",
        )
        .await
    }
}

// `callbacks_once` starts with a number made of the payment's id, which ascends as the processor gives them out:
// the index stays local however many callbacks there are, where a bare digest would touch a random page each.
const UP: &str = r#"
CREATE TABLE merchants (
    id smallint PRIMARY KEY,
    name text {c} NOT NULL CONSTRAINT merchants_name UNIQUE
)
---
CREATE TABLE journal_head (
    id smallint PRIMARY KEY CHECK (id = 1),
    position bigint NOT NULL,
    hash {blob} NOT NULL CHECK (length(hash) = 32),
    turn bigint NOT NULL,
    callback_id bigint NOT NULL,
    payment_id bigint NOT NULL,
    customer_id bigint NOT NULL,
    account_id bigint NOT NULL
) {hot}
---
postgres:INSERT INTO journal_head VALUES (1, 0, decode(repeat('00', 32), 'hex'), 0, 0, 0, 0, 0)
---
sqlite:INSERT INTO journal_head VALUES (1, 0, zeroblob(32), 0, 0, 0, 0, 0)
---
CREATE TABLE callbacks (
    id bigint PRIMARY KEY,
    merchant_id smallint NOT NULL,
    family smallint NOT NULL,
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 4),
    reason smallint,
    policy smallint NOT NULL,
    entries smallint NOT NULL,
    locality bigint NOT NULL,
    turn bigint NOT NULL,
    position bigint NOT NULL,
    payment_id bigint,
    customer_id bigint,
    received_us bigint NOT NULL,
    decided_us bigint NOT NULL,
    digest {blob} NOT NULL CHECK (length(digest) = 32),
    signature {blob} NOT NULL CHECK (length(signature) = 64),
    type text,
    status text,
    ext_id text {c},
    foreign_id text {c},
    end_user_reference text {c},
    address text,
    txids text,
    detail text,
    headers text NOT NULL,
    body {blob}
)
---
CREATE UNIQUE INDEX callbacks_once ON callbacks (locality, digest, merchant_id)
---
CREATE INDEX callbacks_waiting ON callbacks (state, id) WHERE state >= 3
---
CREATE INDEX callbacks_foreign_id ON callbacks (foreign_id, id) WHERE foreign_id IS NOT NULL
---
CREATE TABLE redeliveries (
    callback_id bigint PRIMARY KEY,
    count bigint NOT NULL,
    last_us bigint NOT NULL
) {hot}
---
CREATE TABLE failures (
    callback_id bigint PRIMARY KEY,
    attempts integer NOT NULL,
    next_us bigint NOT NULL,
    error text NOT NULL
)
"#;
