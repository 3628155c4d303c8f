//! Events that are to be published again: which, at whose word, why, and how far that has come.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, "DROP TABLE event_redeliveries").await
    }
}

const UP: &str = r#"
CREATE TABLE event_redeliveries (
    id {identity},
    first bigint NOT NULL CHECK (first >= 1),
    last bigint NOT NULL CHECK (last >= first),
    position bigint NOT NULL CHECK (position BETWEEN first - 1 AND last),
    state smallint NOT NULL CHECK (state IN (1, 2)),
    reason text NOT NULL,
    asked_by text NOT NULL,
    asked_us bigint NOT NULL,
    ended_us bigint
)
---
CREATE INDEX event_redeliveries_waiting ON event_redeliveries (id) WHERE state = 1
"#;
