//! The command line: one file for each family of verbs. Exit codes: 0 fine, 1 failed, 2 usage or settings,
//! 3 not found, 4 a check says no.

pub mod addresses;
pub mod books;
pub mod callbacks;
pub mod completions;
pub mod config_cmd;
pub mod demo;
pub mod discrepancies;
pub mod doctor;
pub mod ending;
pub mod events;
pub mod export;
pub mod healthcheck;
pub mod import;
pub mod import_csv;
pub mod ledger;
pub mod migrate;
pub mod output;
pub mod prune;
pub mod reconcile;
pub mod replays;
pub mod sandbox;
pub mod send;
pub mod serve;
pub mod sign;
pub mod statement;

use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Faults, Role, Settings, Sources, Token, pair};
use crate::http::error::ApiError;
use crate::store::audit_log::Actor;

/// Every AlphaPo callback, credited exactly once.
#[derive(Parser)]
#[command(name = "tallyhook", version, about, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    /// Settings file instead of ./tallyhook.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Overrides one setting, as in --set limits.batch=256
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Receive, book and publish: everything in one process
    Serve(serve::Args),
    /// A running example: SQLite in a temporary folder, keys made on the spot, steady sample traffic
    Demo(demo::Args),
    /// A simulated AlphaPo to test against: scenarios, faults, a clock of its own
    Sandbox(sandbox::Args),
    /// The database's schema
    #[command(subcommand)]
    Migrate(migrate::Command),
    /// The settings
    #[command(subcommand)]
    Config(config_cmd::Command),
    /// Checks settings, database, broker and clock, and says what to do
    Doctor,
    /// Prints the headers that sign a body
    Sign(sign::SignArgs),
    /// Checks a signature; exit 4 and the likely cause when it is wrong
    Verify(sign::VerifyArgs),
    /// Signs bodies and posts them to a running instance
    Send(send::Args),
    /// Stored callbacks: list, look into, decide anew
    #[command(subcommand)]
    Callbacks(callbacks::Command),
    /// Deciding many callbacks anew, in the background
    #[command(subcommand)]
    Replays(replays::Command),
    /// The events that are told
    #[command(subcommand)]
    Events(events::Command),
    /// The ledger
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// The processor's balances against the ledger
    #[command(subcommand)]
    Reconcile(reconcile::Command),
    /// What is held, in suspense or found by reconciliation: list, look into, resolve
    #[command(subcommand)]
    Discrepancies(discrepancies::Command),
    /// Customers: list, look into, make known beforehand
    #[command(subcommand)]
    Customers(books::Customers),
    /// Withdrawals that were requested through us: list, look into, end
    #[command(subcommand)]
    Withdrawals(books::Withdrawals),
    /// Addresses: list, give up
    #[command(subcommand)]
    Addresses(addresses::Command),
    /// Payments: list, look into
    #[command(subcommand)]
    Payments(books::Payments),
    /// Forgets the bodies of old callbacks; says what it would do, and does it only with --yes
    Prune(prune::Args),
    /// Asks a running instance whether it is ready
    Healthcheck(healthcheck::Args),
    /// Prints the description of the HTTP API, in `OpenAPI` 3.1
    Openapi,
    /// Prints the description of the events, in `AsyncAPI` 3.0
    Asyncapi,
    /// Completions for a shell
    Completions(completions::Args),
}

/// Runs the command line of this process.
pub async fn run() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            let is_help = !usage.use_stderr();
            let printed = usage.print();
            return if is_help && printed.is_ok() { 0 } else { 2 };
        }
    };
    let sources = Sources::from_process(cli.config, cli.set);
    match Box::pin(dispatch(cli.command, sources)).await {
        Ok(code) => code,
        Err(error) => {
            output::tell(&format!("tallyhook: {error:#}"));
            if error.is::<Faults>() || error.is::<output::Usage>() { 2 } else { 1 }
        }
    }
}

async fn dispatch(command: Command, sources: Sources) -> anyhow::Result<u8> {
    match command {
        Command::Serve(args) => serve::run(args, sources).await,
        Command::Demo(args) => demo::run(args, sources).await,
        Command::Sandbox(args) => sandbox::run(args, sources).await,
        Command::Migrate(command) => migrate::run(command, &sources).await,
        Command::Config(command) => config_cmd::run(command, &sources),
        Command::Doctor => doctor::run(&sources).await,
        Command::Sign(args) => sign::run_sign(args, &sources).await,
        Command::Verify(args) => sign::run_verify(args, &sources).await,
        Command::Send(args) => send::run(args, &sources).await,
        Command::Callbacks(command) => callbacks::run(command, &sources).await,
        Command::Replays(command) => replays::run(command, &sources).await,
        Command::Events(command) => events::run(command, &sources).await,
        Command::Ledger(command) => ledger::run(command, &sources).await,
        Command::Reconcile(command) => reconcile::run(command, &sources).await,
        Command::Discrepancies(command) => discrepancies::run(command, &sources).await,
        Command::Customers(command) => books::run_customers(command, &sources).await,
        Command::Withdrawals(command) => books::run_withdrawals(command, &sources).await,
        Command::Addresses(command) => addresses::run(command, &sources).await,
        Command::Payments(command) => books::run_payments(command, &sources).await,
        Command::Prune(args) => prune::run(args, &sources).await,
        Command::Healthcheck(args) => healthcheck::run(args, &sources).await,
        Command::Openapi => {
            output::say(&format!("{:#}", crate::http::openapi::document()))?;
            Ok(0)
        }
        Command::Asyncapi => {
            output::say(&format!("{:#}", crate::http::openapi::events()))?;
            Ok(0)
        }
        Command::Completions(args) => completions::run(&args, Cli::command()),
    }
}

/// Whoever has a shell here has the database: the audit log can only say that much.
fn somebody() -> Actor {
    let request_id = uuid::Uuid::from_u128(rand::random()).to_string();
    Actor { name: "command line".to_owned(), role: "command", request_id }
}

/// Who decides, by `--by`: a token that may. Two people count by two names, so a name that nobody's token has is none.
fn decider(settings: &Settings, by: &str) -> Result<Actor, output::Usage> {
    let may = |token: &&Token| token.role >= Role::Operator;
    let names: Vec<&str> = settings.tokens.iter().filter(may).map(|token| token.name.as_str()).collect();
    if !names.contains(&by) {
        let known = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
        return Err(output::Usage(format!("--by names a configured token of an operator or approver: {known}.")));
    }
    Ok(Actor { name: by.to_owned(), role: "command", request_id: String::new() })
}

/// What the admin API would refuse, in its words, as an exit code.
fn refused(error: ApiError) -> anyhow::Result<u8> {
    let code = match &error {
        ApiError::Invalid(_) => 2,
        ApiError::NotFound(_) => 3,
        ApiError::Unfit(_) | ApiError::SelfApproval | ApiError::Conflict { .. } | ApiError::Declined(_) => 4,
        ApiError::Unauthorized { .. }
        | ApiError::Forbidden { .. }
        | ApiError::Forged
        | ApiError::MethodNotAllowed { .. }
        | ApiError::TooLarge
        | ApiError::Refused(_)
        | ApiError::Store(_) => return Err(error.into()),
    };
    output::tell(&format!("tallyhook: {error}"));
    Ok(code)
}
