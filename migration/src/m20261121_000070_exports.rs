//! Imported exports of the processor's dashboard, and what each row came to that did not plainly match.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, "DROP TABLE export_rows\n---\nDROP TABLE exports").await
    }
}

// An export is known by its bytes. `state` of a row: 1 found, 2 told to someone, 3 over. Amounts are what was read, for
// the eyes of whoever looks: nothing sums them here.
const UP: &str = r#"
CREATE TABLE exports (
    id {identity},
    merchant_id smallint NOT NULL,
    sha256 {blob} NOT NULL CHECK (length(sha256) = 32),
    file text NOT NULL,
    asked_by text NOT NULL,
    began_us bigint NOT NULL,
    ended_us bigint,
    from_us bigint NOT NULL,
    until_us bigint NOT NULL,
    rows_read bigint NOT NULL,
    payments_read bigint NOT NULL,
    matched bigint NOT NULL,
    missing_here bigint NOT NULL,
    missing_there bigint NOT NULL,
    amounts bigint NOT NULL,
    fees bigint NOT NULL,
    statuses bigint NOT NULL,
    duplicates bigint NOT NULL
)
---
CREATE UNIQUE INDEX exports_once ON exports (merchant_id, sha256)
---
CREATE TABLE export_rows (
    export_id bigint NOT NULL,
    ordinal bigint NOT NULL,
    verdict smallint NOT NULL CHECK (verdict BETWEEN 1 AND 7),
    how smallint,
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    family smallint NOT NULL,
    line bigint,
    ext_id text {c} NOT NULL,
    currency text {c} NOT NULL,
    theirs text,
    ours text,
    their_fee text,
    our_fee text,
    their_status text,
    our_status text,
    note text,
    payment_id bigint,
    callback_id bigint,
    discrepancy bigint,
    PRIMARY KEY (export_id, ordinal)
)
---
CREATE INDEX export_rows_found ON export_rows (export_id, ordinal) WHERE state = 1
"#;
