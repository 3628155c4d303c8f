//! A proposal may be about a withdrawal instead of a discrepancy: one at a time for each.

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

// The index gets another name: a connection that has not heard of the drop yet would not take the old one again.
// 0: about a discrepancy. The ids of withdrawals and discrepancies begin with 1.
const UP: &str = r#"
ALTER TABLE proposals ADD COLUMN withdrawal bigint NOT NULL DEFAULT 0
---
CREATE UNIQUE INDEX proposals_one_open ON proposals (discrepancy, withdrawal) WHERE state IN (1, 2)
---
DROP INDEX proposals_open
"#;

const DOWN: &str = r#"
DELETE FROM proposals WHERE withdrawal <> 0
---
CREATE UNIQUE INDEX proposals_open ON proposals (discrepancy) WHERE state IN (1, 2)
---
DROP INDEX proposals_one_open
---
ALTER TABLE proposals DROP COLUMN withdrawal
"#;
