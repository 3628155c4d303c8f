//! `admin`: how fast an operator is answered with many stored callbacks, on both databases: searches, lists, statements;
//! and how fast a replay of everything goes as a dry run. Asks what a page would ask, one question after the other.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::bars::Judged;
use crate::body::{FIRST_ID, Money, address, foreign_id, mix, txid};
use crate::child::Scratch;
use crate::fill::Filling;
use crate::histogram::Histogram;
use crate::http::Connection;
use crate::options::AdminOptions;
use crate::product::{Deployment, Server};
use crate::report::{print_bars, write_json};
use crate::row::stop;
use crate::run::{binary, recipe, servers};

/// How long the index may take to follow, for each stored callback.
const FOLLOWING: Duration = Duration::from_millis(2);
const PAUSE: Duration = Duration::from_millis(200);

/// A question about a callback that was sent, and how many customers there are.
type Path = fn(u64, u64) -> String;

pub(crate) async fn admin(options: AdminOptions) -> Result<()> {
    let scratch = Scratch::make()?;
    let servers = servers(&options.common, &scratch).await?;
    let mut bars = Vec::new();
    let mut more = serde_json::Map::new();
    for (name, callbacks) in [("postgres", options.callbacks), ("sqlite", options.sqlite_callbacks)] {
        if callbacks == 0 {
            continue;
        }
        let folder = scratch.path.join(format!("admin_{name}"));
        std::fs::create_dir_all(&folder)?;
        let database = match name {
            "postgres" => servers.new_database("bench_admin").await?,
            _ => format!("sqlite://{}/ledger.db?mode=rwc", folder.display()),
        };
        let recipe = recipe(&options.crowd)?;
        let deployment =
            Deployment::new(&binary(options.common.tallyhook.as_deref())?, &folder, &database, "", &recipe.merchants)?;
        deployment.migrate().await?;
        let mut server = deployment.serve().await?;
        println!("{name}: storing {callbacks} callbacks through the receiver.");
        let mut filling = Filling::new(recipe);
        filling.fill(server.public, callbacks, true).await?;
        let seconds = followed(&mut server, callbacks).await?;
        println!("{name}: the index had followed {seconds:.1} s later.");
        for (question, histogram) in asked(&server, &options, filling.sent.end()).await? {
            let (p50, p99) = (histogram.millis(0.5), histogram.millis(0.99));
            println!(
                "{name}: {question:<22} p50 {p50:>7.2} ms  p99 {p99:>7.2} ms  worst {:>7.2} ms",
                histogram.millis(1.0)
            );
            bars.push(Judged::new(&format!("{name}: {question}, p99"), "ms", vec![p99], (100.0, 50.0), false));
        }
        let (rate, job) = rehearsed(&mut server, callbacks).await?;
        println!("{name}: a dry run of everything decides {rate:.0} callbacks a second: {job}");
        let floor = if name == "postgres" { (10_000.0, 20_000.0) } else { (1.0, 10_000.0) };
        bars.push(Judged::new(&format!("{name}: dry run of everything"), "/s", vec![rate], floor, true));
        more.insert(name.to_owned(), json!({"callbacks": callbacks, "followed_after_seconds": seconds, "replay": job}));
        stop(server).await?;
    }
    print_bars(&bars);
    write_json(options.common.json.as_deref(), &[], &bars, &Value::Object(more))?;
    Ok(())
}

