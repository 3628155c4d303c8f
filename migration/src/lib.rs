//! The schema, step by step. One intent a file; an applied one is never edited, and none knows the entities.
//! The same statements serve PostgreSQL and SQLite, but for the words in [`ddl`].

#![expect(elided_lifetimes_in_paths, reason = "the trait's own methods elide them, and async_trait wants the same")]

use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend};
pub use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager, async_trait, prelude::DbErr};

mod m20261120_000001_callbacks;
mod m20261120_000002_ledger;
mod m20261120_000003_outbox;
mod m20261121_000004_orders;
mod m20261121_000010_account_lines;

pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261120_000001_callbacks::Migration),
            Box::new(m20261120_000002_ledger::Migration),
            Box::new(m20261120_000003_outbox::Migration),
            Box::new(m20261121_000004_orders::Migration),
            Box::new(m20261121_000010_account_lines::Migration),
        ]
    }
}

/// Runs statements separated by a line `---`, with the words that differ between the databases filled in:
/// `{blob}`, `{amount}` (SQLite's REAL would lose money, so it is text there), `{c}` (byte order for keys,
/// whatever the database's locale), `{hot}` (room on a page for updates in place). A statement that starts with
/// `postgres:` or `sqlite:` runs only there.
async fn ddl(manager: &SchemaManager<'_>, statements: &str) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    let is_postgres = connection.get_database_backend() == DbBackend::Postgres;
    for statement in statements.split("\n---\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        let (here, other) = if is_postgres { ("postgres:", "sqlite:") } else { ("sqlite:", "postgres:") };
        if statement.starts_with(other) {
            continue;
        }
        let statement = statement.strip_prefix(here).unwrap_or(statement);
        let words: [(&str, &str); 4] = if is_postgres {
            [
                ("{blob}", "bytea"),
                ("{amount}", "numeric(38,18)"),
                ("{c}", "COLLATE \"C\""),
                ("{hot}", "WITH (fillfactor = 75)"),
            ]
        } else {
            [("{blob}", "blob"), ("{amount}", "text"), ("{c}", ""), ("{hot}", "")]
        };
        let statement = words.iter().fold(statement.to_owned(), |text, (word, value)| text.replace(word, value));
        connection.execute_unprepared(&statement).await?;
    }
    Ok(())
}
