//! One row: a receiver started on an empty database, a load, figures, and for Tallyhook the check of
//! every callback. A row leaves nothing behind but its figures.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::broker;
use crate::check::{Sent, Verdict, everything};
use crate::child::{Child, free_address};
use crate::deck::{Deck, Recipe};
use crate::load::{self, Load, Outcome, Plan};
use crate::merchants::write_file;
use crate::procfs;
use crate::product::{Deployment, Server};
use crate::servers::Servers;

const SAMPLE_EVERY: Duration = Duration::from_millis(200);
/// Processor times are read this long before the measured time: going through /proc takes some milliseconds of a core.
const READ_BEFORE: Duration = Duration::from_millis(100);
/// Open loop: customers who had a callback before are what is measured, with nothing left of opening them.
const SETTLED: Duration = Duration::from_secs(1);
const WARMUP_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Forward,
    Naive,
    Tallyhook,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Postgres,
    Sqlite,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) target: Target,
    pub(crate) store: Store,
    pub(crate) broker: bool,
    pub(crate) connections: usize,
    pub(crate) rate: Option<u64>,
    /// One customer of one merchant.
    pub(crate) hot: bool,
    pub(crate) repeats_permille: u64,
}

/// What all rows share.
pub(crate) struct Bench {
    pub(crate) binary: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) servers: Option<Servers>,
    pub(crate) warmup: Duration,
    pub(crate) measured: Duration,
}

/// Requests signed beforehand. Every row starts from nothing, so all rows replay the same ones.
#[derive(Clone)]
pub(crate) struct Stock {
    pub(crate) recipe: Recipe,
    pub(crate) deck: Arc<Deck>,
}

#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) not_200: u64,
    pub(crate) broken: u64,
    pub(crate) late_unsent: u64,
    pub(crate) deck_ran_out: bool,
    pub(crate) usage: Usage,
    /// Events that waited when the load stopped, and how long until they were published.
    pub(crate) backlog: Option<(u64, f64)>,
    pub(crate) verdict: Option<Verdict>,
}

/// Cores used within the measured time, and memory.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) server: Option<f64>,
    pub(crate) postgres: Option<f64>,
    pub(crate) beam: Option<f64>,
    pub(crate) generator: Option<f64>,
    /// The most that was seen within the measured time, and since the start.
    pub(crate) rss_kib: Option<u64>,
    pub(crate) rss_max_kib: Option<u64>,
}

impl Bench {
    pub(crate) fn servers(&self) -> Result<&Servers> {
        self.servers.as_ref().context("this needs PostgreSQL and RabbitMQ")
    }

