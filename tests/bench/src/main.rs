//! `tallyhook-bench`: the load generator, two baselines, and the checker of every callback. Knows
//! Tallyhook only as a binary. Never sends anything to another machine.

mod admin;
mod bars;
mod baseline;
mod body;
mod broker;
mod check;
mod child;
mod deck;
mod drain;
mod fate;
mod fill;
mod gateway;
mod histogram;
mod http;
mod load;
mod merchants;
mod options;
mod procfs;
mod product;
mod reconcile;
mod report;
mod row;
mod run;
mod servers;
mod size;
mod small;
mod start;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::options::{Options, Verb};

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let options = Options::parse();
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(error) => {
            eprintln!("Can't listen for SIGTERM: {error}");
            return ExitCode::FAILURE;
        }
    };
    // Whichever way it ends, the guards end the processes and remove the folders.
    let ended = tokio::select! {
        ended = Box::pin(perform(options.verb)) => ended,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tallyhook-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn perform(verb: Verb) -> Result<()> {
    match verb {
        Verb::Run(options) => run::all(options).await,
        Verb::Row(options) => run::one(options).await,
        Verb::Drain(options) => drain::drain(options).await,
        Verb::Size(options) => size::size(options).await,
        Verb::Admin(options) => admin::admin(options).await,
        Verb::Start(options) => start::start(options).await,
        Verb::Gateway(options) => gateway::gateway(options).await,
        Verb::Reconcile(options) => reconcile::reconcile(options).await,
        Verb::Load(options) => small::load_only(options).await,
        Verb::Smoke(options) => small::smoke(options).await,
        Verb::ServeForward(o) => baseline::forward::serve(o.listen, &o.amqp, &o.merchants).await,
        Verb::ServeNaive(o) => baseline::naive::serve(o.listen, &o.database, &o.merchants).await,
    }
}
