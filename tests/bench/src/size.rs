//! `size`: the rate with few and with many stored callbacks, in alternating windows of one run.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::bars::{Judged, median};
use crate::check::everything;
use crate::child::Scratch;
use crate::fill::Filling;
use crate::options::SizeOptions;
use crate::product::{Deployment, Server};
use crate::report::{print_bars, write_json};
use crate::row::stop;
use crate::run::{binary, recipe, servers};
use crate::servers::Servers;

/// A deployment on a database of its own.
struct Side {
    deployment: Deployment,
    server: Server,
    filling: Filling,
}

pub(crate) async fn size(options: SizeOptions) -> Result<()> {
    let scratch = Scratch::make()?;
    let servers = servers(&options.common, &scratch).await?;
    println!("Storing {} callbacks through the receiver.", options.callbacks);
    let mut many = side(&options, &scratch, &servers, "bench_many").await?;
    many.filling.fill(many.server.public, options.callbacks, true).await?;
    let (mut few_rates, mut many_rates, mut right) = (Vec::new(), Vec::new(), true);
    for round in 1..=options.rounds {
        let mut few = side(&options, &scratch, &servers, &format!("bench_few_{round}")).await?;
        few.filling.fill(few.server.public, options.few, false).await?;
        few_rates.push(window(&mut few, &options, &servers).await?);
        right &= finish(few, "few", true).await?;
        servers.drop_database(&format!("bench_few_{round}")).await?;
        many_rates.push(window(&mut many, &options, &servers).await?);
        if let (Some(few), Some(many)) = (few_rates.last(), many_rates.last()) {
            println!("round {round}: {few:.0}/s with few, {many:.0}/s with many");
        }
    }
    right &= finish(many, "many", !options.skip_check).await?;
    let ratios = few_rates.iter().zip(&many_rates).map(|(few, many)| many / few).collect();
    let name = format!("rate at {} / at {} stored", options.callbacks, options.few);
    let bars = [Judged::new(&name, "x", ratios, (0.85, 1.0), true)];
    print_bars(&bars);
    let more = json!({"few": options.few, "many": options.callbacks, "few_per_second": few_rates, "many_per_second": many_rates,
        "few_median": median(&few_rates), "many_median": median(&many_rates), "right": right});
    write_json(options.common.json.as_deref(), &[], &bars, &more)?;
    ensure!(right, "a callback was not booked as it should have been");
    Ok(())
}

async fn side(options: &SizeOptions, scratch: &Scratch, servers: &Servers, name: &str) -> Result<Side> {
    let binary = binary(options.common.tallyhook.as_deref())?;
    let recipe = recipe(&options.crowd)?;
    let database = servers.new_database(name).await?;
    let deployment = Deployment::new(&binary, &scratch.path.join(name), &database, "", &recipe.merchants)?;
    deployment.migrate().await?;
    let server = deployment.serve().await?;
    Ok(Side { deployment, server, filling: Filling::new(recipe) })
}

async fn window(side: &mut Side, options: &SizeOptions, servers: &Servers) -> Result<f64> {
    servers.checkpoint().await?;
    let signed = options.crowd.signed_per_second;
    let outcome = side.filling.window(side.server.public, options.connections.into(), options.seconds, signed).await?;
    side.server.child.check()?;
    Ok(outcome.rate())
}

async fn finish(mut side: Side, name: &str, checked: bool) -> Result<bool> {
    let mut right = true;
    if checked {
        let verdict = everything(&side.deployment, &mut side.server, None, &side.filling.sent).await?;
        println!("{name}: {}", verdict.summary());
        right = verdict.is_right();
    }
    if side.filling.refused > 0 {
        println!("{name}: {} requests were not answered with 200", side.filling.refused);
    }
    stop(side.server).await?;
    Ok(right)
}
