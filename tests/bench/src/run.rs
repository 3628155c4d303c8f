//! `run` and `row`: rounds of rows, the tables, the bars.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use crate::bars::{bars, rows};
use crate::child::Scratch;
use crate::deck::Recipe;
use crate::merchants;
use crate::options::{Common, Crowding, RowOptions, RunOptions, StoreName, TargetName};
use crate::report::{Done, insist, print_bars, print_done, print_rows, write_json};
use crate::row::{Bench, Row, Stock, Store, Target};
use crate::servers::Servers;
use crate::start;

pub(crate) async fn all(options: RunOptions) -> Result<()> {
    let wanted = |row: &Row| options.only.as_ref().is_none_or(|text| row.name.contains(text.as_str()));
    let rows: Vec<Row> = rows().into_iter().filter(wanted).collect();
    ensure!(!rows.is_empty(), "no row is called so");
    let scratch = Scratch::make()?;
    let bench = bench(&options, &scratch, true).await?;
    let done = rounds(&bench, &options, &rows).await?;
    let find = |round: usize, name: &str| {
        let found = done.iter().find(|done| done.round == round && done.row.name == name);
        found.map(|done| &done.figures)
    };
    let rounds = usize::from(options.rounds);
    let mut judged: Vec<_> = bars().iter().filter_map(|bar| bar.judge(rounds, find)).collect();
    if options.only.is_none() {
        judged.extend(start::measure(&bench, 10).await?);
    }
    print_rows(&done);
    print_bars(&judged);
    let settings = json!({"seconds": options.seconds, "warmup": options.warmup, "customers": options.crowd.customers,
        "merchants": options.crowd.merchants});
    write_json(options.common.json.as_deref(), &done, &judged, &settings)?;
    insist(&done)
}

pub(crate) async fn one(options: RowOptions) -> Result<()> {
    let row = Row {
        name: "row",
        target: match options.target {
            TargetName::Tallyhook => Target::Tallyhook,
            TargetName::Forward => Target::Forward,
            TargetName::Naive => Target::Naive,
        },
        store: match options.database {
            StoreName::Postgres => Store::Postgres,
            StoreName::Sqlite => Store::Sqlite,
        },
        broker: options.target == TargetName::Forward || (options.broker && !options.no_broker),
        connections: options.shape.connections.into(),
        rate: options.shape.rate,
        hot: false,
        repeats_permille: options.shape.repeats_permille(),
    };
    if row.target == Target::Naive && (row.broker || row.store == Store::Sqlite) {
        bail!("the baseline naive knows only PostgreSQL, without a broker");
    }
    let scratch = Scratch::make()?;
    let needs_servers = row.broker || row.store == Store::Postgres;
    let bench = bench(&options.run, &scratch, needs_servers).await?;
    let done = rounds(&bench, &options.run, &[row]).await?;
    print_rows(&done);
    write_json(options.run.common.json.as_deref(), &done, &[], &json!({}))?;
    insist(&done)
}

async fn bench(options: &RunOptions, scratch: &Scratch, needs_servers: bool) -> Result<Bench> {
    Ok(Bench {
        binary: binary(options.common.tallyhook.as_deref())?,
        dir: scratch.path.clone(),
        servers: if needs_servers { Some(servers(&options.common, scratch).await?) } else { None },
        warmup: Duration::from_secs(options.warmup),
        measured: Duration::from_secs(options.seconds),
    })
}

async fn rounds(bench: &Bench, options: &RunOptions, rows: &[Row]) -> Result<Vec<Done>> {
    let seconds = options.seconds + options.warmup + 1;
    let (mut spread, mut hot) = (None, None);
    let mut done = Vec::new();
    for round in 0..usize::from(options.rounds) {
        for row in rows {
            let stock = if row.hot { &mut hot } else { &mut spread };
            if stock.is_none() {
                let crowd = if row.hot {
                    Crowding { customers: 1, merchants: 1, ..options.crowd.clone() }
                } else {
                    options.crowd.clone()
                };
                *stock = Some(sign(&crowd, seconds)?);
            }
            let stock = stock.as_ref().context("signed just now")?;
            let figures = Box::pin(bench.measure(row, round, stock)).await?;
            let one = Done { row: row.clone(), round, figures };
            print_done(&one);
            done.push(one);
        }
    }
    Ok(done)
}

pub(crate) fn recipe(crowd: &Crowding) -> Result<Recipe> {
    let merchants = crowd.merchants.min(crowd.customers);
    Ok(Recipe::new(crowd.customers, merchants::make(usize::try_from(merchants)?)?))
}

fn sign(crowd: &Crowding, seconds: u64) -> Result<Stock> {
    let recipe = recipe(crowd)?;
    let count = usize::try_from(crowd.signed_per_second * seconds)?;
    println!("Signing {count} requests of {} customers and {} merchants.", crowd.customers, recipe.merchants.len());
    let deck = Arc::new(recipe.sign(0, count)?);
    Ok(Stock { recipe, deck })
}

pub(crate) fn binary(given: Option<&Path>) -> Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("tallyhook"),
    };
    // Whether it is there is asked when it is needed: the baselines run without it.
    Ok(std::path::absolute(path)?)
}

pub(crate) async fn servers(common: &Common, scratch: &Scratch) -> Result<Servers> {
    if let (Some(postgres), Some(amqp)) = (&common.postgres, &common.amqp) {
        return Servers::given(postgres, amqp).await;
    }
    let script = common.servers.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../servers.sh"));
    let script = script.canonicalize().with_context(|| format!("{}: name it with --servers", script.display()))?;
    println!("Starting private PostgreSQL and RabbitMQ.");
    Servers::start(&script, &scratch.path.join("servers")).await
}
