//! What the checks of the ledger found last, and how far they have come.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(
            manager,
            "DELETE FROM cursors WHERE name = 'checks'\n---\nDROP TABLE checked\n---\nDROP TABLE checks",
        )
        .await
    }
}

// `checked`: the last entry whose hash was found right, with that hash, and the account after which to go on.
const UP: &str = r#"
CREATE TABLE checks (
    name text PRIMARY KEY,
    is_fine boolean NOT NULL,
    checked_us bigint NOT NULL,
    changed_us bigint NOT NULL,
    detail text NOT NULL
)
---
CREATE TABLE checked (
    id smallint PRIMARY KEY CHECK (id = 1),
    position bigint NOT NULL,
    account_id bigint NOT NULL,
    hash {blob} NOT NULL CHECK (length(hash) = 32)
)
---
postgres:INSERT INTO checked VALUES (1, 0, 0, decode(repeat('00', 32), 'hex'))
---
sqlite:INSERT INTO checked VALUES (1, 0, 0, zeroblob(32))
---
INSERT INTO cursors VALUES ('checks', 0, '', 0)
"#;
