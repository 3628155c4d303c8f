//! The outbox is a cursor over the journal: how far a reader has come, and which replica reads for now.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, "DROP TABLE cursors").await
    }
}

const UP: &str = r#"
CREATE TABLE cursors (
    name text PRIMARY KEY,
    position bigint NOT NULL,
    owner text NOT NULL,
    until_us bigint NOT NULL
) {hot}
---
INSERT INTO cursors VALUES ('rabbitmq', 0, '', 0)
"#;
