//! What goes out to the processor: requests that clients make through us, the switch that stops money, and how often
//! the processor said that it knows nothing of a withdrawal. Invoices name their customer from now on.

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

// `requests`: addresses (1), invoices (2) and exchanges (3) that were asked for through the drop-in; withdrawals have
// their own table. `state`: asked (1), answered (2), refused (3), unknown (4).
// SQLite can't change a check, so the references move to a new table there: in one piece, because another connection
// of the pool would not know yet that the old one is gone.
const UP: &str = r#"
CREATE TABLE requests (
    id {identity},
    merchant_id smallint NOT NULL,
    kind smallint NOT NULL CHECK (kind BETWEEN 1 AND 3),
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 4),
    status smallint,
    customer_id bigint,
    asked_us bigint NOT NULL,
    answered_us bigint,
    foreign_id text {c} NOT NULL,
    request {blob} NOT NULL,
    answer {blob}
)
---
CREATE INDEX requests_named ON requests (foreign_id, merchant_id)
---
CREATE TABLE outbound (
    id smallint PRIMARY KEY CHECK (id = 1),
    is_stopped boolean NOT NULL,
    changed_us bigint NOT NULL,
    changed_by text NOT NULL,
    note text NOT NULL
)
---
INSERT INTO outbound VALUES (1, false, 0, '', '')
---
ALTER TABLE withdrawals ADD COLUMN answer_status smallint
---
ALTER TABLE withdrawals ADD COLUMN missing integer NOT NULL DEFAULT 0
---
ALTER TABLE withdrawals ADD COLUMN missing_since_us bigint
---
postgres:ALTER TABLE customer_references DROP CONSTRAINT customer_references_kind_check
---
postgres:ALTER TABLE customer_references ADD CONSTRAINT customer_references_kind_check CHECK (kind IN (1, 2, 3))
---
sqlite:BEGIN;
CREATE TABLE customer_references_new (
    merchant_id smallint NOT NULL,
    kind smallint NOT NULL CHECK (kind IN (1, 2, 3)),
    customer_id bigint NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (value, kind, merchant_id)
);
INSERT INTO customer_references_new SELECT merchant_id, kind, customer_id, value FROM customer_references;
DROP TABLE customer_references;
ALTER TABLE customer_references_new RENAME TO customer_references;
CREATE INDEX customer_references_customer ON customer_references (customer_id);
COMMIT
"#;

// References that name invoices stay: the wider check harms nobody.
const DOWN: &str = r#"
ALTER TABLE withdrawals DROP COLUMN missing_since_us
---
ALTER TABLE withdrawals DROP COLUMN missing
---
ALTER TABLE withdrawals DROP COLUMN answer_status
---
DROP TABLE outbound
---
DROP TABLE requests
"#;
