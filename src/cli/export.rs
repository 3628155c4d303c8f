//! `ledger export`: the whole ledger for other people's tools, from one snapshot: a journal for hledger, one row a posting
//! as CSV or JSON, or the days of each merchant and currency. Streams; it holds the accounts and a page.

use std::collections::{BTreeMap, HashMap};

use clap::ValueEnum;
use serde_json::json;

use super::output::{Listing, Output, print};
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::event::rfc3339;
use crate::domain::journal::{Booked, Effect};
use crate::store::proof::{Account, Journaled, Named, Snapshot};
use crate::store::{Db, merchants};

/// Entries read at a time.
const PAGE: i64 = 4_000;
const COLUMNS: &[&str] = &[
    "position",
    "time",
    "merchant",
    "event",
    "debit",
    "debit_customer",
    "credit",
    "credit_customer",
    "currency",
    "amount",
    "payment",
    "callback_id",
];
const DAYS: &[&str] = &[
    "day",
    "merchant",
    "currency",
    "opening",
    "credits",
    "suspense",
    "withdrawals",
    "exchanges",
    "fees",
    "corrections",
    "closing",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Hledger,
    Csv,
    Json,
}

#[derive(clap::Args)]
pub struct Args {
    /// hledger: a journal for `hledger check`; csv, json: one row for each posting (json: one object a line)
    #[arg(long, value_enum, default_value = "hledger")]
    pub format: Format,
    /// One row for each day, merchant and currency instead: what AlphaPo held at first, what moved, what it held at last
    #[arg(long)]
    pub daily: bool,
}

/// The accounts with their owners' names.
struct Chart {
    accounts: HashMap<i64, Account>,
    customers: HashMap<i64, String>,
    merchants: HashMap<i16, String>,
}

pub(super) async fn run(db: &Db, args: &Args) -> anyhow::Result<u8> {
    let names = merchants::all(db).await?;
    let mut snapshot = Snapshot::begin(db).await?;
    let accounts = snapshot.accounts().await?.into_iter().map(|account| (account.id.0, account)).collect();
    let customers = snapshot.customers().await?.into_iter().collect();
    let chart = Chart { accounts, customers, merchants: names.0 };
    if args.daily {
        return daily(&mut snapshot, &chart, args.format).await;
    }
    if args.format == Format::Hledger {
        print(&chart.declarations())?;
    }
    let mut is_first = true;
    let mut after = 0;
    loop {
        let page = snapshot.journal(after, PAGE).await?;
        let Some(last) = page.last().map(|journaled| journaled.entry.position) else { break };
        let named = snapshot.named(after, last).await?;
        let text = match args.format {
            Format::Hledger => page.iter().map(|entry| chart.transaction(entry, &named)).collect(),
            Format::Csv => {
                let text = chart.rows(&page, &named).render(Output::Csv)?;
                if is_first { text } else { text.split_once('\n').map_or("", |(_, rest)| rest).to_owned() }
            }
            Format::Json => chart.rows(&page, &named).render(Output::Ndjson)?,
        };
        print(&text)?;
        is_first = false;
        after = last;
    }
    Ok(0)
}

impl Chart {
    fn merchant(&self, id: i16) -> &str {
        self.merchants.get(&id).map_or("unknown", String::as_str)
    }

    fn customer(&self, account: &Account) -> Option<&str> {
        self.customers.get(&account.customer).map(String::as_str)
    }

    fn account(&self, id: i64) -> Option<(&Account, AccountKind)> {
        let account = self.accounts.get(&id)?;
        Some((account, AccountKind::from_code(account.kind)?))
    }

    /// A customer's account is named by number: names may hold anything.
    fn name(&self, id: i64) -> String {
        let Some((account, kind)) = self.account(id) else { return format!("unknown:{id}") };
        let merchant = plain(self.merchant(account.merchant.0));
        if kind.is_customers() {
            format!("{merchant}:{}:{}", kind.name(), account.customer)
        } else {
            format!("{merchant}:{}", kind.name())
        }
    }

    fn declarations(&self) -> String {
        let mut currencies: Vec<_> = self.accounts.values().map(|account| account.currency.as_str()).collect();
        currencies.sort_unstable();
        currencies.dedup();
        let mut accounts: Vec<(String, Option<&str>)> =
            self.accounts.iter().map(|(id, account)| (self.name(*id), self.customer(account))).collect();
        accounts.sort_unstable();
        accounts.dedup();
        let mut text = String::new();
        for currency in currencies {
            text.push_str(&format!("commodity 1.000000000000000000 \"{}\"\n", plain(currency)));
        }
        for (account, customer) in accounts {
            let comment = customer.map_or_else(String::new, |customer| format!("  ; customer: {}", plain(customer)));
            text.push_str(&format!("account {account}{comment}\n"));
        }
        text.push('\n');
        text
    }

