//! `ledger statement`: what moved a customer's money, newest first, with the balance after each entry.

use super::output::{Listing, Output, Usage, tell};
use crate::app::now_us;
use crate::domain::ids::CustomerId;
use crate::http::admin::{book_shape, query};
use crate::store::statement::{Span, of_customer};
use crate::store::{Db, customers, merchants};

const PAGE: u64 = 1_000;

#[derive(clap::Args)]
pub struct Args {
    /// Any reference of the customer
    pub customer: String,
    /// Where several merchants know that reference
    #[arg(long, value_name = "NAME")]
    pub merchant: Option<String>,
    #[arg(long)]
    pub currency: Option<String>,
    /// A time such as 2026-11-20T12:00:00Z, or how long ago, such as 2h or 7d
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// How many, at most; all without it
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// Exit code 3 if there is no such customer.
pub async fn run(db: &Db, args: Args) -> anyhow::Result<u8> {
    let at = |name: &str, text: &Option<String>| {
        text.as_ref().map(|text| query::moment(name, text, now_us())).transpose().map_err(Usage)
    };
    let span = Span { since_us: at("since", &args.since)?, until_us: at("until", &args.until)? };
    let Some(customer) = customer(db, &args).await? else {
        tell(&format!("tallyhook: there is no customer {}", args.customer));
        return Ok(3);
    };
    let limit = args.limit.unwrap_or(u64::MAX);
    let mut listing = Listing::new(book_shape::STATEMENT);
    let mut after = None;
    loop {
        let room = limit.saturating_sub(u64::try_from(listing.rows.len())?);
        let page = of_customer(db, customer, args.currency.as_deref(), &span, after, room.min(PAGE)).await?;
        listing.rows.extend(page.rows.iter().map(book_shape::statement_line));
        after = page.next;
        if after.is_none() || u64::try_from(listing.rows.len())? >= limit {
            break;
        }
    }
    listing.print(args.output)?;
    Ok(0)
}

async fn customer(db: &Db, args: &Args) -> anyhow::Result<Option<CustomerId>> {
    let names = merchants::all(db).await?;
    let merchant = args.merchant.as_ref().map(|name| query::merchant(name, &names)).transpose().map_err(Usage)?;
    let mut ids = customers::named(db, &args.customer).await?;
    ids.sort_unstable();
    ids.dedup();
    let found = customers::of_ids(db, &ids, merchant).await?;
    if let [one, other, ..] = found.as_slice() {
        let names = format!("{} and {}", one.merchant, other.merchant);
        return Err(Usage(format!("{names} know {}: say which with --merchant.", args.customer)).into());
    }
    Ok(found.first().map(|customer| customer.id))
}
