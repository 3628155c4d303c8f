//! Addresses that were taken from the processor for clients of the gateway, the requests that they were given out for,
//! and which request an idempotency key stands for.

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

// `addresses_sticky` is what makes one address of two hundred requests: whoever inserts the row asks the processor.
const UP: &str = r#"
CREATE TABLE addresses (
    id {identity},
    merchant_id smallint NOT NULL,
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    network text {c} NOT NULL,
    code text {c} NOT NULL,
    user_identifier text {c},
    foreign_id text {c} NOT NULL CONSTRAINT addresses_foreign_id UNIQUE,
    address text,
    tag text,
    claim_owner text NOT NULL,
    claim_until_us bigint NOT NULL,
    failed_us bigint,
    failure text,
    free_us bigint,
    CHECK ((state = 1) = (address IS NULL)),
    CHECK ((user_identifier IS NULL) = (free_us IS NOT NULL))
) {hot}
---
CREATE UNIQUE INDEX addresses_sticky ON addresses (user_identifier, network, merchant_id)
    WHERE user_identifier IS NOT NULL
---
CREATE INDEX addresses_used ON addresses (free_us) WHERE state = 2 AND user_identifier IS NULL
---
CREATE INDEX addresses_free ON addresses (merchant_id, code, free_us) WHERE state = 3
---
CREATE TABLE deposit_requests (
    id {identity},
    merchant_id smallint NOT NULL,
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    address_id bigint NOT NULL REFERENCES addresses (id),
    currency text {c} NOT NULL,
    network text {c} NOT NULL,
    user_identifier text {c},
    created_us bigint NOT NULL,
    display_until_us bigint NOT NULL,
    monitoring_until_us bigint NOT NULL,
    claim_until_us bigint NOT NULL
) {hot}
---
CREATE UNIQUE INDEX deposit_requests_sticky ON deposit_requests (address_id, currency)
    WHERE user_identifier IS NOT NULL
---
CREATE INDEX deposit_requests_address ON deposit_requests (address_id)
---
CREATE INDEX deposit_requests_shown ON deposit_requests (display_until_us) WHERE state = 1
---
CREATE INDEX deposit_requests_watched ON deposit_requests (monitoring_until_us) WHERE state = 2
---
CREATE TABLE gateway_allocations (
    api_key text {c} NOT NULL,
    idempotency_key text {c} NOT NULL,
    currency text NOT NULL,
    network text NOT NULL,
    user_identifier text,
    request_id bigint,
    claim_owner text NOT NULL,
    claim_until_us bigint NOT NULL,
    PRIMARY KEY (api_key, idempotency_key)
) {hot}
"#;

const DOWN: &str = r#"
DROP TABLE gateway_allocations
---
DROP TABLE deposit_requests
---
DROP TABLE addresses
"#;