/// Waits until the index has followed everything; how long that took.
async fn followed(server: &mut Server, callbacks: u64) -> Result<f64> {
    let begun = Instant::now();
    // The figure is that of the index's last step, which is taken every 2 s at the latest.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let limit = Duration::from_secs(60) + FOLLOWING * u32::try_from(callbacks)?;
    while begun.elapsed() < limit {
        server.child.check()?;
        let (status, page) = crate::http::get(server.admin, "/metrics", &server.token).await?;
        ensure!(status == 200, "/metrics answered {status}");
        let page = String::from_utf8_lossy(&page).into_owned();
        if page.lines().any(|line| line == "tallyhook_index_pending 0") {
            return Ok(begun.elapsed().as_secs_f64());
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("the index did not follow within {limit:?}")
}

/// Every kind of question, each with other words every time.
async fn asked(server: &Server, options: &AdminOptions, sent: u64) -> Result<Vec<(&'static str, Histogram)>> {
    let mut connection = Connection::open(server.admin).await?;
    let customers = options.crowd.customers;
    let kinds: [(&'static str, Path); 12] = [
        ("search a txid", |index, _| format!("/api/callbacks?q={}", txid(index))),
        ("search an address", |index, customers| format!("/api/callbacks?q={}", address(index % customers))),
        ("search a payment", |index, _| format!("/api/callbacks?q={}", FIRST_ID + index)),
        ("search an end user", |index, customers| format!("/api/callbacks?q={:08}", index % customers)),
        ("search an amount", |index, _| format!("/api/callbacks?q=0.{:08}", Money::of(index).amount)),
        ("search nothing known", |index, _| format!("/api/callbacks?q=nobody-{index}")),
        ("list, newest", |_, _| "/api/callbacks".to_owned()),
        ("list, far down", |index, _| format!("/api/callbacks?after={}&limit=100", index + 1)),
        ("list of a foreign id", |index, customers| {
            format!("/api/callbacks?foreign_id={}", foreign_id(index % customers))
        }),
        ("list, rare filter", |_, _| "/api/callbacks?state=ignored&type=exchange".to_owned()),
        ("customer's statement", |index, customers| format!("/api/customers/{}/statement", index % customers + 1)),
        ("payments", |index, _| format!("/api/payments?q={}", FIRST_ID + index)),
    ];
    let mut all = Vec::new();
    for (name, path) in kinds {
        let mut histogram = Histogram::new();
        for number in 0..options.asks {
            let path = path(mix(number) % sent, customers.min(sent));
            let begun = Instant::now();
            let (status, body) = connection.get(&path, &server.token).await?;
            histogram.record(begun.elapsed());
            ensure!(status == 200, "{path} answered {status}: {}", String::from_utf8_lossy(&body));
            let found = serde_json::from_slice::<Value>(&body)?["data"].as_array().map_or(0, Vec::len);
            let is_empty = matches!(name, "search nothing known" | "list, rare filter");
            ensure!((found == 0) == is_empty, "{path} found {found}");
        }
        all.push((name, histogram));
    }
    Ok(all)
}

/// A dry run of everything: callbacks a second, and what the job says. It must say that nothing changes.
async fn rehearsed(server: &mut Server, callbacks: u64) -> Result<(f64, Value)> {
    let mut connection = Connection::open(server.admin).await?;
    let body = json!({"reason": "benchmark"}).to_string();
    let request = format!(
        "POST /api/replays HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\nIdempotency-Key: benchmark\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        server.token,
        body.len()
    );
    let begun = Instant::now();
    let answer = connection.ask(request.as_bytes()).await?;
    let body = connection.body(answer)?;
    ensure!(answer.status == 201, "asking for a replay: {} {}", answer.status, String::from_utf8_lossy(&body));
    let id = serde_json::from_slice::<Value>(&body)?["id"].as_str().context("a replay without an id")?.to_owned();
    loop {
        server.child.check()?;
        let (status, body) = connection.get(&format!("/api/replays/{id}"), &server.token).await?;
        ensure!(status == 200, "the replay answered {status}");
        let job: Value = serde_json::from_slice(&body)?;
        if !job["ended_at"].is_null() {
            ensure!(job["state"] == "done" && job["changed"] == 0, "the replay of a healthy ledger: {job}");
            return Ok((callbacks as f64 / begun.elapsed().as_secs_f64(), job));
        }
        ensure!(begun.elapsed() < Duration::from_secs(3_600), "the replay goes on and on: {job}");
        tokio::time::sleep(PAUSE).await;
    }
}
