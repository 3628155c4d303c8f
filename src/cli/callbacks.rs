//! `callbacks list|show|replay`: what the admin API answers, straight from the database. A replay prints the money diff
//! and does nothing without `--yes`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;
use serde_json::{Value, json};

use super::import;
use super::output::{Listing, Output, Usage, print, printable, say, tell};
use crate::app::{booker_parts, database, now_us};
use crate::booker::replay::{Account, Change, Diff, ReplayError, replay};
use crate::booker::{Booker, Refusal, booker};
use crate::config::{Settings, Sources};
use crate::domain::amount::Amount;
use crate::domain::ids::CallbackId;
use crate::http::admin::query::Words;
use crate::http::admin::shape;
use crate::metrics::Metrics;
use crate::store::booking::State;
use crate::store::callbacks::{self, Filter, Scope};
use crate::store::{Db, merchants};

const COLUMNS: &[&str] = &[
    "id",
    "received_at",
    "merchant",
    "type",
    "status",
    "state",
    "reason",
    "payment_id",
    "foreign_id",
    "end_user_reference",
    "customer",
    "deliveries",
];
const PAGE: u64 = 500;

#[derive(Subcommand)]
pub enum Command {
    /// Lists callbacks, newest first
    List {
        #[command(flatten)]
        which: Which,
        /// How many, at most
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Everything about one callback; exit code 3 if there is none
    Show {
        id: i64,
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Prints stored callbacks with their bytes and signatures, oldest first, a line of JSON each; exit code 1 if bodies
    /// are pruned
    Export {
        #[command(flatten)]
        which: Which,
        /// How many, at most
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
    },
    /// Books the lines of an export, each verified again; importing twice books once. Exit code 1 if one was declined
    Import {
        /// `-` is stdin
        file: PathBuf,
    },
    /// Decides held and failed callbacks anew: prints what would change, and does it only with --yes
    Replay {
        /// Callbacks; without any, all that the filter means
        ids: Vec<i64>,
        #[command(flatten)]
        which: Which,
        /// How many, at most
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
        /// Does it
        #[arg(long)]
        yes: bool,
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

/// Which callbacks are meant.
#[derive(clap::Args)]
pub struct Which {
    #[arg(long, value_name = "NAME")]
    pub merchant: Option<String>,
    /// booked, ignored, held or failed
    #[arg(long)]
    pub state: Option<String>,
    /// The processor's type, such as deposit
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// The processor's status, such as confirmed
    #[arg(long)]
    pub status: Option<String>,
    #[arg(long, value_name = "ID")]
    pub foreign_id: Option<String>,
    /// Exactly a payment's id, a `foreign_id`, an `end_user_reference`, an address or a txid
    #[arg(short, long, value_name = "TEXT")]
    pub q: Option<String>,
    /// A time such as 2026-11-20T12:00:00Z, or how long ago, such as 2h or 7d
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Received before this moment; a time, or how long ago
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

impl Which {
    pub fn is_empty(&self) -> bool {
        let Self { merchant, state, kind, status, foreign_id, q, since, until } = self;
        let texts = [merchant, state, kind, status, foreign_id, q, since, until];
        texts.iter().all(|text| text.is_none())
    }

    pub async fn filter(self, db: &Db) -> anyhow::Result<Filter> {
        let Self { merchant, state, kind, status, foreign_id, q, since, until } = self;
        let words = Words { merchant, state, r#type: kind, status, foreign_id, q, since, until };
        Ok(words.filter(&merchants::all(db).await?, now_us()).map_err(Usage)?)
    }
}

pub async fn run(command: Command, sources: &Sources) -> anyhow::Result<u8> {
    let settings = Settings::load(sources)?;
    let db = database(&settings).await?;
    match command {
        Command::List { which, limit, output } => list(&db, &which.filter(&db).await?, limit, output).await,
        Command::Show { id, output } => show(&db, id, output).await,
        Command::Export { which, limit } => {
            let scope = Scope { ids: Vec::new(), filter: which.filter(&db).await? };
            import::export(&db, &scope, limit.unwrap_or(u64::MAX)).await
        }
        Command::Import { file } => import::callbacks(&settings, &db, &file).await,
        Command::Replay { ids, which, limit, yes, output } => {
            if !ids.is_empty() && !which.is_empty() {
                return Err(Usage("give ids or a filter, not both.".to_owned()).into());
            }
            let filter = which.filter(&db).await?;
            if matches!(filter.state, Some(State::Booked | State::Ignored)) {
                return Err(Usage("only held and failed callbacks can be decided anew.".to_owned()).into());
            }
            let ids: Vec<_> = ids.into_iter().map(CallbackId).collect();
            let batch = Batch { ids, filter, limit: limit.unwrap_or(u64::MAX), is_dry_run: !yes };
            run_replay(&settings, &db, batch, output).await
        }
    }
}

async fn list(db: &Db, filter: &Filter, limit: u64, output: Output) -> anyhow::Result<u8> {
    let mut listing = Listing::new(COLUMNS);
    let mut after = None;
    loop {
        let room = limit.saturating_sub(u64::try_from(listing.rows.len())?);
        let page = callbacks::list(db, filter, after, room.min(PAGE)).await?;
        listing.rows.extend(page.rows.iter().map(shape::callback));
        after = page.next;
        if after.is_none() || u64::try_from(listing.rows.len())? >= limit {
            break;
        }
    }
    listing.print(output)?;
    Ok(0)
}

async fn show(db: &Db, id: i64, output: Output) -> anyhow::Result<u8> {
    let Some(detail) = callbacks::get(db, CallbackId(id)).await? else {
        tell(&format!("tallyhook: there is no callback {id}"));
        return Ok(3);
    };
    let row = shape::detail(&detail);
    match output {
        Output::Json => print(&format!("{}\n", serde_json::to_string_pretty(&row)?))?,
        Output::Ndjson => print(&format!("{}\n", serde_json::to_string(&row)?))?,
        Output::Table | Output::Csv => {
            let mut listing = Listing::new(&["field", "value"]);
            for (name, value) in row.into_iter().filter(|(name, _)| name != "body" && name != "body_encoding") {
                listing.push([name.into(), value]);
            }
            let body = detail.body.map(|body| String::from_utf8_lossy(&body).into_owned());
            listing.push(["body".into(), body.into()]);
            listing.print(output)?;
        }
    }
    Ok(0)
}

/// What is to be decided anew.
struct Batch {
    /// Empty: what the filter means.
    ids: Vec<CallbackId>,
    filter: Filter,
    limit: u64,
    is_dry_run: bool,
}

async fn run_replay(settings: &Settings, db: &Db, batch: Batch, output: Output) -> anyhow::Result<u8> {
    let names = merchants::all(db).await?;
    let own = (&Arc::new(Metrics::default()), &Arc::new(super::ledger::keyring(settings, db).await?));
    let (booker, desk) = booker(booker_parts(settings, &names, db, own));
    // The desk ends with its last handle: when all is decided.
    let (all, ()) = tokio::join!(replay_all(db, booker, &batch), desk);
    let all = all?;
    let is_nothing = all.changes.is_empty() && all.pruned.is_empty() && all.refused.is_empty();
    let is_missing = is_nothing && !batch.ids.is_empty();
    if is_missing {
        tell("tallyhook: there are no such callbacks");
        return Ok(3);
    }
    show_diff(&all, batch.is_dry_run, output)?;
    let has_failed = !all.refused.is_empty() || all.changes.iter().any(|change| change.state == State::Failed);
    Ok(u8::from(has_failed && !batch.is_dry_run))
}

/// A page after the other, so that a long list holds the journal's head for a moment each.
async fn replay_all(db: &Db, booker: Booker, batch: &Batch) -> anyhow::Result<Diff> {
    let mut all = Diff::default();
    let mut after = CallbackId(0);
    let mut left = batch.limit;
    let mut given = batch.ids.chunks(usize::try_from(PAGE)?);
    while left > 0 {
        let ids = if batch.ids.is_empty() {
            callbacks::waiting(db, &batch.filter, after, left.min(PAGE)).await?
        } else {
            given.next().unwrap_or_default().to_vec()
        };
        let Some(last) = ids.last() else { break };
        after = *last;
        left = left.saturating_sub(u64::try_from(ids.len())?);
        let diff = match replay(db, &booker, &ids, batch.is_dry_run).await {
            // All of this page: what was decided before is told all the same.
            Err(ReplayError::Refused(refusal)) if !batch.is_dry_run => {
                Diff { refused: ids.iter().map(|id| (*id, refusal)).collect(), ..Diff::default() }
            }
            other => other?,
        };
        let is_gone = diff.refused.iter().any(|(_, refusal)| refusal.is_passing());
        all.changes.extend(diff.changes);
        all.pruned.extend(diff.pruned);
        all.refused.extend(diff.refused);
        add(&mut all.balances, diff.balances);
        if is_gone {
            break;
        }
    }
    Ok(all)
}

fn add(sums: &mut BTreeMap<Account, Amount>, changes: BTreeMap<Account, Amount>) {
    for (account, change) in changes {
        let sum = sums.entry(account).or_default();
        *sum = sum.checked_add(change).unwrap_or(*sum);
    }
}

fn show_diff(diff: &Diff, is_dry_run: bool, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        let whole = shape::diff(diff, is_dry_run, None);
        return print(&format!("{}\n", serde_json::to_string_pretty(&whole)?));
    }
    let mut changes = Listing::new(&["id", "type", "payment_id", "before", "after", "postings"]);
    if output == Output::Ndjson {
        changes.rows = diff.changes.iter().map(shape::change).collect();
    } else {
        diff.changes.iter().for_each(|change| changes.push(line(change)));
    }
    changes.print(output)?;
    if output != Output::Table {
        return Ok(());
    }
    if !diff.balances.is_empty() {
        let mut balances = Listing::new(&["merchant", "kind", "customer", "currency", "change"]);
        balances.rows = diff.balances.iter().map(|(account, by)| shape::balance_change(account, *by)).collect();
        say("")?;
        balances.print(output)?;
    }
    for id in &diff.pruned {
        tell(&format!("callback {id} can't be decided anew: its body is pruned"));
    }
    for (id, refusal) in &diff.refused {
        let why = match refusal {
            Refusal::Refused => "the database refuses it".to_owned(),
            Refusal::Unavailable | Refusal::Busy | Refusal::NotConfigured => refusal.to_string(),
        };
        tell(&format!("callback {id} stands as it stood: {why}"));
    }
    let changed = diff.changes.iter().filter(|change| !change.is_unchanged).count();
    let total = diff.changes.len();
    tell(&if is_dry_run {
        format!("{changed} of {total} callbacks would change. Nothing was done: add --yes to do it.")
    } else {
        format!("{changed} of {total} callbacks changed.")
    });
    Ok(())
}

fn line(change: &Change) -> [Value; 6] {
    let state = |state: State, reason: Option<crate::domain::reason::Reason>| match reason {
        Some(reason) => format!("{} ({})", state.word(), reason.word()),
        None => state.word().to_owned(),
    };
    let name = |account: &Account| match &account.customer {
        Some(customer) => format!("{}:{}", account.kind.name(), printable(customer)),
        None => account.kind.name().to_owned(),
    };
    let postings = change.postings.iter().map(|moved| {
        format!("{} → {} {} {}", name(&moved.debit), name(&moved.credit), moved.amount, moved.debit.currency)
    });
    let before = &change.before;
    [
        before.id.to_string().into(),
        before.kind.as_deref().into(),
        before.payment_id.as_deref().into(),
        state(before.state, before.reason).into(),
        state(change.state, change.reason).into(),
        json!(postings.collect::<Vec<_>>().join("; ")),
    ]
}
