//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Measures Tallyhook against two receivers of the usual kinds, and checks every callback. All
/// traffic stays on 127.0.0.1. Method and figures: docs/performance.md.
#[derive(Parser)]
#[command(version, about)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// All rows in alternating rounds, all bars
    Run(RunOptions),
    /// One row with settings of your own
    Row(RowOptions),
    /// Publish a large backlog, beside a bare publisher; then verify the ledger
    Drain(DrainOptions),
    /// The rate with few and with many stored callbacks
    Size(SizeOptions),
    /// An operator's questions, and a replay of everything, with many stored callbacks
    Admin(AdminOptions),
    /// Exec to the first answer, on a migrated database
    Start(StartOptions),
    /// Deposit addresses of the gateway that are known already, at a fixed rate
    Gateway(GatewayOptions),
    /// An export of the dashboard against a ledger of the same size: time and memory
    Reconcile(ReconcileOptions),
    /// Only the generator, against a receiver that is already there
    Load(LoadOptions),
    /// Some hundred callbacks on SQLite with all checks
    Smoke(SmokeOptions),
    /// The baseline that only forwards
    #[command(hide = true)]
    ServeForward(ForwardOptions),
    /// The baseline with one transaction per request
    #[command(hide = true)]
    ServeNaive(NaiveOptions),
}

#[derive(Args, Clone)]
pub(crate) struct Common {
    /// The binary to measure [default: `tallyhook` beside this one]
    #[arg(long, value_name = "PATH")]
    pub(crate) tallyhook: Option<PathBuf>,
    /// A PostgreSQL to use instead of a private one: postgres://USER@127.0.0.1:PORT, allowed to create databases
    #[arg(long, value_name = "URL", requires = "amqp")]
    pub(crate) postgres: Option<String>,
    /// A RabbitMQ to use instead of a private one: amqp://USER:PASSWORD@127.0.0.1:PORT/VHOST, whose
    /// Tallyhook queues will be deleted
    #[arg(long, value_name = "URL", requires = "postgres")]
    pub(crate) amqp: Option<String>,
    /// The script that starts private servers [default: tests/servers.sh of this source tree]
    #[arg(long, value_name = "PATH")]
    pub(crate) servers: Option<PathBuf>,
    /// Also write the figures here
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Args, Clone)]
pub(crate) struct Crowding {
    /// Customers, round robin
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=90_000_000))]
    pub(crate) customers: u64,
    /// Merchants that these customers belong to
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) merchants: u64,
    /// Requests to sign beforehand for each second of a row
    #[arg(long, default_value_t = 45_000)]
    pub(crate) signed_per_second: u64,
}

#[derive(Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) crowd: Crowding,
    /// How often all rows are run
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) rounds: u16,
    /// How long each row is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
    /// Load before that, not measured
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(crate) warmup: u64,
    /// Only rows whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TargetName {
    Tallyhook,
    Forward,
    Naive,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreName {
    Postgres,
    Sqlite,
}

#[derive(Args)]
pub(crate) struct RowOptions {
    #[command(flatten)]
    pub(crate) run: RunOptions,
    #[arg(long, value_enum, default_value = "tallyhook")]
    pub(crate) target: TargetName,
    #[arg(long, value_enum, default_value = "postgres")]
    pub(crate) database: StoreName,
    /// With RabbitMQ
    #[arg(long, overrides_with = "no_broker")]
    pub(crate) broker: bool,
    /// Without RabbitMQ (the default)
    #[arg(long)]
    pub(crate) no_broker: bool,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

/// How the load arrives.
#[derive(Args, Clone)]
pub(crate) struct Shape {
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) connections: u16,
    /// Open loop: requests per second, latency counted from when they were due
    #[arg(long)]
    pub(crate) rate: Option<u64>,
    /// Share of repeats of earlier bodies, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    pub(crate) duplicates: f64,
}

