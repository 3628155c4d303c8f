//! Replays in the background: who asked for which and why, how far they have come, and what they found.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = "DROP TABLE replay_changes\n---\nDROP TABLE replay_sums\n---\nDROP TABLE replay_jobs";
        crate::ddl(manager, tables).await
    }
}

const UP: &str = r#"
CREATE TABLE replay_jobs (
    id {identity},
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    dry_run boolean NOT NULL,
    scope text NOT NULL,
    reason text NOT NULL,
    asked_by text NOT NULL,
    version text NOT NULL,
    cursor bigint NOT NULL,
    upto bigint NOT NULL,
    decided bigint NOT NULL,
    changed bigint NOT NULL,
    differing bigint NOT NULL,
    failed bigint NOT NULL,
    pruned bigint NOT NULL,
    events text NOT NULL,
    asked_us bigint NOT NULL,
    ended_us bigint,
    stopped_by text,
    owner text NOT NULL,
    until_us bigint NOT NULL
) {hot}
---
CREATE INDEX replay_jobs_running ON replay_jobs (id) WHERE state = 1
---
CREATE TABLE replay_sums (
    job_id bigint NOT NULL,
    merchant text {c} NOT NULL,
    kind text {c} NOT NULL,
    customer text {c} NOT NULL,
    currency text {c} NOT NULL,
    change text NOT NULL,
    PRIMARY KEY (job_id, merchant, kind, customer, currency)
)
---
CREATE TABLE replay_changes (
    job_id bigint NOT NULL,
    callback_id bigint NOT NULL,
    was_state smallint NOT NULL,
    was_reason smallint,
    state smallint NOT NULL,
    reason smallint,
    stays boolean NOT NULL,
    PRIMARY KEY (job_id, callback_id)
)
"#;
