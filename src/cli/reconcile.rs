//! `reconcile run|report|import-csv`: what is overdue is asked about and the processor's balances are compared with the ledger, now;
//! and what was found before. Exit code 4 while something is open.

use clap::Subcommand;
use serde_json::json;

use super::import_csv;
use super::output::{Listing, Output, bar, bar_done, tell};
use crate::app::{App, Tasks, database};
use crate::config::{Settings, Sources};
use crate::domain::event::rfc3339;
use crate::domain::ids::MerchantId;
use crate::domain::outage::Span;
use crate::domain::reason::Reason;
use crate::domain::reconcile::Verdict;
use crate::outbound::outages::latest;
use crate::outbound::{asks, reconcile};
use crate::store::asks::Ask;
use crate::store::reconcile::Run;
use crate::store::{self, Db, merchants, outages as kept};

/// Overdue payments that the processor does not know: so many are shown.
const UNKNOWN: u64 = 1_000;
/// The same for outages, the latest.
const OUTAGES: u64 = 20;

const COLUMNS: &[&str] = &[
    "time",
    "merchant",
    "currency",
    "verdict",
    "ours",
    "theirs",
    "in_flight",
    "difference",
    "since",
    "discrepancy",
    "error",
];

#[derive(Subcommand)]
pub enum Command {
    /// Asks about everything overdue now, compares balances, and opens or settles discrepancies
    Run {
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Matches the dashboard's CSV export to the ledger; changes nothing without --yes
    ImportCsv(Box<import_csv::Args>),
    /// What the latest runs found
    Report {
        /// How many runs
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
        limit: u64,
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

pub async fn run(command: Command, sources: &Sources) -> anyhow::Result<u8> {
    let settings = Settings::load(sources)?;
    match command {
        Command::ImportCsv(args) => import_csv::run(*args, settings).await,
        Command::Run { output } => run_now(settings, output).await,
        Command::Report { limit, output } => {
            let db = database(&settings).await?;
            let names = merchants::all(&db).await?;
            let runs =
                store::reconcile::runs(&db, i64::MAX, limit.saturating_mul(settings.merchants.len().try_into()?))
                    .await?;
            let unknown = store::asks::list(&db, true, UNKNOWN).await?;
            let more = More { unknown, outages: outages(&db).await? };
            show(&runs, &more, |merchant| names.0.get(&merchant.0).cloned().unwrap_or_default(), output)
        }
    }
}

async fn run_now(settings: Settings, output: Output) -> anyhow::Result<u8> {
    let mut tasks = Tasks::default();
    let app = App::start(settings, Vec::new(), &mut tasks).await?;
    let tally = asks::ask_all(&app).await?;
    let asks::Tally { over, open, missing, later } = tally;
    tell(&format!(
        "tallyhook: of what is overdue, {over} are over now, {open} are on their way, {missing} unknown to the processor, \
         {later} could not be asked about"
    ));
    let mut runs = Vec::new();
    let all = u64::try_from(app.merchants().count())?;
    for (done, (id, name)) in (0..).zip(app.merchants()) {
        bar(done, all, name);
        runs.push(reconcile::run(&app, id, "command").await?);
    }
    bar(all, all, "compared");
    bar_done();
    let has_failed = later > 0 || runs.iter().any(|run| run.error.is_some());
    let unknown = store::asks::list(&app.db, true, UNKNOWN).await?;
    let more = More { unknown, outages: outages(&app.db).await? };
    let code = show(&runs, &more, |merchant| app.merchant_name(merchant).to_owned(), output)?;
    drop(app);
    tasks.drain(std::time::Duration::from_secs(10)).await?;
    if has_failed {
        tell("tallyhook: the processor could not be asked; see the errors above");
        return Ok(1);
    }
    Ok(code)
}

/// What is not about balances.
struct More {
    unknown: Vec<Ask>,
    /// Each with what becomes of its callbacks, in a sentence.
    outages: Outages,
}

struct Outages {
    rows: Vec<(Span, String)>,
    is_open: bool,
}

async fn outages(db: &Db) -> anyhow::Result<Outages> {
    let rows = latest(db, OUTAGES).await?;
    let (_, open) = kept::counts(db, Reason::Outage).await?;
    Ok(Outages { rows, is_open: open > 0 })
}

fn show(runs: &[Run], more: &More, name: impl Fn(MerchantId) -> String, output: Output) -> anyhow::Result<u8> {
    let mut listing = Listing::new(COLUMNS);
    for run in runs {
        if run.lines.is_empty() {
            let (time, none) = (json!(rfc3339(run.began_us)), json!(null));
            let rest =
                [none.clone(), none.clone(), none.clone(), none.clone(), none.clone(), none.clone(), none.clone()];
            let [currency, verdict, ours, theirs, in_flight, difference, since] = rest;
            let error = json!(run.error);
            listing.push([
                time,
                json!(name(run.merchant)),
                currency,
                verdict,
                ours,
                theirs,
                in_flight,
                difference,
                since,
                none,
                error,
            ]);
        }
        for line in &run.lines {
            listing.push([
                json!(rfc3339(run.began_us)),
                json!(name(run.merchant)),
                json!(line.currency),
                json!(line.verdict.word()),
                json!(line.sides.ours),
                json!(line.sides.theirs),
                json!(line.sides.in_flight),
                json!(line.sides.difference()),
                json!(line.since_us.map(rfc3339)),
                json!(line.discrepancy.map(|id| id.to_string())),
                json!(null),
            ]);
        }
    }
    for ask in &more.unknown {
        listing.push([
            json!(rfc3339(ask.next_us)),
            json!(name(ask.merchant)),
            json!(ask.currency),
            json!("unknown"),
            json!(ask.amount),
            json!(null),
            json!(null),
            json!(null),
            json!(rfc3339(ask.since_us)),
            json!(ask.discrepancy.map(|id| id.to_string())),
            json!(format!("{} {}: the processor knows nothing of it", ask.expected.word(), ask.reference)),
        ]);
    }
    for (span, sentence) in &more.outages.rows {
        let mut row: [serde_json::Value; 11] = Default::default();
        let [time, _, _, verdict, _, _, _, _, since, _, error] = &mut row;
        (*time, *since) = (json!(rfc3339(span.to_us)), json!(rfc3339(span.from_us)));
        (*verdict, *error) = (json!("outage"), json!(sentence));
        listing.push(row);
    }
    listing.print(output)?;
    let is_open = !more.unknown.is_empty()
        || more.outages.is_open
        || runs.iter().flat_map(|run| &run.lines).any(|line| line.verdict == Verdict::Open);
    Ok(if is_open { 4 } else { 0 })
}
