//! What we ask of our own ledger: where a stored body came from, and the withdrawals that were requested through us.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, "DROP TABLE withdrawals\n---\nALTER TABLE callbacks DROP COLUMN origin").await
    }
}

// A withdrawal has the id of the order that requested it. `payment_id` is set by the booker when a callback speaks of
// the withdrawal; `processor_id` is what the processor answered to the request.
const UP: &str = r#"
ALTER TABLE callbacks ADD COLUMN origin smallint NOT NULL DEFAULT 0 CHECK (origin BETWEEN 0 AND 2)
---
CREATE TABLE withdrawals (
    id bigint PRIMARY KEY,
    merchant_id smallint NOT NULL,
    customer_id bigint,
    payment_id bigint,
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 6),
    api smallint NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    requested_us bigint NOT NULL,
    sent_us bigint,
    next_us bigint,
    closed_us bigint,
    foreign_id text {c} NOT NULL,
    currency text {c} NOT NULL,
    amount {amount} NOT NULL,
    currency_to text,
    address text NOT NULL,
    tag text,
    processor_id text,
    request {blob} NOT NULL,
    answer {blob},
    error text,
    CONSTRAINT withdrawals_once UNIQUE (foreign_id, merchant_id)
) {hot}
---
CREATE INDEX withdrawals_open ON withdrawals (state, next_us) WHERE state < 5
---
CREATE INDEX withdrawals_customer ON withdrawals (customer_id, id) WHERE customer_id IS NOT NULL
"#;
