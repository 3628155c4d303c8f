//! `addresses list|retire`: the addresses that were taken from the processor, and giving them up: they are never handed
//! out again, and what comes to them waits for a person.

use clap::Subcommand;

use super::output::{Listing, Output, Usage, say, tell};
use super::somebody;
use crate::app::{database, now_us};
use crate::config::{Settings, Sources};
use crate::http::admin::{outgoing, query, retire::Words};
use crate::store::outgoing::{self as stored, ADDRESS_STATES, Filter};
use crate::store::retire::{self, By, Pass};
use crate::store::{Db, merchants};

const COLUMNS: &[&str] =
    &["id", "merchant", "state", "network", "currency", "address", "tag", "user_identifier", "foreign_id", "error"];

#[derive(Subcommand)]
pub enum Command {
    /// Lists addresses of the gateway, newest first
    List {
        #[arg(long)]
        merchant: Option<String>,
        /// asked, used, free or retired
        #[arg(long)]
        state: Option<String>,
        /// Exactly an address, a user or a foreign id
        #[arg(long)]
        q: Option<String>,
        /// How many, at most
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1000))]
        limit: u64,
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Gives addresses up, all of them without a filter; says how many, and does it only with --yes
    Retire(RetireArgs),
}

#[derive(clap::Args)]
pub struct RetireArgs {
    #[arg(long)]
    pub merchant: Option<String>,
    /// As the processor or a client of the gateway calls it
    #[arg(long)]
    pub currency: Option<String>,
    /// Only addresses of the gateway have one
    #[arg(long)]
    pub network: Option<String>,
    /// Taken before then: a time, or how long ago, such as 30d
    #[arg(long, value_name = "TIME")]
    pub created_before: Option<String>,
    /// One customer's
    #[arg(long, value_name = "REFERENCE")]
    pub customer: Option<String>,
    /// Does it
    #[arg(long)]
    pub yes: bool,
}

pub async fn run(command: Command, sources: &Sources) -> anyhow::Result<u8> {
    let settings = Settings::load(sources)?;
    let db = database(&settings).await?;
    match command {
        Command::List { merchant, state, q, limit, output } => {
            let names = merchants::all(&db).await?;
            let merchant = merchant.map(|name| query::merchant(&name, &names)).transpose().map_err(Usage)?;
            let code = |word: String| {
                let help = || Usage(format!("--state must be one of {}", ADDRESS_STATES.join(", ")));
                stored::code(&ADDRESS_STATES, &word).ok_or_else(help)
            };
            let filter = Filter { merchant, state: state.map(code).transpose()?, q };
            let page = stored::addresses(&db, &filter, None, limit).await?;
            let mut listing = Listing::new(COLUMNS);
            listing.rows.extend(page.rows.iter().map(outgoing::address));
            listing.print(output)?;
            Ok(0)
        }
        Command::Retire(args) => give_up(&db, args).await,
    }
}

async fn give_up(db: &Db, args: RetireArgs) -> anyhow::Result<u8> {
    let RetireArgs { merchant, currency, network, created_before, customer, yes } = args;
    let words = Words {
        merchant: merchant.unwrap_or_default(),
        currency: currency.unwrap_or_default(),
        network: network.unwrap_or_default(),
        created_before: created_before.unwrap_or_default(),
        customer: customer.unwrap_or_default(),
    };
    let now_us = now_us();
    let which = words.which(&merchants::all(db).await?, now_us).map_err(Usage)?;
    let actor = somebody();
    let Pass { gateway, drop_in, .. } =
        retire::all(db, &which, yes.then_some(By { actor: &actor, at_us: now_us })).await?;
    let told = format!("{gateway} addresses of the gateway and {drop_in} of the drop-in");
    if yes {
        say(&format!("{told} are retired"))?;
    } else {
        say(&format!("{told} would be retired"))?;
        tell("tallyhook: nothing was changed; --yes does it");
    }
    Ok(0)
}