    /// Entries that move nothing are no transactions.
    fn transaction(&self, journaled: &Journaled, named: &HashMap<i64, Named>) -> String {
        let entry = &journaled.entry;
        let mut text = String::new();
        if entry.postings.is_empty() {
            return text;
        }
        let time = rfc3339(entry.at_us);
        let day = time.split('T').next().unwrap_or_default();
        let payment = named.get(&entry.position).and_then(Named::payment).unwrap_or_default();
        let (position, callback, event) = (entry.position, entry.callback, entry.event.word());
        text.push_str(&format!("{day} * ({position}) {event}  ; callback: {callback}, payment: {}\n", plain(&payment)));
        for Booked { debit, credit, amount } in &entry.postings {
            let currency = self.accounts.get(&debit.0).map_or("", |account| account.currency.as_str());
            let currency = plain(currency);
            text.push_str(&format!("    {}  {amount} \"{currency}\"\n", self.name(debit.0)));
            text.push_str(&format!("    {}  -{amount} \"{currency}\"\n", self.name(credit.0)));
        }
        text.push('\n');
        text
    }

    fn rows(&self, page: &[Journaled], named: &HashMap<i64, Named>) -> Listing {
        let mut listing = Listing::new(COLUMNS);
        for Journaled { entry, .. } in page {
            for Booked { debit, credit, amount } in &entry.postings {
                let (Some((from, debit)), Some((to, credit))) = (self.account(debit.0), self.account(credit.0)) else {
                    continue;
                };
                listing.push([
                    json!(entry.position.to_string()),
                    json!(rfc3339(entry.at_us)),
                    json!(self.merchant(entry.merchant.0)),
                    json!(entry.event.word()),
                    json!(debit.name()),
                    json!(self.customer(from)),
                    json!(credit.name()),
                    json!(self.customer(to)),
                    json!(from.currency),
                    json!(amount),
                    json!(named.get(&entry.position).and_then(Named::payment)),
                    json!(entry.callback.to_string()),
                ]);
            }
        }
        listing
    }
}

/// Letters that mean nothing to hledger: neither the end of a name, nor a comment, nor the next tag.
fn plain(text: &str) -> String {
    let is_plain = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-' | '.' | '/' | '@' | '+' | '#');
    text.chars().map(|char| if is_plain(char) { char } else { '_' }).collect()
}

/// What moved on the processor's account in a day: credits, suspense, withdrawals, exchanges, fees, corrections.
type Moves = [Amount; 6];

async fn daily(snapshot: &mut Snapshot, chart: &Chart, format: Format) -> anyhow::Result<u8> {
    let mut days: BTreeMap<(i16, String, String), Moves> = BTreeMap::new();
    let mut after = 0;
    loop {
        let page = snapshot.journal(after, PAGE).await?;
        let Some(last) = page.last().map(|journaled| journaled.entry.position) else { break };
        for Journaled { entry, .. } in &page {
            for posting in &entry.postings {
                let Some((currency, place, change)) = chart.movement(posting, entry.effect) else { continue };
                let day = rfc3339(entry.at_us).split('T').next().unwrap_or_default().to_owned();
                let moves = days.entry((entry.merchant.0, currency.to_owned(), day)).or_default();
                if let Some(sum) = moves.get_mut(place) {
                    *sum = sum.checked_add(change).ok_or_else(|| anyhow::anyhow!("a day's sum is over the bound"))?;
                }
            }
        }
        after = last;
    }
    let mut listing = Listing::new(DAYS);
    let mut closing: HashMap<(i16, String), Amount> = HashMap::new();
    for ((merchant, currency, day), moves) in days {
        let balance = closing.entry((merchant, currency.clone())).or_default();
        let opening = *balance;
        let sum = moves.iter().try_fold(opening, |sum, change| sum.checked_add(*change));
        *balance = sum.ok_or_else(|| anyhow::anyhow!("a balance is over the bound"))?;
        let [credits, suspense, withdrawals, exchanges, fees, corrections] = moves.map(|amount| json!(amount));
        listing.push([
            json!(day),
            json!(chart.merchant(merchant)),
            json!(currency),
            json!(opening),
            credits,
            suspense,
            withdrawals,
            exchanges,
            fees,
            corrections,
            json!(*balance),
        ]);
    }
    let output = if format == Format::Csv { Output::Csv } else { Output::Ndjson };
    listing.print(if format == Format::Hledger { Output::Table } else { output })?;
    Ok(0)
}

impl Chart {
    /// The currency, the column and the change, of a posting that touches what the processor holds.
    fn movement(&self, posting: &Booked, effect: Effect) -> Option<(&str, usize, Amount)> {
        let (from, debit) = self.account(posting.debit.0)?;
        let (_, credit) = self.account(posting.credit.0)?;
        let (other, change) = match (debit, credit) {
            (AccountKind::Processor, other) => (other, posting.amount),
            (other, AccountKind::Processor) => (other, posting.amount.negated()),
            _ => return None,
        };
        let place = match other {
            _ if effect == Effect::Corrected => 5,
            AccountKind::Available | AccountKind::Held if debit == AccountKind::Processor => 0,
            AccountKind::Suspense => 1,
            AccountKind::Available | AccountKind::Held => 2,
            AccountKind::Exchange => 3,
            AccountKind::Fees => 4,
            AccountKind::Processor => return None,
        };
        Some((from.currency.as_str(), place, change))
    }
}
