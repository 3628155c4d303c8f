//! What callbacks are searched by: for each term of a callback its number, and the classes that filters choose from.
//! Follows the callbacks at a distance, and takes over from the index on `foreign_id`, which every booking paid for.

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

const UP: &str = r#"
postgres:CREATE TABLE callback_terms (
    term bigint NOT NULL,
    callback_id bigint NOT NULL,
    PRIMARY KEY (term, callback_id)
)
---
sqlite:CREATE TABLE callback_terms (
    term bigint NOT NULL,
    callback_id bigint NOT NULL,
    PRIMARY KEY (term, callback_id)
) WITHOUT ROWID
---
CREATE TABLE callback_classes (
    term bigint PRIMARY KEY,
    merchant_id smallint NOT NULL,
    state smallint NOT NULL,
    type text,
    status text
)
---
INSERT INTO cursors VALUES ('terms', 0, '', 0)
---
DROP INDEX callbacks_foreign_id
"#;

const DOWN: &str = r#"
CREATE INDEX callbacks_foreign_id ON callbacks (foreign_id, id) WHERE foreign_id IS NOT NULL
---
DELETE FROM cursors WHERE name = 'terms'
---
DROP TABLE callback_classes
---
DROP TABLE callback_terms
"#;
