//! What the processor is asked about because its callbacks are overdue, or because a deposit is checked before it is
//! booked: when next, how often so far, and what someone was told.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, "DELETE FROM cursors WHERE name LIKE 'asks_%'\n---\nDROP TABLE asks").await
    }
}

// `subject`: whether `reference` is the processor's id (1), the merchant's name (2) or a callback's number (3).
// `until_us`: whoever asks has it until then. The cursor `asks_rate` holds the moment of the next call that is allowed.
const UP: &str = r#"
CREATE TABLE asks (
    merchant_id smallint NOT NULL,
    kind smallint NOT NULL CHECK (kind BETWEEN 1 AND 5),
    subject smallint NOT NULL CHECK (subject BETWEEN 1 AND 3),
    attempts integer NOT NULL DEFAULT 0,
    missing integer NOT NULL DEFAULT 0,
    since_us bigint NOT NULL,
    next_us bigint NOT NULL,
    asked_us bigint NOT NULL DEFAULT 0,
    until_us bigint NOT NULL DEFAULT 0,
    discrepancy bigint,
    reference text {c} NOT NULL,
    currency text {c},
    amount {amount},
    PRIMARY KEY (reference, kind, merchant_id, subject)
)
---
CREATE INDEX asks_due ON asks (next_us)
---
INSERT INTO cursors VALUES ('asks_journal', 0, '', 0)
---
INSERT INTO cursors VALUES ('asks_requests', 0, '', 0)
---
INSERT INTO cursors VALUES ('asks_invoices', 0, '', 0)
---
INSERT INTO cursors VALUES ('asks_rate', 0, '', 0)
"#;
