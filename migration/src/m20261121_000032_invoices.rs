//! Invoices that clients of the gateway asked for: written down before the processor is asked, under the name that
//! makes asking again harmless.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::ddl(manager, "DROP TABLE gateway_invoices").await
    }
}

const UP: &str = r#"
CREATE TABLE gateway_invoices (
    id {identity},
    merchant_id smallint NOT NULL,
    foreign_id text {c} NOT NULL,
    user_identifier text NOT NULL,
    currency text NOT NULL,
    amount text NOT NULL,
    created_us bigint NOT NULL,
    processor_id text,
    url text,
    CONSTRAINT gateway_invoices_once UNIQUE (foreign_id, merchant_id)
)
"#;
