//! `reconcile`: as many payments as rows of an export, matched by the command as users run it: how long, and how much
//! memory at its highest. One row in ten thousand has another amount, and every one of them must be found.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::bars::Judged;
use crate::body::{FIRST_ID, Money, address, foreign_id, txid};
use crate::child::Scratch;
use crate::fill::Filling;
use crate::options::{ReconcileOptions, StoreName};
use crate::procfs::memory_kib;
use crate::product::Deployment;
use crate::report::{print_bars, write_json};
use crate::row::stop;
use crate::run::{binary, recipe, servers};

const HEADER: &str =
    "id,foreign_id,type,status,currency,amount,fee,txid,address,end_user_reference,created_at,updated_at";
/// One row in so many has another amount.
const WRONG_EVERY: u64 = 10_000;
const LIMIT: Duration = Duration::from_mins(30);

pub(crate) async fn reconcile(options: ReconcileOptions) -> Result<()> {
    let scratch = Scratch::make()?;
    let mut crowd = options.crowd.clone();
    crowd.merchants = 1;
    let recipe = recipe(&crowd)?;
    let binary = binary(options.common.tallyhook.as_deref())?;
    let dir = scratch.path.join("reconcile");
    let (mut owned, database) = (
        None,
        match options.database {
            StoreName::Sqlite => format!("sqlite://{}?mode=rwc", dir.join("ledger.db").display()),
            StoreName::Postgres => String::new(),
        },
    );
    let database = if database.is_empty() {
        owned = Some(servers(&options.common, &scratch).await?);
        owned.as_ref().context("just started")?.new_database("bench_reconcile").await?
    } else {
        database
    };
    let deployment = Deployment::new(&binary, &dir, &database, "", &recipe.merchants)?;
    deployment.migrate().await?;
    println!("Storing {} payments through the receiver.", options.rows);
    let server = deployment.serve().await?;
    let mut filling = Filling::new(recipe);
    filling.fill(server.public, options.rows, true).await?;
    let stored = filling.sent.acknowledged();
    stop(server).await?;
    if let Some(servers) = &owned {
        servers.checkpoint().await?;
    }
    let file = dir.join("export.csv");
    let wrong = write(&file, stored, options.crowd.customers)?;
    let name = file.display().to_string();
    let (mut seconds, mut megabytes) = (Vec::new(), Vec::new());
    for _ in 0..options.times {
        let begun = Instant::now();
        let mut child = deployment.start(&["reconcile", "import-csv", &name, "--output", "csv"], "import-csv")?;
        let mut peak_kib = 0;
        let status = loop {
            peak_kib = memory_kib(child.pid()).map_or(peak_kib, |(_, peak)| peak.max(peak_kib));
            if let Some(status) = child.ended()? {
                break status;
            }
            ensure!(begun.elapsed() < LIMIT, "it took longer than {LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        seconds.push(begun.elapsed().as_secs_f64());
        megabytes.push(f64::from(u32::try_from(peak_kib)?) / 1024.0);
        let told = child.last_lines();
        let expected = format!("{} matched, 0 missing here, 0 missing there, {wrong} amounts, 0 fees", stored - wrong);
        ensure!(told.contains(&expected), "it should have found: {expected}. Its last lines:\n{told}");
        ensure!(status.code() == Some(if wrong > 0 { 4 } else { 0 }), "it ended with {status}:\n{told}");
    }
    let bars = [
        Judged::new(&format!("{stored} rows against as many payments"), "s", seconds, (60.0, 30.0), false),
        Judged::new("memory at its highest", "MB", megabytes, (300.0, 200.0), false),
    ];
    print_bars(&bars);
    write_json(options.common.json.as_deref(), &[], &bars, &json!({"rows": stored, "wrong": wrong}))
}

/// The export that the processor would have written; answers how many rows are not what was sent.
fn write(path: &Path, rows: u64, customers: u64) -> Result<u64> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    writeln!(file, "{HEADER}")?;
    let mut wrong = 0;
    for index in 0..rows {
        let (id, customer, Money { amount, fee }) = (FIRST_ID + index, index % customers, Money::of(index));
        let is_wrong = index % WRONG_EVERY == WRONG_EVERY - 1;
        wrong += u64::from(is_wrong);
        let amount = amount + u64::from(is_wrong);
        let (foreign_id, txid, address) = (foreign_id(customer), txid(index), address(customer));
        let (minute, second) = (index / 60 % 60, index % 60);
        writeln!(
            file,
            "{id},{foreign_id},deposit,confirmed,BTC,0.{amount:08},0.{fee:08},{txid},{address},{customer:08},\
             2026-01-01 00:{minute:02}:{second:02},2099-01-01 00:00:00"
        )?;
    }
    file.flush()?;
    Ok(wrong)
}