    pub(crate) async fn measure(&self, row: &Row, round: usize, stock: &Stock) -> Result<Figures> {
        let id = format!("bench_{}_{round}", row.name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
        let dir = self.dir.join(&id);
        std::fs::create_dir(&dir)?;
        let database = match row.store {
            Store::Postgres if row.target == Target::Forward => String::new(),
            Store::Postgres => self.servers()?.new_database(&id).await?,
            Store::Sqlite => format!("sqlite://{}?mode=rwc", dir.join("bench.db").display()),
        };
        let amqp = if row.broker { Some(self.servers()?.new_vhost(&id).await?) } else { None };
        let figures = match row.target {
            Target::Tallyhook => self.tallyhook(row, stock, &dir, &database, amqp.as_deref()).await,
            Target::Forward | Target::Naive => self.baseline(row, stock, &dir, &database, amqp.as_deref()).await,
        };
        let figures = figures.with_context(|| format!("row {:?}, round {round}", row.name))?;
        if let Some(amqp) = &amqp {
            broker::empty(amqp).await?;
        }
        if database.starts_with("postgres") {
            self.servers()?.drop_database(&id).await?;
        }
        std::fs::remove_dir_all(&dir)?;
        Ok(figures)
    }

    async fn tallyhook(
        &self,
        row: &Row,
        stock: &Stock,
        dir: &std::path::Path,
        database: &str,
        amqp: Option<&str>,
    ) -> Result<Figures> {
        let merchants = &stock.recipe.merchants;
        let deployment = Deployment::new(&self.binary, dir, database, amqp.unwrap_or_default(), merchants)?;
        deployment.migrate().await?;
        let mut server = deployment.serve().await?;
        let (outcome, usage) = self.put_under_load(row, stock, server.public, server.child.pid()).await?;
        server.child.check()?;
        let mut figures = figures(&outcome, usage);
        if amqp.is_some() {
            let waiting = server.pending().await?;
            figures.backlog = Some((waiting, server.wait_published(Duration::from_secs(300)).await?.as_secs_f64()));
        }
        let mut sent = Sent::new(stock.recipe.crowd);
        sent.add(&outcome.fates)?;
        figures.verdict = Some(everything(&deployment, &mut server, amqp, &sent).await?);
        stop(server).await?;
        Ok(figures)
    }

    async fn baseline(
        &self,
        row: &Row,
        stock: &Stock,
        dir: &std::path::Path,
        database: &str,
        amqp: Option<&str>,
    ) -> Result<Figures> {
        let (listen, file) = (free_address()?, dir.join("merchants"));
        write_file(&file, &stock.recipe.merchants)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(if row.target == Target::Forward { "serve-forward" } else { "serve-naive" });
        command.arg("--listen").arg(listen.to_string()).arg("--merchants").arg(&file);
        match (row.target, amqp) {
            (Target::Forward, Some(amqp)) => command.args(["--amqp", amqp]),
            (Target::Naive, None) => command.args(["--database", database]),
            _ => bail!("forward needs a broker and naive none"),
        };
        let mut child = Child::start(command, row.name, &dir.join("baseline.log"))?;
        child.wait_ready(listen, "/readyz", Duration::from_secs(30)).await?;
        let (outcome, usage) = self.put_under_load(row, stock, listen, child.pid()).await?;
        child.check()?;
        Ok(figures(&outcome, usage))
    }

    async fn put_under_load(
        &self,
        row: &Row,
        stock: &Stock,
        to: std::net::SocketAddr,
        pid: u32,
    ) -> Result<(Outcome, Usage)> {
        let plan = Plan {
            to,
            connections: row.connections,
            rate: row.rate,
            warmup: self.warmup.max(row.rate.map_or(Duration::ZERO, |rate| all_known(&stock.recipe, rate))),
            measured: Some(self.measured),
            repeats_permille: row.repeats_permille,
        };
        let running = load::begin(&stock.deck, plan)?;
        let usage = self.watch(&running, pid).await;
        let outcome = tokio::time::timeout(Duration::from_secs(120), running.finish()).await;
        Ok((outcome.context("the last answers did not come")??, usage))
    }

    /// Looks at the processes while the load is measured.
    pub(crate) async fn watch(&self, running: &Load, pid: u32) -> Usage {
        tokio::time::sleep_until((running.window - READ_BEFORE).into()).await;
        let end = running.window + self.measured;
        let (begun, before) = (Instant::now(), self.processor_times(pid));
        tokio::time::sleep_until(running.window.into()).await;
        let mut usage = Usage::default();
        while Instant::now() < end && !running.is_over() {
            if let Some((rss, max)) = procfs::memory_kib(pid) {
                usage.rss_kib = usage.rss_kib.max(Some(rss));
                usage.rss_max_kib = Some(max);
            }
            tokio::time::sleep(SAMPLE_EVERY.min(end.saturating_duration_since(Instant::now()))).await;
        }
        let (spent, after) = (begun.elapsed().as_secs_f64(), self.processor_times(pid));
        let share = |n: usize| Some(after[n]?.saturating_sub(before[n]?).as_secs_f64() / spent);
        (usage.server, usage.postgres, usage.beam, usage.generator) = (share(0), share(1), share(2), share(3));
        usage
    }

    fn processor_times(&self, pid: u32) -> [Option<Duration>; 4] {
        let of = |pid: Option<u32>| procfs::cpu_of_tree(pid?);
        let (postgres, beam) = self.servers.as_ref().map_or((None, None), |s| (s.postgres_pid, s.beam_pid));
        [of(Some(pid)), of(postgres), of(beam), procfs::cpu_of_self()]
    }
}

/// How long until every customer had a callback at this rate, and what that left is done.
fn all_known(recipe: &Recipe, rate: u64) -> Duration {
    let opening = Duration::from_millis(recipe.crowd.customers.saturating_mul(1000) / rate.max(1));
    opening.saturating_add(SETTLED).min(WARMUP_MAX)
}

pub(crate) fn figures(outcome: &Outcome, usage: Usage) -> Figures {
    let latencies = &outcome.tally.latencies;
    Figures {
        rate: outcome.rate(),
        p50_ms: latencies.millis(0.5),
        p99_ms: latencies.millis(0.99),
        p999_ms: latencies.millis(0.999),
        max_ms: latencies.millis(1.0),
        not_200: outcome.not_200(),
        broken: outcome.tally.broken,
        late_unsent: outcome.late_unsent,
        deck_ran_out: outcome.deck_ran_out,
        usage,
        backlog: None,
        verdict: None,
    }
}

/// A graceful stop is part of what is expected.
pub(crate) async fn stop(server: Server) -> Result<()> {
    let status = server.stop().await?;
    ensure!(status.success(), "tallyhook serve ended with {status} after SIGTERM");
    Ok(())
}
