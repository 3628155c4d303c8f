//! When reception was last known to work, and when it did not.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, "DROP TABLE outages\n---\nDROP TABLE reception").await
    }
}

// One row for all replicas: as long as one of them receives, there is no outage. `told_us`: when someone was told that
// callbacks can't come back.
const UP: &str = r#"
CREATE TABLE reception (
    id smallint PRIMARY KEY CHECK (id = 1),
    beat_us bigint NOT NULL
) {hot}
---
INSERT INTO reception VALUES (1, 0)
---
CREATE TABLE outages (
    from_us bigint PRIMARY KEY,
    to_us bigint NOT NULL CHECK (to_us > from_us),
    told_us bigint
)
"#;
