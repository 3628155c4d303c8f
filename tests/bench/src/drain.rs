//! `drain`: events that piled up while there was no broker, published beside a bare publisher in the
//! same run; then `ledger verify` over the same callbacks.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::bars::Judged;
use crate::broker::{self, By};
use crate::check::everything;
use crate::child::Scratch;
use crate::fill::Filling;
use crate::options::DrainOptions;
use crate::product::{Deployment, Server};
use crate::report::{print_bars, write_json};
use crate::row::stop;
use crate::run::{binary, recipe, servers};
use crate::servers::Servers;

/// What one round came to.
struct Round {
    booked: u64,
    seconds: f64,
    verify_seconds: f64,
    /// Confirmed messages a second of the bare publisher, before and after.
    topic: [f64; 2],
    default: [f64; 2],
    refused: u64,
    wrong: Option<String>,
}

impl Round {
    fn millions(&self) -> f64 {
        self.booked as f64 / 1_000_000.0
    }

    fn rate(&self) -> f64 {
        self.booked as f64 / self.seconds
    }

    fn json(&self) -> Value {
        json!({"events": self.booked, "drain_seconds": self.seconds, "published_per_second": self.rate(),
            "bare_by_topic_per_second": self.topic, "bare_by_default_per_second": self.default,
            "verify_seconds": self.verify_seconds, "not_acknowledged": self.refused, "wrong": self.wrong})
    }
}

pub(crate) async fn drain(options: DrainOptions) -> Result<()> {
    let scratch = Scratch::make()?;
    let servers = servers(&options.common, &scratch).await?;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        rounds.push(round(&options, &scratch, &servers, number).await?);
    }
    let each = |figure: fn(&Round) -> f64| rounds.iter().map(figure).collect::<Vec<f64>>();
    let bare = (0.85, 0.92);
    let bars = [
        Judged::new(
            "published / bare publisher, by a topic exchange too",
            "x",
            each(|round| round.rate() / mean(round.topic)),
            bare,
            true,
        ),
        Judged::new(
            "published / bare publisher, by the default exchange",
            "x",
            each(|round| round.rate() / mean(round.default)),
            bare,
            true,
        ),
        Judged::new(
            "1,000,000 events drained",
            "s",
            each(|round| round.seconds / round.millions()),
            (40.0, 31.0),
            false,
        ),
        Judged::new(
            "1,000,000 callbacks verified",
            "s",
            each(|round| round.verify_seconds / round.millions()),
            (60.0, 20.0),
            false,
        ),
    ];
    print_bars(&bars);
    let more = json!({"rounds": rounds.iter().map(Round::json).collect::<Vec<Value>>()});
    write_json(options.common.json.as_deref(), &[], &bars, &more)?;
    for round in &rounds {
        ensure!(round.wrong.is_none(), "{}", round.wrong.as_deref().unwrap_or_default());
    }
    Ok(())
}

/// The bare publisher runs right before and right after, with nothing else at work.
async fn round(options: &DrainOptions, scratch: &Scratch, servers: &Servers, number: u16) -> Result<Round> {
    let binary = binary(options.common.tallyhook.as_deref())?;
    let name = format!("bench_drain_{number}");
    let database = servers.new_database(&name).await?;
    let recipe = recipe(&options.crowd)?;
    let without = Deployment::new(&binary, &scratch.path.join(&name), &database, "", &recipe.merchants)?;
    without.migrate().await?;

    println!("Storing {} callbacks without a broker.", options.events);
    let server = without.serve().await?;
    let mut filling = Filling::new(recipe);
    filling.fill(server.public, options.events, true).await?;
    stop(server).await?;
    servers.checkpoint().await?;

    let vhost = servers.new_vhost(&format!("bare_{number}")).await?;
    let default_before = bare(&vhost, By::Default, options).await?;
    let topic_before = bare(&vhost, By::Topic, options).await?;
    let amqp = servers.new_vhost(&name).await?;
    let with = without.with_broker(&amqp);
    println!("Publishing {} events.", filling.sent.end());
    let begun = Instant::now();
    let mut server = with.serve().await?;
    let seconds = published(&mut server, &amqp, filling.sent.acknowledged(), begun).await?;
    println!("Published in {seconds:.1} s.");
    stop(server).await?;
    let topic_after = bare(&vhost, By::Topic, options).await?;
    let default_after = bare(&vhost, By::Default, options).await?;

    let mut server = with.serve().await?;
    let verdict = everything(&with, &mut server, Some(&amqp), &filling.sent).await?;
    println!("{}", verdict.summary());
    stop(server).await?;
    broker::empty(&amqp).await?;
    servers.drop_database(&name).await?;
    Ok(Round {
        booked: verdict.booked,
        seconds,
        verify_seconds: verdict.verify_seconds,
        topic: [topic_before, topic_after],
        default: [default_before, default_after],
        refused: filling.refused,
        wrong: (!verdict.is_right()).then(|| verdict.summary()),
    })
}

fn mean([before, after]: [f64; 2]) -> f64 {
    f64::midpoint(before, after)
}

async fn bare(amqp: &str, by: By, options: &DrainOptions) -> Result<f64> {
    let rate = broker::bare_publisher(amqp, by, options.bare, options.bare_bytes).await?;
    println!("Bare publisher, {by:?} exchange: {rate:.0} confirmed messages a second.");
    Ok(rate)
}

/// Seconds until nothing waits and the queue holds every event. Both, as either alone could be read
/// too early.
async fn published(server: &mut Server, amqp: &str, events: u64, begun: Instant) -> Result<f64> {
    let (connection, _channel) = broker::connect(amqp).await?;
    let limit = Duration::from_secs(120) + Duration::from_millis(events);
    while begun.elapsed() < limit {
        server.child.check()?;
        if server.pending().await? == 0 && broker::length(&connection, broker::CREDITED).await? >= events {
            return Ok(begun.elapsed().as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let length = broker::length(&connection, broker::CREDITED).await?;
    bail!("after {limit:?} the queue had {length} of {events} events and {} were waiting", server.pending().await?)
}
