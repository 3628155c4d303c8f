//! The journal seen from each account: which entries moved it, and what it held afterwards. Follows the journal at a
//! distance, so that statements have an index to go by and booking does not pay for it.

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
            "DELETE FROM cursors WHERE name = 'lines'\n---\nDROP INDEX payments_id\n---\nDROP TABLE account_lines",
        )
        .await
    }
}

// `payments_id` ascends with the rows, so a new payment adds to the index's last page.
const UP: &str = r#"
postgres:CREATE TABLE account_lines (
    account_id bigint NOT NULL,
    position bigint NOT NULL,
    at_us bigint NOT NULL,
    balance numeric(38,18) NOT NULL,
    PRIMARY KEY (account_id, position)
)
---
sqlite:CREATE TABLE account_lines (
    account_id bigint NOT NULL,
    position bigint NOT NULL,
    at_us bigint NOT NULL,
    balance text NOT NULL,
    PRIMARY KEY (account_id, position)
) WITHOUT ROWID
---
CREATE UNIQUE INDEX payments_id ON payments (id)
---
INSERT INTO cursors VALUES ('lines', 0, '', 0)
"#;
