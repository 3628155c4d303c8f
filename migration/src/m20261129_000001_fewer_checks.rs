//! Takes away from the hot tables of PostgreSQL the checks that only repeat the types of the one writer (`[u8; 32]`,
//! `State`, `AccountKind`): it reads each anew for every batch and evaluates it for every row, also of accounts whose
//! balance alone changes. That what moves is a positive amount stays checked.

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

const UP: &str = "
postgres:ALTER TABLE callbacks DROP CONSTRAINT callbacks_state_check, DROP CONSTRAINT callbacks_origin_check,
    DROP CONSTRAINT callbacks_digest_check, DROP CONSTRAINT callbacks_signature_check
---
postgres:ALTER TABLE journal DROP CONSTRAINT journal_hash_check
---
postgres:ALTER TABLE journal_head DROP CONSTRAINT journal_head_hash_check
---
postgres:ALTER TABLE accounts DROP CONSTRAINT accounts_kind_check, DROP CONSTRAINT accounts_check";

const DOWN: &str = "
postgres:ALTER TABLE callbacks ADD CHECK (state BETWEEN 1 AND 4), ADD CHECK (origin BETWEEN 0 AND 2),
    ADD CHECK (length(digest) = 32), ADD CHECK (length(signature) = 64)
---
postgres:ALTER TABLE journal ADD CHECK (length(hash) = 32)
---
postgres:ALTER TABLE journal_head ADD CHECK (length(hash) = 32)
---
postgres:ALTER TABLE accounts ADD CHECK (kind BETWEEN 1 AND 6), ADD CHECK ((kind IN (5, 6)) = (customer_id > 0))";
