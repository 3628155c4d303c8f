//! `ledger balances`: what the accounts say.

use clap::Subcommand;

use super::output::{Listing, Output};
use crate::app::database;
use crate::config::{Settings, Sources};
use crate::http::admin::shape;
use crate::store::{Db, ledger};

const COLUMNS: &[&str] = &["merchant", "kind", "customer", "currency", "balance"];
const PAGE: u64 = 1_000;

#[derive(Subcommand)]
pub enum Command {
    /// Lists balances, in the order in which the accounts were opened
    Balances(Balances),
}

#[derive(clap::Args)]
pub struct Balances {
    /// Only this customer's: any reference of theirs
    #[arg(long, value_name = "REFERENCE")]
    pub customer: Option<String>,
    #[arg(long)]
    pub currency: Option<String>,
    /// How many, at most; all without it
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

pub async fn run(command: Command, sources: &Sources) -> anyhow::Result<u8> {
    let settings = Settings::load(sources)?;
    let db = database(&settings).await?;
    match command {
        Command::Balances(args) => balances(&db, args).await,
    }
}

async fn balances(db: &Db, args: Balances) -> anyhow::Result<u8> {
    let limit = args.limit.unwrap_or(u64::MAX);
    let mut listing = Listing::new(COLUMNS);
    let mut after = Some(0);
    while let Some(from) = after {
        let room = limit.saturating_sub(u64::try_from(listing.rows.len())?);
        if room == 0 {
            break;
        }
        let (customer, currency) = (args.customer.as_deref(), args.currency.as_deref());
        let page = ledger::balances(db, customer, currency, from, room.min(PAGE)).await?;
        listing.rows.extend(page.rows.iter().map(shape::balance));
        after = page.next;
    }
    listing.print(args.output)?;
    Ok(0)
}
