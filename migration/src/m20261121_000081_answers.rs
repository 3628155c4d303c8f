//! Answers of the admin API that are kept by their idempotency key. A row is claimed before anything is done, and has
//! its answer afterwards.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, "DROP TABLE answers").await
    }
}

const UP: &str = r#"
CREATE TABLE answers (
    owner text {c} NOT NULL,
    key text {c} NOT NULL,
    digest {blob} NOT NULL,
    claimed_us bigint NOT NULL,
    status smallint,
    content_type text,
    location text,
    body {blob},
    PRIMARY KEY (owner, key),
    CHECK ((status IS NULL) = (body IS NULL))
)
---
CREATE INDEX answers_claimed ON answers (claimed_us)
"#;
