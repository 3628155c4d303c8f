//! The tables of `naive` and their entities. Amounts are whole satoshi, which is cheaper than the
//! exact decimals of the product.

#![expect(unreachable_pub, reason = "what sea-orm derives beside them is public, so they must be")]

pub(super) const SCHEMA: &str = "
CREATE TABLE callback (id bigserial PRIMARY KEY, merchant text NOT NULL, digest bytea NOT NULL, body bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(), UNIQUE (merchant, digest));
CREATE TABLE payment (id bigserial PRIMARY KEY, merchant text NOT NULL, processor_id bigint NOT NULL, status text NOT NULL,
    foreign_id text NOT NULL, UNIQUE (merchant, processor_id));
CREATE TABLE transfer (id bigserial PRIMARY KEY, merchant text NOT NULL, effect_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), UNIQUE (merchant, effect_key));
CREATE TABLE account (id bigserial PRIMARY KEY, merchant text NOT NULL, kind text NOT NULL, customer text NOT NULL,
    currency text NOT NULL, balance bigint NOT NULL, UNIQUE (merchant, kind, customer, currency));
CREATE TABLE posting (id bigserial PRIMARY KEY, transfer_id bigint NOT NULL REFERENCES transfer (id),
    account_id bigint NOT NULL REFERENCES account (id), amount bigint NOT NULL);
CREATE TABLE outbox (id bigserial PRIMARY KEY, routing_key text NOT NULL, payload text NOT NULL);
";

pub(super) mod callback {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "callback")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub merchant: String,
        pub digest: Vec<u8>,
        pub body: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod payment {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "payment")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub merchant: String,
        pub processor_id: i64,
        pub status: String,
        pub foreign_id: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod transfer {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "transfer")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub merchant: String,
        pub effect_key: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod account {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "account")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub merchant: String,
        pub kind: String,
        pub customer: String,
        pub currency: String,
        pub balance: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod posting {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "posting")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub transfer_id: i64,
        pub account_id: i64,
        pub amount: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod outbox {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "outbox")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub routing_key: String,
        pub payload: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
