//! What reconciliation found, run by run, kept for ever.

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
            "DELETE FROM cursors WHERE name = 'reconcile'\n---\nDROP TABLE reconciled\n---\nDROP TABLE reconciliations",
        )
        .await
    }
}

// A run is one merchant's, and known by when it began. `since_us`: when the two sides began to differ.
const UP: &str = r#"
CREATE TABLE reconciliations (
    merchant_id smallint NOT NULL,
    began_us bigint NOT NULL,
    ended_us bigint NOT NULL,
    asked_by text NOT NULL,
    error text,
    PRIMARY KEY (merchant_id, began_us)
)
---
CREATE TABLE reconciled (
    merchant_id smallint NOT NULL,
    began_us bigint NOT NULL,
    verdict smallint NOT NULL CHECK (verdict BETWEEN 1 AND 4),
    since_us bigint,
    discrepancy bigint,
    currency text {c} NOT NULL,
    ours {amount} NOT NULL,
    theirs {amount} NOT NULL,
    in_flight {amount} NOT NULL,
    PRIMARY KEY (merchant_id, currency, began_us)
)
---
INSERT INTO cursors VALUES ('reconcile', 0, '', 0)
"#;
