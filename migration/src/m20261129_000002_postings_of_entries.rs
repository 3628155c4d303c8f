//! On PostgreSQL, an entry's postings become three columns of its row in the journal: two rows and two index entries less
//! for a deposit, which were a sixth of what booking it cost. `postings` is a view of them, with the columns that it had.
//! SQLite keeps its table: there they cost little.
//!
//! It rewrites the journal, which may take minutes, with nobody else at it: replicas of the older version that still run
//! wait, then refuse what they can't write any more.

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
postgres:SET LOCAL statement_timeout = 0
---
postgres:LOCK TABLE postings, journal IN ACCESS EXCLUSIVE MODE
---
postgres:ALTER TABLE journal ADD debits bigint[], ADD credits bigint[], ADD amounts numeric(38,18)[]
---
postgres:ALTER TABLE journal DISABLE TRIGGER journal_append_only
---
postgres:UPDATE journal j SET debits = p.debits, credits = p.credits, amounts = p.amounts
    FROM (SELECT position, array_agg(debit_id ORDER BY ordinal) AS debits, array_agg(credit_id ORDER BY ordinal) AS credits,
            array_agg(amount ORDER BY ordinal) AS amounts FROM postings GROUP BY position) p
    WHERE p.position = j.position
---
postgres:ALTER TABLE journal ENABLE TRIGGER journal_append_only
---
postgres:ALTER TABLE journal ADD CONSTRAINT journal_postings CHECK (postings = 0 AND amounts IS NULL OR (
    postings = cardinality(amounts) AND postings = cardinality(debits) AND postings = cardinality(credits)
    AND 0 < ALL (amounts)) IS TRUE)
---
postgres:DROP TABLE postings
---
postgres:CREATE VIEW postings AS
    SELECT j.position, p.ordinal::smallint AS ordinal, p.debit_id, p.credit_id, p.amount
    FROM journal j CROSS JOIN LATERAL unnest(j.debits, j.credits, j.amounts)
        WITH ORDINALITY AS p(debit_id, credit_id, amount, ordinal)
---
postgres:ALTER TYPE booking_entry ADD ATTRIBUTE debits bigint[], ADD ATTRIBUTE credits bigint[],
    ADD ATTRIBUTE amounts numeric(38,18)[]
---
postgres:DROP TYPE booking_posting";

const DOWN: &str = "
postgres:SET LOCAL statement_timeout = 0
---
postgres:CREATE TYPE booking_posting AS (
    position bigint, ordinal smallint, debit_id bigint, credit_id bigint, amount numeric(38,18)
)
---
postgres:ALTER TYPE booking_entry DROP ATTRIBUTE debits, DROP ATTRIBUTE credits, DROP ATTRIBUTE amounts
---
postgres:ALTER VIEW postings RENAME TO postings_of_entries
---
postgres:CREATE TABLE postings (
    position bigint NOT NULL,
    ordinal smallint NOT NULL,
    debit_id bigint NOT NULL,
    credit_id bigint NOT NULL CHECK (credit_id <> debit_id),
    amount numeric(38,18) NOT NULL CONSTRAINT postings_positive CHECK (amount > 0),
    PRIMARY KEY (position, ordinal)
)
---
postgres:INSERT INTO postings SELECT position, ordinal, debit_id, credit_id, amount FROM postings_of_entries
---
postgres:CREATE TRIGGER postings_append_only BEFORE UPDATE OR DELETE ON postings
    FOR EACH ROW EXECUTE FUNCTION tallyhook_append_only()
---
postgres:DROP VIEW postings_of_entries
---
postgres:ALTER TABLE journal DROP CONSTRAINT journal_postings, DROP debits, DROP credits, DROP amounts";
