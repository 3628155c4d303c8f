//! Who has logged in to the page, and who failed to: in the database, so that every replica knows.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, "DROP TABLE login_failures\n---\nDROP TABLE sessions").await
    }
}

// A copy of these rows lets nobody in: neither the session's id nor the token is here, and `proof` ties the two
// together by a hash that is keyed with the id.
const UP: &str = r#"
CREATE TABLE sessions (
    digest {blob} PRIMARY KEY CHECK (length(digest) = 32),
    token text NOT NULL,
    role text NOT NULL,
    proof {blob} NOT NULL CHECK (length(proof) = 32),
    csrf text NOT NULL,
    created_us bigint NOT NULL,
    seen_us bigint NOT NULL
)
---
CREATE INDEX sessions_seen ON sessions (seen_us)
---
CREATE TABLE login_failures (
    peer text PRIMARY KEY,
    failures bigint NOT NULL,
    last_us bigint NOT NULL
)
---
CREATE INDEX login_failures_last ON login_failures (last_us)
"#;
