//! Addresses that must not be used any more, and the head's count of such decisions: while it is 0, booking asks nothing.

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

// `turn` is the head's at that moment: what was decided before did not know of it. The indexes get new names: another
// connection of a SQLite pool may not have seen yet that the old ones are gone.
const UP: &str = r#"
CREATE TABLE retired_addresses (
    merchant_id smallint NOT NULL,
    retired_us bigint NOT NULL,
    turn bigint NOT NULL,
    address text {c} NOT NULL,
    foreign_id text {c} NOT NULL,
    PRIMARY KEY (address, foreign_id, merchant_id)
)
---
ALTER TABLE journal_head ADD COLUMN retirements bigint NOT NULL DEFAULT 0
---
ALTER TABLE addresses ADD COLUMN retired_us bigint
---
DROP INDEX addresses_sticky
---
CREATE UNIQUE INDEX addresses_own ON addresses (user_identifier, network, merchant_id)
    WHERE user_identifier IS NOT NULL AND retired_us IS NULL
---
DROP INDEX addresses_free
---
CREATE INDEX addresses_rested ON addresses (merchant_id, code, free_us) WHERE state = 3 AND retired_us IS NULL
"#;

const DOWN: &str = r#"
DROP INDEX addresses_rested
---
CREATE INDEX IF NOT EXISTS addresses_free ON addresses (merchant_id, code, free_us) WHERE state = 3
---
DROP INDEX addresses_own
---
CREATE UNIQUE INDEX IF NOT EXISTS addresses_sticky ON addresses (user_identifier, network, merchant_id)
    WHERE user_identifier IS NOT NULL
---
ALTER TABLE addresses DROP COLUMN retired_us
---
ALTER TABLE journal_head DROP COLUMN retirements
---
DROP TABLE retired_addresses
"#;
