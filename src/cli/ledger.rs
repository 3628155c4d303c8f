//! `ledger balances|statement|verify`: what the accounts say, and whether everything stored bears it out.

use clap::Subcommand;
use serde_json::json;

use super::export;
use super::output::{Listing, Output, print, say};
use super::statement;
use crate::app::database;
use crate::audit::{self, Report};
use crate::config::{Settings, Sources};
use crate::domain::ids::MerchantId;
use crate::http::admin::shape;
use crate::processor::signature::{Keyring, MerchantKeys};
use crate::store::{Db, ledger, merchants};

const COLUMNS: &[&str] = &["merchant", "kind", "customer", "currency", "balance"];
const PAGE: u64 = 1_000;

#[derive(Subcommand)]
pub enum Command {
    /// Lists balances, in the order in which the accounts were opened
    Balances(Balances),
    /// The whole ledger for other tools, such as hledger
    Export(export::Args),
    /// What moved a customer's money, newest first, with the balance after each entry; exit code 3 without a customer
    Statement(statement::Args),
    /// Derives everything anew from the stored bytes and names what differs; exit code 4 if anything does
    Verify {
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
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
        Command::Export(args) => export::run(&db, &args).await,
        Command::Statement(args) => statement::run(&db, args).await,
        Command::Verify { output } => {
            let report = audit::verify(&db, &keyring(&settings, &db).await?).await?;
            tell_report(&report, output)?;
            Ok(if report.differences.is_empty() { 0 } else { 4 })
        }
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

/// The keys of the settings, by the numbers that the database knows their merchants by.
pub(super) async fn keyring(settings: &Settings, db: &Db) -> anyhow::Result<Keyring> {
    let names = merchants::all(db).await?;
    let keys = settings.merchants.iter().filter_map(|merchant| {
        let (id, _) = names.0.iter().find(|(_, name)| **name == merchant.name)?;
        Some(MerchantKeys {
            merchant: MerchantId(*id),
            key: merchant.key.clone(),
            secrets: std::iter::once(&merchant.secret).chain(&merchant.previous_secret).cloned().collect(),
        })
    });
    Ok(Keyring::try_new(keys)?)
}

fn tell_report(report: &Report, output: Output) -> anyhow::Result<()> {
    let Report { callbacks, entries, accounts, pruned, differences } = report;
    match output {
        Output::Json | Output::Ndjson => {
            let whole = json!({
                "callbacks": callbacks,
                "entries": entries,
                "accounts": accounts,
                "pruned": pruned,
                "differences": differences,
            });
            print(&format!("{whole}\n"))
        }
        Output::Table | Output::Csv => {
            differences.iter().try_for_each(|difference| say(&format!("differs: {difference}")))?;
            let verdict = if differences.is_empty() { "everything agrees" } else { "not everything agrees" };
            say(&format!(
                "{callbacks} callbacks ({pruned} without their bodies), {entries} journal entries, \
                 {accounts} accounts: {verdict}"
            ))
        }
    }
}
