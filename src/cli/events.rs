//! `events list|tail|redeliver`: the events as the queue has them, straight from the database, in journal order; and
//! having some of them published again, by whichever instance publishes.

use std::time::Duration;

use clap::Subcommand;
use serde_json::Value;

use super::books::show;
use super::output::{Listing, Output, Usage, print, tell};
use super::{refused, somebody};
use crate::app::{database, now_us};
use crate::config::{Settings, Sources};
use crate::domain::event::{Event, rfc3339};
use crate::http::admin::shape::Row;
use crate::http::admin::{query, redeliver};
use crate::http::error::ApiError;
use crate::store::redelivery::{self, Asked};
use crate::store::{Db, events, merchants, timeline};

const COLUMNS: &[&str] = &["sequence", "time", "type", "subject", "currency", "amount", "balance_after", "id"];
const PAGE: u64 = 500;
/// How often `tail` looks for more.
const POLL: Duration = Duration::from_millis(500);

#[derive(Subcommand)]
pub enum Command {
    /// Lists events, oldest first
    List {
        /// Only events after this sequence
        #[arg(long, value_name = "SEQUENCE")]
        after: Option<i64>,
        /// A time such as 2026-11-20T12:00:00Z, or how long ago, such as 2h or 7d
        #[arg(long, value_name = "TIME", conflicts_with = "after")]
        since: Option<String>,
        /// How many, at most
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Prints events as they come, a line of JSON each, until it is stopped
    Tail {
        /// Begins after this sequence; without it, with what comes from now on
        #[arg(long, value_name = "SEQUENCE")]
        after: Option<i64>,
    },
    /// Has events published to RabbitMQ again, with the same ids and bytes; says how many, and does it only with --yes
    Redeliver {
        /// The first, by its sequence
        from: i64,
        /// The last; without it, only one
        to: Option<i64>,
        /// Why; it is kept
        #[arg(long, value_name = "TEXT", default_value = "asked for on the command line")]
        reason: String,
        /// Does it
        #[arg(long)]
        yes: bool,
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

pub async fn run(command: Command, sources: &Sources) -> anyhow::Result<u8> {
    let settings = Settings::load(sources)?;
    let db = database(&settings).await?;
    match command {
        Command::List { after, since, limit, output } => list(&db, after, since, limit, output).await,
        Command::Tail { after } => tail(&db, after).await,
        Command::Redeliver { from, to, reason, yes, output } => {
            let reason = query::text("reason", reason).map_err(Usage)?;
            let has_broker = !settings.broker.urls.is_empty();
            match again(&db, has_broker, (from, to), reason, yes).await {
                Ok(row) => show(Some(row), "", output),
                Err(error) => refused(error),
            }
        }
    }
}

async fn again(
    db: &Db,
    has_broker: bool,
    (from, to): (i64, Option<i64>),
    reason: String,
    is_sure: bool,
) -> Result<Row, ApiError> {
    let (from, to) = (from.to_string(), to.map(|to| to.to_string()));
    let stretch = redeliver::stretch(db, has_broker, (&from, to.as_deref())).await?;
    if !is_sure {
        tell(&format!("{} events would be published again. Nothing was done: add --yes to do it.", stretch.events()));
        return Ok(redeliver::plan(stretch));
    }
    let asked = Asked { first: stretch.first, last: stretch.last, reason, at_us: now_us() };
    let asked = redelivery::ask(db, &asked, &somebody()).await?;
    tell("Whichever instance publishes does it, between new events.");
    Ok(redeliver::line(&asked))
}

async fn list(db: &Db, after: Option<i64>, since: Option<String>, limit: u64, output: Output) -> anyhow::Result<u8> {
    let since_us = since.map(|since| query::since(&since, now_us())).transpose().map_err(Usage)?;
    let mut after = match since_us {
        Some(since_us) => timeline::position_before(db, since_us).await?,
        None => after.unwrap_or_default(),
    };
    // What begins a little early is cut exactly: times are of one length, so they compare as texts.
    let since = since_us.map(rfc3339).unwrap_or_default();
    let names = merchants::all(db).await?;
    let mut listing = Listing::new(COLUMNS);
    let mut lines = Vec::new();
    while u64::try_from(lines.len())? < limit {
        let room = limit.saturating_sub(u64::try_from(lines.len())?);
        let page = events::after(db, &names, after, room.min(PAGE)).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        for event in page {
            let row = row(&event)?;
            if row.get("time").and_then(Value::as_str) >= Some(since.as_str()) {
                listing.rows.push(if output == Output::Json { row } else { flat(&row) });
                lines.push(event.body);
            }
        }
    }
    if output == Output::Ndjson {
        lines.iter().try_for_each(|body| line(body))?;
    } else {
        listing.print(output)?;
    }
    Ok(0)
}

fn row(event: &Event) -> anyhow::Result<Row> {
    Ok(serde_json::from_slice(&event.body)?)
}

/// The columns of a table: some of them stand in the event's data.
fn flat(event: &Row) -> Row {
    let data = event.get("data").and_then(Value::as_object);
    let value = |name: &str| event.get(name).or_else(|| data?.get(name)).cloned().unwrap_or_default();
    COLUMNS.iter().map(|column| ((*column).to_owned(), value(column))).collect()
}

async fn tail(db: &Db, after: Option<i64>) -> anyhow::Result<u8> {
    let mut after = match after {
        Some(after) => after,
        None => events::last_position(db).await?,
    };
    loop {
        if events::last_position(db).await? > after {
            let names = merchants::all(db).await?;
            for event in events::after(db, &names, after, PAGE).await? {
                line(&event.body)?;
                after = event.position;
            }
        } else {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The event's own bytes.
fn line(body: &[u8]) -> anyhow::Result<()> {
    print(&format!("{}\n", std::str::from_utf8(body)?))
}
