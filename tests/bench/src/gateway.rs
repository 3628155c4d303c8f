//! `gateway`: signed requests for deposit addresses that are known already, at a fixed rate. A tiny processor of this
//! process gives out the addresses first; afterwards nobody asks it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::child::Scratch;
use crate::deck::Deck;
use crate::load::{self, Outcome, Plan};
use crate::merchants::{self, hex, random_hex};
use crate::options::{GatewayOptions, StoreName};
use crate::product::Deployment;
use crate::report::write_json;
use crate::row::stop;
use crate::run::{binary, servers};

const KEY: &str = "bench";
/// A signature is taken for 300 s: a longer run would have to sign while it measures.
const SECONDS_MAX: u64 = 120;
const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

pub(crate) async fn gateway(options: GatewayOptions) -> Result<()> {
    ensure!(options.seconds <= SECONDS_MAX, "at most {SECONDS_MAX} s: the signatures expire");
    let scratch = Scratch::make()?;
    let (processor, _tasks) = processor().await?;
    let secret = random_hex(32)?;
    let servers = match options.database {
        StoreName::Postgres => Some(servers(&options.common, &scratch).await?),
        StoreName::Sqlite => None,
    };
    let database = match &servers {
        Some(servers) => servers.new_database("bench_gateway").await?,
        None => format!("sqlite://{}?mode=rwc", scratch.path.join("gateway.db").display()),
    };
    let binary = binary(options.common.tallyhook.as_deref())?;
    let deployment = Deployment::new(&binary, &scratch.path.join("gateway"), &database, "", &merchants::make(1)?)?;
    let deployment = deployment
        .with("TALLYHOOK_ALPHAPO__BASE_URL", &format!("http://{processor}/api/v2"))
        .with("TALLYHOOK_GATEWAY__BENCH__KEY", KEY)
        .with("TALLYHOOK_GATEWAY__BENCH__SECRET", &secret)
        .with("TALLYHOOK_GATEWAY__BENCH__PERMISSIONS", "all")
        .with("TALLYHOOK_GATEWAY__BENCH__RATE_LIMIT", "10000000");
    deployment.migrate().await?;
    let mut server = deployment.serve().await?;
    let first = Arc::new(Deck::of((0..options.users).map(|user| request(&secret, user, user)))?);
    let opened = load::send_all(&first, server.public, 8).await?;
    ensure!(opened.not_200() == 0, "not every customer got an address: {:?}", opened.tally.statuses);
    let total = options.rate.saturating_mul(options.seconds.saturating_add(1));
    let hits = (0..total).map(|hit| request(&secret, hit % options.users, hit + options.users));
    // What the machine itself costs at that rate: a request that asks nothing of the database.
    let idle = measured(Deck::of((0..total).map(|_| Ok(LIVEZ.to_vec())))?, server.public, &options).await?;
    let outcome = measured(Deck::of(hits)?, server.public, &options).await?;
    server.child.check()?;
    stop(server).await?;
    if let Some(servers) = servers {
        servers.drop_database("bench_gateway").await?;
    }
    report((&idle, &outcome), &options)
}

async fn measured(deck: Deck, to: SocketAddr, options: &GatewayOptions) -> Result<Outcome> {
    let plan = Plan {
        to,
        connections: options.connections.into(),
        rate: Some(options.rate),
        warmup: Duration::from_secs(1),
        measured: Some(Duration::from_secs(options.seconds)),
        repeats_permille: 0,
    };
    let running = load::begin(&Arc::new(deck), plan)?;
    let limit = Duration::from_secs(options.seconds + 120);
    tokio::time::timeout(limit, running.finish()).await.context("the last answers did not come")?
}

fn report((idle, outcome): (&Outcome, &Outcome), options: &GatewayOptions) -> Result<()> {
    let latencies = &outcome.tally.latencies;
    let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| latencies.millis(share));
    let [idle_p50, idle_p99] = [0.5, 0.99].map(|share| idle.tally.latencies.millis(share));
    println!("/livez at the same rate: p50 {idle_p50:.2}  p99 {idle_p99:.2} ms");
    println!("sticky hits: {:.0} a second over {:.1} s", outcome.rate(), outcome.measured.as_secs_f64());
    println!("p50 {p50:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.2} ms (goal: p99 below 5 ms at 500 a second)");
    println!("answers by status: {:?}, sent too late: {}", outcome.tally.statuses, outcome.late_unsent);
    let figures = json!({"rate": outcome.rate(), "p50_ms": p50, "p99_ms": p99, "p999_ms": p999, "max_ms": max,
        "livez_p50_ms": idle_p50, "livez_p99_ms": idle_p99});
    write_json(options.common.json.as_deref(), &[], &[], &json!({"gateway": figures}))?;
    ensure!(outcome.not_200() == 0 && outcome.tally.broken == 0, "not every answer was 200");
    Ok(())
}

/// A request for a customer's address; its number makes it another one, so that its signature is.
fn request(secret: &str, user: u64, number: u64) -> Result<Vec<u8>> {
    let body = format!(r#"{{"currency":"USDT","network":"ETH","user_identifier":"user-{user:09}"}}"#);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let (path, query) = ("/v1/deposit-addresses", format!("n={number:012}"));
    let digest = hex(&Sha256::digest(body.as_bytes()));
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(secret.as_bytes()).context("HMAC takes keys of any length")?;
    mac.update(format!("{now_s}\nPOST\n{path}\n{query}\n{digest}").as_bytes());
    let (signature, length) = (hex(&mac.finalize().into_bytes()), body.len());
    Ok(format!(
        "POST {path}?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-CPG-Key: {KEY}\r\n\
         X-CPG-Timestamp: {now_s}\r\nX-CPG-Signature: {signature}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes())
}

/// Answers everything with a new address.
async fn processor() -> Result<(SocketAddr, JoinSet<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        let mut number = 0_u64;
        while let Ok((mut stream, _)) = listener.accept().await {
            number += 1_000_000;
            connections.spawn(async move {
                let mut request = Vec::new();
                let mut given = number;
                while stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {
                    // Head and body may come one after the other; the body is an object.
                    if !request.ends_with(b"}") {
                        continue;
                    }
                    request.clear();
                    given += 1;
                    let body = format!(r#"{{"data":{{"id":{given},"currency":"USDTE","address":"0x{given:040x}"}}}}"#);
                    let head = format!(
                        "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok((address, tasks))
}
