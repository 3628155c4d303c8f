//! What people do about discrepancies: proposals to move money that a second person approves, notes, owners, and the
//! log of who did what, which nobody can change.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = "DROP TABLE discrepancy_owners\n---\nDROP TABLE discrepancy_notes\n---\nDROP TABLE proposals\n---\n\
                      DROP TABLE audit_log";
        crate::ddl(manager, tables).await
    }
}

const UP: &str = r#"
CREATE TABLE audit_log (
    id {identity},
    at_us bigint NOT NULL,
    who text {c} NOT NULL,
    role text NOT NULL,
    action text {c} NOT NULL,
    subject text {c} NOT NULL,
    before text,
    after text,
    request_id text NOT NULL
)
---
CREATE INDEX audit_log_subject ON audit_log (subject, id)
---
CREATE TABLE proposals (
    id {identity},
    merchant_id smallint NOT NULL,
    discrepancy bigint NOT NULL,
    action text NOT NULL,
    params text NOT NULL,
    note text NOT NULL,
    moves text NOT NULL,
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 5),
    asked_by text {c} NOT NULL,
    asked_us bigint NOT NULL,
    decided_by text {c} CONSTRAINT proposals_two_people CHECK (decided_by <> asked_by OR needs_second = 0 OR state = 4),
    decided_us bigint,
    needs_second smallint NOT NULL,
    ended_us bigint,
    outcome text
) {hot}
---
CREATE UNIQUE INDEX proposals_open ON proposals (discrepancy) WHERE state IN (1, 2)
---
CREATE INDEX proposals_discrepancy ON proposals (discrepancy, id)
---
CREATE TABLE discrepancy_notes (
    id {identity},
    discrepancy bigint NOT NULL,
    kind smallint NOT NULL CHECK (kind BETWEEN 1 AND 3),
    at_us bigint NOT NULL,
    who text NOT NULL,
    text text NOT NULL
)
---
CREATE INDEX discrepancy_notes_of ON discrepancy_notes (discrepancy, id)
---
CREATE TABLE discrepancy_owners (
    discrepancy bigint PRIMARY KEY,
    owner text {c} NOT NULL,
    since_us bigint NOT NULL
)
---
CREATE INDEX discrepancy_owners_of ON discrepancy_owners (owner, discrepancy)
---
postgres:CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION tallyhook_append_only()
---
postgres:CREATE TRIGGER audit_log_keep BEFORE TRUNCATE ON audit_log EXECUTE FUNCTION tallyhook_append_only()
---
postgres:CREATE TRIGGER discrepancy_notes_append_only BEFORE UPDATE OR DELETE ON discrepancy_notes
    FOR EACH ROW EXECUTE FUNCTION tallyhook_append_only()
---
sqlite:CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END
---
sqlite:CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END
---
sqlite:CREATE TRIGGER discrepancy_notes_no_update BEFORE UPDATE ON discrepancy_notes BEGIN SELECT RAISE(ABORT, 'discrepancy_notes is append-only'); END
---
sqlite:CREATE TRIGGER discrepancy_notes_no_delete BEFORE DELETE ON discrepancy_notes BEGIN SELECT RAISE(ABORT, 'discrepancy_notes is append-only'); END
"#;
