//! Signatures of the gateway's requests, for as long as each could be sent again.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, "DROP TABLE gateway_signatures").await
    }
}

const UP: &str = r#"
CREATE TABLE gateway_signatures (
    signature {blob} PRIMARY KEY,
    until_us bigint NOT NULL
)
---
CREATE INDEX gateway_signatures_until ON gateway_signatures (until_us)
"#;
