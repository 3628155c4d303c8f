//! `customers`, `payments` and `withdrawals`: what the admin API answers, straight from the database, and customers made
//! known beforehand from a file.

use std::path::PathBuf;

use clap::Subcommand;

use super::ending::{self, Decided, Outcome};
use super::import;
use super::output::{Listing, Output, Usage, print, tell};
use crate::app::database;
use crate::booker::ending::Ending;
use crate::config::{Settings, Sources};
use crate::domain::ids::{CustomerId, MerchantId};
use crate::http::admin::shape::Row;
use crate::http::admin::{book_shape, outgoing as shape, query};
use crate::store::{Db, StoreError, customers, merchants, outgoing, payments};

const CUSTOMERS: &[&str] = &["id", "merchant", "name", "opened_at"];
const PAYMENTS: &[&str] =
    &["id", "merchant", "type", "payment_id", "status", "customer", "effect", "currency", "amount", "fee", "at"];
const WITHDRAWALS: &[&str] = &[
    "id",
    "requested_at",
    "merchant",
    "foreign_id",
    "state",
    "customer",
    "currency",
    "amount",
    "address",
    "processor_id",
    "error",
];

#[derive(Subcommand)]
pub enum Customers {
    /// Lists customers, newest first
    List {
        #[command(flatten)]
        which: Which,
    },
    /// A customer with references and accounts; exit code 3 if there is none
    Show {
        id: i64,
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Makes customers known: CSV with a head that names `end_user_reference` or `foreign_id`, or both, or NDJSON with
    /// the same names. Importing again changes nothing. Exit code 1 if a line was declined
    Import {
        /// `-` is stdin
        file: PathBuf,
        /// Whose customers they are, where a line does not say so under `merchant`
        #[arg(long, value_name = "NAME")]
        merchant: Option<String>,
    },
}

#[derive(Subcommand)]
pub enum Payments {
    /// Lists payments, newest first
    List {
        #[command(flatten)]
        which: Which,
    },
    /// A payment with its entries and callbacks; exit code 3 if there is none
    Show {
        id: i64,
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

#[derive(Subcommand)]
pub enum Withdrawals {
    /// Lists withdrawals that were requested through us, newest first
    List {
        #[command(flatten)]
        which: Which,
        /// requested, sent, unknown, pending, settled or failed
        #[arg(long)]
        state: Option<String>,
    },
    /// A withdrawal with what was sent and what came back; exit code 3 if there is none
    Show {
        id: i64,
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Gives the money of a missing withdrawal back: the processor was asked, and it was never done
    Refund {
        id: i64,
        #[command(flatten)]
        decided: Decided,
    },
    /// Ends a withdrawal that its callbacks can't end
    Conclude {
        id: i64,
        #[arg(long, value_enum)]
        outcome: Outcome,
        #[command(flatten)]
        decided: Decided,
    },
}

/// Which rows are meant, and how they are shown.
#[derive(clap::Args)]
pub struct Which {
    #[arg(long, value_name = "NAME")]
    pub merchant: Option<String>,
    /// Exactly a reference of the customer, the processor's id of the payment, the foreign id of the withdrawal
    #[arg(short, long, value_name = "TEXT")]
    pub q: Option<String>,
    /// How many, at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

pub async fn run_customers(command: Customers, sources: &Sources) -> anyhow::Result<u8> {
    let settings = Settings::load(sources)?;
    let db = database(&settings).await?;
    match command {
        Customers::List { which } => {
            let merchant = merchant(&db, which.merchant.as_deref()).await?;
            let mut listing = Listing::new(CUSTOMERS);
            let fill = listing.fill(which.limit, async |after, room| {
                let page = customers::list(&db, merchant, which.q.as_deref(), after, room).await?;
                Ok::<_, StoreError>((page.rows.iter().map(book_shape::customer).collect(), page.next))
            });
            fill.await?;
            listing.print(which.output)?;
            Ok(0)
        }
        Customers::Show { id, output } => {
            let detail = customers::get(&db, CustomerId(id)).await?;
            show(detail.as_ref().map(book_shape::customer_detail), &format!("customer {id}"), output)
        }
        Customers::Import { file, merchant } => import::customers(&settings, &db, &file, merchant.as_deref()).await,
    }
}

pub async fn run_payments(command: Payments, sources: &Sources) -> anyhow::Result<u8> {
    let settings = Settings::load(sources)?;
    let db = database(&settings).await?;
    match command {
        Payments::List { which } => {
            let merchant = merchant(&db, which.merchant.as_deref()).await?;
            let filter = payments::Filter { merchant, q: which.q.clone(), ..payments::Filter::default() };
            let mut listing = Listing::new(PAYMENTS);
            let fill = listing.fill(which.limit, async |after, room| {
                let page = payments::list(&db, &filter, after, room).await?;
                Ok::<_, StoreError>((page.rows.iter().map(book_shape::payment).collect(), page.next))
            });
            fill.await?;
            listing.print(which.output)?;
            Ok(0)
        }
        Payments::Show { id, output } => {
            let detail = payments::get(&db, id).await?;
            show(detail.as_ref().map(book_shape::payment_detail), &format!("payment {id}"), output)
        }
    }
}

pub async fn run_withdrawals(command: Withdrawals, sources: &Sources) -> anyhow::Result<u8> {
    let settings = Settings::load(sources)?;
    match command {
        Withdrawals::List { which, state } => list_withdrawals(&database(&settings).await?, &which, state).await,
        Withdrawals::Show { id, output } => {
            let detail = outgoing::withdrawal(&database(&settings).await?, id).await?;
            show(detail.as_ref().map(shape::detail), &format!("withdrawal {id}"), output)
        }
        Withdrawals::Refund { id, decided } => ending::run(settings, id, Ending::Refunded, decided).await,
        Withdrawals::Conclude { id, outcome, decided } => ending::run(settings, id, outcome.into(), decided).await,
    }
}

async fn list_withdrawals(db: &Db, which: &Which, state: Option<String>) -> anyhow::Result<u8> {
    let code = state.map(|word| {
        let words = outgoing::WITHDRAWAL_STATES;
        outgoing::code(&words, &word).ok_or_else(|| Usage(format!("a state is one of {}.", words.join(", "))))
    });
    let merchant = merchant(db, which.merchant.as_deref()).await?;
    let filter = outgoing::Filter { merchant, state: code.transpose()?, q: which.q.clone() };
    let mut listing = Listing::new(WITHDRAWALS);
    let fill = listing.fill(which.limit, async |after, room| {
        let page = outgoing::withdrawals(db, &filter, after, room).await?;
        Ok::<_, StoreError>((page.rows.iter().map(shape::withdrawal).collect(), page.next))
    });
    fill.await?;
    listing.print(which.output)?;
    Ok(0)
}

async fn merchant(db: &Db, name: Option<&str>) -> anyhow::Result<Option<MerchantId>> {
    let Some(name) = name else { return Ok(None) };
    Ok(Some(query::merchant(name, &merchants::all(db).await?).map_err(Usage)?))
}

/// One row with all its fields: as JSON, or a line for each field.
pub fn show(row: Option<Row>, what: &str, output: Output) -> anyhow::Result<u8> {
    let Some(row) = row else {
        tell(&format!("tallyhook: there is no {what}"));
        return Ok(3);
    };
    match output {
        Output::Json => print(&format!("{}\n", serde_json::to_string_pretty(&row)?))?,
        Output::Ndjson => print(&format!("{}\n", serde_json::to_string(&row)?))?,
        Output::Table | Output::Csv => {
            let mut listing = Listing::new(&["field", "value"]);
            row.into_iter().for_each(|(name, value)| listing.push([name.into(), value]));
            listing.print(output)?;
        }
    }
    Ok(0)
}