impl Shape {
    /// Between 0 and 1000, whatever was given.
    pub(crate) fn repeats_permille(&self) -> u64 {
        (0..1000).filter(|n| f64::from(*n) + 0.5 < self.duplicates * 1000.0).count() as u64
    }
}

#[derive(Args)]
pub(crate) struct DrainOptions {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) crowd: Crowding,
    /// How many events wait
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) events: u64,
    /// Messages of the bare publisher, before and after
    #[arg(long, default_value_t = 200_000)]
    pub(crate) bare: u64,
    /// Bytes of each of its messages
    #[arg(long, default_value_t = 700)]
    pub(crate) bare_bytes: usize,
    /// How often all of it is done, each time on a new database; the median is judged
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) rounds: u16,
}

#[derive(Args)]
pub(crate) struct SizeOptions {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) crowd: Crowding,
    /// Stored callbacks at the large end
    #[arg(long, default_value_t = 10_000_000)]
    pub(crate) callbacks: u64,
    /// And at the small end
    #[arg(long, default_value_t = 10_000)]
    pub(crate) few: u64,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) rounds: u16,
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) connections: u16,
    /// Leave out reading the whole feed and verifying the ledger of the large database at the end
    #[arg(long)]
    pub(crate) skip_check: bool,
}

#[derive(Args)]
pub(crate) struct AdminOptions {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) crowd: Crowding,
    /// Stored callbacks on PostgreSQL; 0 leaves it out
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) callbacks: u64,
    /// And on SQLite
    #[arg(long, default_value_t = 200_000)]
    pub(crate) sqlite_callbacks: u64,
    /// Questions of each kind
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) asks: u64,
}

#[derive(Args)]
pub(crate) struct StartOptions {
    #[command(flatten)]
    pub(crate) common: Common,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) times: u16,
}

#[derive(Args)]
pub(crate) struct GatewayOptions {
    #[command(flatten)]
    pub(crate) common: Common,
    #[arg(long, value_enum, default_value = "postgres")]
    pub(crate) database: StoreName,
    /// Requests per second, latency counted from when they were due
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) rate: u64,
    #[arg(long, default_value_t = 20)]
    pub(crate) seconds: u64,
    /// Customers, each with an address
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) users: u64,
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) connections: u16,
}

#[derive(Args)]
pub(crate) struct ReconcileOptions {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) crowd: Crowding,
    #[arg(long, value_enum, default_value = "postgres")]
    pub(crate) database: StoreName,
    /// Payments, and rows of the export
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) rows: u64,
    /// How often it is matched
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) times: u16,
}

#[derive(Args)]
pub(crate) struct LoadOptions {
    /// http://127.0.0.1:PORT/callbacks/alphapo
    #[arg(long, default_value = "http://127.0.0.1:8080/callbacks/alphapo")]
    pub(crate) url: String,
    #[arg(long)]
    pub(crate) key: String,
    /// A file that holds the merchant's secret
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: PathBuf,
    #[command(flatten)]
    pub(crate) shape: Shape,
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u64,
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=90_000_000))]
    pub(crate) customers: u64,
    /// Requests to sign beforehand
    #[arg(long, default_value_t = 200_000)]
    pub(crate) signed: usize,
    /// Skip this many bodies, so that a second load does not repeat the first
    #[arg(long, default_value_t = 0)]
    pub(crate) first: u64,
}

#[derive(Args)]
pub(crate) struct SmokeOptions {
    /// The binary to try [default: `tallyhook` beside this one]
    #[arg(long, value_name = "PATH")]
    pub(crate) tallyhook: Option<PathBuf>,
    #[arg(long, default_value_t = 400)]
    pub(crate) callbacks: usize,
}

#[derive(Args)]
pub(crate) struct ForwardOptions {
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    #[arg(long)]
    pub(crate) amqp: String,
    #[arg(long)]
    pub(crate) merchants: PathBuf,
}

#[derive(Args)]
pub(crate) struct NaiveOptions {
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    #[arg(long)]
    pub(crate) database: String,
    #[arg(long)]
    pub(crate) merchants: PathBuf,
}
