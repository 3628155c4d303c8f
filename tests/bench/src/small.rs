//! The two verbs that need no servers: `load`, the generator alone, and `smoke`, a short run on
//! SQLite with every check, for the test-suite.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::check::{Sent, everything};
use crate::child::Scratch;
use crate::deck::Recipe;
use crate::load::{self, Plan};
use crate::merchants::{self, Merchant};
use crate::options::{LoadOptions, SmokeOptions};
use crate::product::Deployment;
use crate::row::stop;
use crate::run::binary;

pub(crate) async fn load_only(options: LoadOptions) -> Result<()> {
    let (to, path) = address(&options.url)?;
    let secret = std::fs::read_to_string(&options.secret_file).context("reading the secret")?.trim().to_owned();
    let merchant = Merchant { name: "main".to_owned(), key: options.key, secret };
    let recipe = Recipe { path, ..Recipe::new(options.customers, vec![merchant]) };
    let deck = Arc::new(recipe.sign(options.first, options.signed)?);
    let plan = Plan {
        to,
        connections: options.shape.connections.into(),
        rate: options.shape.rate,
        warmup: Duration::ZERO,
        measured: Some(Duration::from_secs(options.seconds)),
        repeats_permille: options.shape.repeats_permille(),
    };
    let running = load::begin(&deck, plan)?;
    let limit = Duration::from_secs(options.seconds + 120);
    let outcome = tokio::time::timeout(limit, running.finish()).await.context("the last answers did not come")??;
    let latencies = &outcome.tally.latencies;
    println!("{:.0} answers 200 a second over {:.2} s", outcome.rate(), outcome.measured.as_secs_f64());
    let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| latencies.millis(share));
    println!("p50 {p50:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.2} ms");
    println!("answers by status: {:?}, broken connections: {}", outcome.tally.statuses, outcome.tally.broken);
    if outcome.deck_ran_out {
        println!("The signed requests ran out: raise --signed.");
    }
    Ok(())
}

fn address(url: &str) -> Result<(SocketAddr, String)> {
    let rest = url.strip_prefix("http://").context("the URL must begin with http://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, "callbacks/alphapo"));
    let to: SocketAddr =
        host.replace("localhost", "127.0.0.1").parse().context("the URL needs 127.0.0.1 and a port")?;
    ensure!(to.ip().is_loopback(), "the benchmark sends to 127.0.0.1 only");
    Ok((to, format!("/{path}")))
}

pub(crate) async fn smoke(options: SmokeOptions) -> Result<()> {
    let binary = binary(options.tallyhook.as_deref())?;
    let scratch = Scratch::make()?;
    let recipe = Recipe::new(20, merchants::make(2)?);
    let dir = scratch.path.join("smoke");
    let database = format!("sqlite://{}?mode=rwc", scratch.path.join("smoke.db").display());
    let deployment = Deployment::new(&binary, &dir, &database, "", &recipe.merchants)?;
    deployment.migrate().await?;
    let mut server = deployment.serve().await?;
    let deck = Arc::new(recipe.sign(0, options.callbacks)?);
    let plan = Plan {
        to: server.public,
        connections: 8,
        rate: None,
        warmup: Duration::ZERO,
        measured: None,
        repeats_permille: 200,
    };
    let running = load::begin(&deck, plan)?;
    let outcome = tokio::time::timeout(Duration::from_secs(60), running.finish())
        .await
        .context("it took more than a minute")??;
    server.child.check()?;
    let mut sent = Sent::new(recipe.crowd);
    sent.add(&outcome.fates)?;
    let verdict = everything(&deployment, &mut server, None, &sent).await?;
    stop(server).await?;
    let answers = &outcome.tally.statuses;
    println!("{}; answers by status: {answers:?}", verdict.summary());
    ensure!(verdict.is_right(), "{}", verdict.summary());
    ensure!(outcome.not_200() == 0 && outcome.tally.broken == 0, "not every answer was 200");
    ensure!(sent.acknowledged() == options.callbacks as u64, "not every callback was acknowledged");
    Ok(())
}
