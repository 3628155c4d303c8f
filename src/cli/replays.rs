//! `replays run|list|show|stop`: deciding many callbacks anew as a job that is kept in the database. `run` works on it
//! itself and shows how far it is; when it is interrupted, a running instance goes on with it.

use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;

use super::callbacks::Which;
use super::output::{Listing, Output, Usage, bar, bar_done};
use super::{books, somebody};
use crate::app::{booker_parts, database, now_us};
use crate::booker::booker;
use crate::config::{Settings, Sources};
use crate::http::admin::query::text;
use crate::http::admin::replays::{VERSION, told};
use crate::metrics::Metrics;
use crate::store::callbacks::Scope;
use crate::store::replays::{self, Asked, Job, JobState};
use crate::store::{Db, merchants};
use crate::worker::replays::Replays;
use crate::worker::{Progress, Worker};

const COLUMNS: &[&str] =
    &["id", "asked_at", "asked_by", "state", "dry_run", "decided", "changed", "differing", "failed", "reason"];
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Subcommand)]
pub enum Command {
    /// Decides callbacks anew, all of them without a filter; changes nothing without --yes
    Run(Box<RunArgs>),
    /// Lists replays, newest first
    List {
        /// How many, at most
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1000))]
        limit: u64,
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Everything about one replay; exit code 3 if there is none
    Show {
        id: i64,
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Stops a replay between two batches
    Stop { id: i64 },
}

#[derive(clap::Args)]
pub struct RunArgs {
    /// Callbacks; without any, all that the filter means
    pub ids: Vec<i64>,
    #[command(flatten)]
    pub which: Which,
    /// Why; it is kept
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Does it
    #[arg(long)]
    pub yes: bool,
    /// Leaves the work to a running instance
    #[arg(long)]
    pub detach: bool,
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

pub async fn run(command: Command, sources: &Sources) -> anyhow::Result<u8> {
    let settings = Settings::load(sources)?;
    let db = database(&settings).await?;
    match command {
        Command::Run(args) => ask(&settings, &db, *args).await,
        Command::List { limit, output } => list(&db, limit, output).await,
        Command::Show { id, output } => show(&db, id, output).await,
        Command::Stop { id } => {
            replays::stop(&db, id, &somebody().name, now_us()).await?;
            show(&db, id, Output::Table).await
        }
    }
}

async fn ask(settings: &Settings, db: &Db, args: RunArgs) -> anyhow::Result<u8> {
    let RunArgs { ids, which, reason, yes, detach, output } = args;
    if !ids.is_empty() && !which.is_empty() {
        return Err(Usage("give ids or a filter, not both.".to_owned()).into());
    }
    let asked = Asked {
        scope: Scope { ids, filter: which.filter(db).await? },
        is_dry_run: !yes,
        reason: text("reason", reason).map_err(Usage)?,
        by: somebody().name,
        version: VERSION.to_owned(),
        at_us: now_us(),
    };
    let id = replays::ask(db, &asked).await?;
    let job = if detach { replays::get(db, id).await? } else { Some(work(settings, db, id).await?) };
    show(db, id, output).await?;
    let has_failed = job.is_some_and(|job| job.counts.failed > 0 || job.counts.differing > 0);
    Ok(if has_failed { 4 } else { 0 })
}

/// Takes the steps of replays until this one has ended, at another process's hands or ours.
async fn work(settings: &Settings, db: &Db, id: i64) -> anyhow::Result<Job> {
    let names = merchants::all(db).await?;
    let own = (&Arc::new(Metrics::default()), &Arc::new(super::ledger::keyring(settings, db).await?));
    let parts = booker_parts(settings, &names, db, own);
    let (handle, desk) = booker(parts.clone());
    let steps = async move {
        let mut worker = Replays::new(handle, parts, settings.limits.replay_batch);
        let job = loop {
            let step = Box::pin(worker.step()).await?;
            let job = replays::get(db, id).await?.ok_or_else(|| anyhow::anyhow!("replay {id} is gone"))?;
            show_progress(&job);
            if job.state != JobState::Running {
                break job;
            }
            if step == Progress::Idle {
                tokio::select! {
                    () = worker.woken() => {}
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        };
        worker.finish().await?;
        anyhow::Ok(job)
    };
    let (job, ()) = tokio::join!(steps, desk);
    bar_done();
    job
}

fn show_progress(job: &Job) {
    let (decided, changed) = (job.counts.decided, job.counts.changed);
    bar(job.cursor.unsigned_abs(), job.upto.unsigned_abs(), &format!("{decided} decided, {changed} changed"));
}

async fn list(db: &Db, limit: u64, output: Output) -> anyhow::Result<u8> {
    let mut listing = Listing::new(COLUMNS);
    for job in replays::list(db, None, limit).await?.rows {
        listing.rows.extend(told(db, job.id).await?);
    }
    listing.print(output)?;
    Ok(0)
}

async fn show(db: &Db, id: i64, output: Output) -> anyhow::Result<u8> {
    books::show(told(db, id).await?, &format!("replay {id}"), output)
}
