//! `drain`: events that piled up while there was no broker, published beside a bare publisher in the
//! same run; then `ledger verify` over the same callbacks.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;

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

pub(crate) async fn drain(options: DrainOptions) -> Result<()> {
    let binary = binary(options.common.tallyhook.as_deref())?;
    let scratch = Scratch::make()?;
    let servers = servers(&options.common, &scratch).await?;
    let database = servers.new_database("bench_drain").await?;
    let recipe = recipe(&options.crowd)?;
    let without = Deployment::new(&binary, &scratch.path.join("drain"), &database, "", &recipe.merchants)?;
    without.migrate().await?;

    println!("Storing {} callbacks without a broker.", options.events);
    let server = without.serve().await?;
    let mut filling = Filling::new(recipe);
    filling.fill(server.public, options.events, true).await?;
    stop(server).await?;
    servers.checkpoint().await?;

    let vhost = servers.new_vhost("bare_before").await?;
    let (topic_before, default_before) =
        (bare(&vhost, By::Topic, &options).await?, bare(&vhost, By::Default, &options).await?);
    let amqp = servers.new_vhost("bench_drain").await?;
    let with = without.with_broker(&amqp);
    println!("Publishing {} events.", filling.sent.end());
    let begun = Instant::now();
    let mut server = with.serve().await?;
    let seconds = published(&mut server, &amqp, filling.sent.acknowledged(), begun).await?;
    println!("Published in {seconds:.1} s.");
    let verdict = everything(&with, &mut server, Some(&amqp), &filling.sent).await?;
    println!("{}", verdict.summary());
    stop(server).await?;
    broker::empty(&amqp).await?;
    let vhost = servers.new_vhost("bare_after").await?;
    let (topic_after, default_after) =
        (bare(&vhost, By::Topic, &options).await?, bare(&vhost, By::Default, &options).await?);

    let millions = verdict.booked as f64 / 1_000_000.0;
    let rate = verdict.booked as f64 / seconds;
    let (topic, default) = ((topic_before + topic_after) / 2.0, (default_before + default_after) / 2.0);
    let bars = [
        Judged::new("published / bare publisher, by a topic exchange too", "x", vec![rate / topic], (0.85, 0.92), true),
        Judged::new(
            "published / bare publisher, by the default exchange",
            "x",
            vec![rate / default],
            (0.85, 0.92),
            true,
        ),
        Judged::new("1,000,000 events drained", "s", vec![seconds / millions], (40.0, 31.0), false),
        Judged::new("1,000,000 callbacks verified", "s", vec![verdict.verify_seconds / millions], (60.0, 20.0), false),
    ];
    print_bars(&bars);
    let more = json!({"events": verdict.booked, "drain_seconds": seconds, "published_per_second": rate,
        "bare_by_topic_per_second": [topic_before, topic_after],
        "bare_by_default_per_second": [default_before, default_after], "verify_seconds": verdict.verify_seconds, "right": verdict.is_right(),
        "wrong": verdict.wrong, "not_acknowledged": filling.refused});
    write_json(options.common.json.as_deref(), &[], &bars, &more)?;
    ensure!(verdict.is_right(), "{}", verdict.summary());
    Ok(())
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
