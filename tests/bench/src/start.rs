//! `start`: from exec to the first answer of `/livez`, on a migrated database, asked every millisecond.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use crate::bars::Judged;
use crate::child::Scratch;
use crate::http;
use crate::merchants;
use crate::options::StartOptions;
use crate::product::Deployment;
use crate::report::{print_bars, write_json};
use crate::row::{Bench, stop};
use crate::run::{binary, servers};

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) async fn start(options: StartOptions) -> Result<()> {
    let scratch = Scratch::make()?;
    let bench = Bench {
        binary: binary(options.common.tallyhook.as_deref())?,
        dir: scratch.path.clone(),
        servers: Some(servers(&options.common, &scratch).await?),
        warmup: Duration::ZERO,
        measured: Duration::ZERO,
    };
    let bars = measure(&bench, usize::from(options.times)).await?;
    print_bars(&bars);
    write_json(options.common.json.as_deref(), &[], &bars, &json!({}))
}

/// Without a broker, and with one.
pub(crate) async fn measure(bench: &Bench, times: usize) -> Result<Vec<Judged>> {
    let database = bench.servers()?.new_database("bench_start").await?;
    let amqp = bench.servers()?.new_vhost("bench_start").await?;
    let merchants = merchants::make(1)?;
    let without = Deployment::new(&bench.binary, &bench.dir.join("start"), &database, "", &merchants)?;
    without.migrate().await?;
    let mut bars = Vec::new();
    for (name, deployment) in
        [("start to first answer", &without), ("the same with a broker", &without.with_broker(&amqp))]
    {
        let mut millis = Vec::new();
        for _ in 0..times {
            millis.push(once(deployment).await?);
        }
        bars.push(Judged::new(name, "ms", millis, (50.0, 15.0), false));
    }
    crate::broker::empty(&amqp).await?;
    bench.servers()?.drop_database("bench_start").await?;
    Ok(bars)
}

async fn once(deployment: &Deployment) -> Result<f64> {
    let begun = Instant::now();
    let mut server = deployment.exec()?;
    while begun.elapsed() < LIMIT {
        if let Ok((200, _)) = http::get(server.public, "/livez", "").await {
            let millis = begun.elapsed().as_secs_f64() * 1000.0;
            stop(server).await?;
            return Ok(millis);
        }
        server.child.check()?;
        // Not the runtime's timer, which would make two of it. Nothing else is going on.
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("no answer of /livez within {LIMIT:?}. Last lines:\n{}", server.child.last_lines())
}
