//! A withdrawal that the processor knows nothing of remembers the discrepancy that tells people so, until it is known.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = "DROP INDEX withdrawals_told\n---\nALTER TABLE withdrawals DROP COLUMN discrepancy";
        crate::ddl(manager, columns).await
    }
}

const UP: &str = r#"
ALTER TABLE withdrawals ADD COLUMN discrepancy bigint
---
CREATE INDEX withdrawals_told ON withdrawals (discrepancy) WHERE discrepancy IS NOT NULL
"#;
