//! What PostgreSQL samples of the tables that every batch writes. Autovacuum analyses them each time they have grown by a tenth; with
//! bodies, signatures and arrays among 30,000 sampled rows that took a processor for a second at 100,000 callbacks, and
//! callbacks waited. Ten buckets are enough for questions that go by an index; what nobody searches by is not sampled. What
//! was sampled of bodies before would stay for ever, also when they are pruned: naming a column's type anew drops it.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, &every_column(10)).await?;
        crate::ddl(manager, NEVER_SEARCHED).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, &every_column(-1)).await
    }
}

fn every_column(target: i8) -> String {
    format!(
        "postgres:DO $$ DECLARE name text; BEGIN
            FOR name IN SELECT format('%s ALTER %I', attrelid::regclass, attname) FROM pg_attribute WHERE attnum > 0
                AND NOT attisdropped AND attrelid IN ('callbacks'::regclass, 'journal'::regclass, 'payments'::regclass,
                    'accounts'::regclass)
            LOOP EXECUTE 'ALTER TABLE ' || name || ' SET STATISTICS {target}'; END LOOP;
        END $$"
    )
}

const NEVER_SEARCHED: &str = "
postgres:ALTER TABLE callbacks ALTER signature SET STATISTICS 0, ALTER txids SET STATISTICS 0,
    ALTER detail SET STATISTICS 0, ALTER headers SET STATISTICS 0, ALTER body SET STATISTICS 0
---
postgres:ALTER TABLE callbacks ALTER detail TYPE text, ALTER headers TYPE text, ALTER body TYPE bytea
---
postgres:ALTER TABLE journal ALTER hash SET STATISTICS 0, ALTER debits SET STATISTICS 0,
    ALTER credits SET STATISTICS 0, ALTER amounts SET STATISTICS 0";
