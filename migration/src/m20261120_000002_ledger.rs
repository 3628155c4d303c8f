//! The ledger: payments, customers and their references, accounts, the journal with its postings, discrepancies.

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

// No foreign keys: every id is given out by the journal's head inside the one transaction that may write these
// tables, and `ledger verify` follows every reference. They would cost a look-up for each row of the hot path.
const UP: &str = r#"
CREATE TABLE payments (
    id bigint NOT NULL,
    merchant_id smallint NOT NULL,
    family smallint NOT NULL,
    status smallint NOT NULL,
    facts bigint,
    fingerprint bigint,
    customer_id bigint,
    ext_id text {c} NOT NULL,
    PRIMARY KEY (ext_id, family, merchant_id)
) {hot}
---
CREATE INDEX payments_fingerprint ON payments (fingerprint) WHERE fingerprint IS NOT NULL
---
CREATE TABLE customers (
    id bigint PRIMARY KEY,
    merchant_id smallint NOT NULL,
    opened_us bigint NOT NULL,
    name text {c} NOT NULL
)
---
CREATE TABLE customer_references (
    merchant_id smallint NOT NULL,
    kind smallint NOT NULL CHECK (kind IN (1, 2)),
    customer_id bigint NOT NULL,
    value text {c} NOT NULL,
    PRIMARY KEY (value, kind, merchant_id)
)
---
CREATE INDEX customer_references_customer ON customer_references (customer_id)
---
CREATE TABLE accounts (
    id bigint PRIMARY KEY,
    merchant_id smallint NOT NULL,
    kind smallint NOT NULL CHECK (kind BETWEEN 1 AND 6),
    customer_id bigint NOT NULL CHECK ((kind IN (5, 6)) = (customer_id > 0)),
    currency text {c} NOT NULL,
    balance {amount} NOT NULL
) {hot}
---
CREATE UNIQUE INDEX accounts_once ON accounts (customer_id, currency, kind, merchant_id)
---
CREATE TABLE journal (
    position bigint PRIMARY KEY,
    merchant_id smallint NOT NULL,
    event smallint NOT NULL,
    effect smallint NOT NULL,
    reason smallint,
    postings smallint NOT NULL,
    subject bigint NOT NULL,
    callback_id bigint NOT NULL,
    payment_id bigint,
    customer_id bigint,
    at_us bigint NOT NULL,
    hash {blob} NOT NULL CHECK (length(hash) = 32),
    currency text {c},
    amount {amount},
    fee {amount},
    balance_after {amount}
)
---
CREATE UNIQUE INDEX journal_once ON journal (subject, effect)
---
CREATE TABLE postings (
    position bigint NOT NULL,
    ordinal smallint NOT NULL,
    debit_id bigint NOT NULL,
    credit_id bigint NOT NULL CHECK (credit_id <> debit_id),
    amount {amount} NOT NULL,
    PRIMARY KEY (position, ordinal)
)
---
postgres:ALTER TABLE postings ADD CONSTRAINT postings_positive CHECK (amount > 0)
---
postgres:CREATE FUNCTION tallyhook_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$
---
postgres:CREATE TRIGGER postings_append_only BEFORE UPDATE OR DELETE ON postings
    FOR EACH ROW EXECUTE FUNCTION tallyhook_append_only()
---
postgres:CREATE TRIGGER journal_append_only BEFORE UPDATE OR DELETE ON journal
    FOR EACH ROW EXECUTE FUNCTION tallyhook_append_only()
---
sqlite:CREATE TRIGGER postings_no_update BEFORE UPDATE ON postings BEGIN SELECT RAISE(ABORT, 'postings is append-only'); END
---
sqlite:CREATE TRIGGER postings_no_delete BEFORE DELETE ON postings BEGIN SELECT RAISE(ABORT, 'postings is append-only'); END
---
sqlite:CREATE TRIGGER journal_no_update BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'journal is append-only'); END
---
sqlite:CREATE TRIGGER journal_no_delete BEFORE DELETE ON journal BEGIN SELECT RAISE(ABORT, 'journal is append-only'); END
---
CREATE TABLE discrepancies (
    position bigint PRIMARY KEY,
    merchant_id smallint NOT NULL,
    reason smallint NOT NULL,
    callback_id bigint NOT NULL,
    payment_id bigint,
    opened_us bigint NOT NULL,
    resolved_us bigint,
    resolution text
)
---
CREATE INDEX discrepancies_callback ON discrepancies (callback_id)
---
CREATE INDEX discrepancies_open ON discrepancies (position) WHERE resolved_us IS NULL
"#;

const DOWN: &str = r#"
DROP TABLE discrepancies
---
DROP TABLE postings
---
DROP TABLE journal
---
postgres:DROP FUNCTION tallyhook_append_only()
---
DROP TABLE accounts
---
DROP TABLE customer_references
---
DROP TABLE customers
---
DROP TABLE payments
"#;
