//! The processor, as a receiver meets it: several connections at once, repeats, confirmations that overtake their
//! announcements, and a body that got no 200 is sent again until it does. Any other answer than 200 or a 503 with
//! `Retry-After` ends the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::deposits::{Deposit, signature};
use super::process::{Deployment, KEY, eventually};

/// Of a hundred bodies, how many are sent again although they got their 200.
const REPEATED_PERCENT: u32 = 30;
/// Of a hundred payments, how many are confirmed before they are announced.
const OVERTAKEN_PERCENT: u32 = 15;
const PAUSE: Duration = Duration::from_millis(20);
const TRIES: u32 = 3_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// A number that decides what is random in a test: `TALLYHOOK_TEST_SEED`, else a new one. Printed, so that a failure
/// can be tried again.
#[expect(clippy::print_stderr, reason = "the runner shows it when the test fails")]
pub(crate) fn seed() -> u64 {
    let given = std::env::var_os("TALLYHOOK_TEST_SEED").and_then(|text| text.to_str()?.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    eprintln!("TALLYHOOK_TEST_SEED={seed}");
    seed
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// 200
    pub(crate) taken: AtomicU64,
    /// 503, asking to come again
    pub(crate) put_off: AtomicU64,
    /// No answer at all
    pub(crate) cut_off: AtomicU64,
}

impl Tally {
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn put_off(&self) -> u64 {
        self.put_off.load(Ordering::Relaxed)
    }

    pub(crate) fn cut_off(&self) -> u64 {
        self.cut_off.load(Ordering::Relaxed)
    }
}

/// Payments being sent.
pub(crate) struct Load {
    pub(crate) tally: Arc<Tally>,
    lanes: Vec<mpsc::UnboundedSender<Deposit>>,
    workers: JoinSet<()>,
    sent: Vec<Deposit>,
}

struct Lane {
    client: reqwest::Client,
    targets: Vec<SocketAddr>,
    tally: Arc<Tally>,
    dice: StdRng,
}

impl Load {
    /// Ready to send over so many connections to the deployment's replicas, each body to any of them.
    pub(crate) fn start(replicas: &[&Deployment], connections: u64, seed: u64) -> Self {
        let tally = Arc::new(Tally::default());
        let client = replicas.first().expect("at least one replica").client.clone();
        let (mut lanes, mut workers) = (Vec::new(), JoinSet::new());
        for number in 0..connections {
            let (lane, deposits) = mpsc::unbounded_channel();
            let worker = Lane {
                client: client.clone(),
                targets: replicas.iter().map(|replica| replica.public).collect(),
                tally: Arc::clone(&tally),
                dice: StdRng::seed_from_u64(seed.wrapping_add(number)),
            };
            workers.spawn(worker.run(deposits));
            lanes.push(lane);
        }
        Self { tally, lanes, workers, sent: Vec::new() }
    }

    /// Adds payments to what is being sent.
    pub(crate) fn add(&mut self, payments: usize) {
        for lane in self.lanes.iter().cycle().take(payments) {
            let number = u64::try_from(self.sent.len()).expect("a small number");
            let deposit = Deposit { number };
            // A worker that is gone has failed; `finish` says with what.
            lane.send(deposit).ok();
            self.sent.push(deposit);
        }
    }

    /// Waits until so many bodies, repeats among them, have got their 200.
    pub(crate) async fn until_taken(&self, bodies: u64) {
        let tally = Arc::clone(&self.tally);
        eventually(&format!("{bodies} bodies are taken"), PATIENCE, async || (tally.taken() >= bodies).then_some(()))
            .await;
    }

    /// Waits until everything has got its 200; answers all payments sent.
    pub(crate) async fn finish(mut self) -> Vec<Deposit> {
        self.lanes.clear();
        while let Some(ended) = self.workers.join_next().await {
            ended.expect("every body is taken in the end");
        }
        self.sent
    }
}

impl Lane {
    async fn run(mut self, mut deposits: mpsc::UnboundedReceiver<Deposit>) {
        while let Some(deposit) = deposits.recv().await {
            let mut bodies = [deposit.announced(), deposit.confirmed()];
            if self.dice.random_ratio(OVERTAKEN_PERCENT, 100) {
                bodies.reverse();
            }
            for body in &bodies {
                let (first, second) = (self.target(), self.target());
                if !self.dice.random_ratio(REPEATED_PERCENT, 100) {
                    self.deliver(first, body).await;
                } else if self.dice.random() {
                    tokio::join!(self.deliver(first, body), self.deliver(second, body));
                } else {
                    self.deliver(first, body).await;
                    self.deliver(second, body).await;
                }
            }
        }
    }

    fn target(&mut self) -> SocketAddr {
        *self.targets.choose(&mut self.dice).expect("at least one replica")
    }

    /// Sends until there is a 200.
    async fn deliver(&self, target: SocketAddr, body: &str) {
        for _ in 0..TRIES {
            match send(&self.client, target, body.as_bytes()).await {
                Some((200, _)) => {
                    self.tally.taken.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Some((503, Some(_retry_after))) => self.tally.put_off.fetch_add(1, Ordering::Relaxed),
                Some((status, after)) => panic!("a signed body was answered {status} (Retry-After: {after:?})"),
                None => self.tally.cut_off.fetch_add(1, Ordering::Relaxed),
            };
            tokio::time::sleep(PAUSE).await;
        }
        panic!("a body was tried {TRIES} times and never taken");
    }
}

/// Posts a signed body once: the status and `Retry-After`; `None` when there was no answer.
pub(crate) async fn send(client: &reqwest::Client, target: SocketAddr, body: &[u8]) -> Option<(u16, Option<String>)> {
    let request = client
        .post(format!("http://{target}/callbacks/alphapo"))
        .timeout(PATIENCE)
        .header("X-Processing-Key", KEY)
        .header("X-Processing-Signature", signature(body))
        .header("Content-Type", "application/json")
        .body(body.to_vec());
    let response = request.send().await.ok()?;
    let after = response.headers().get("Retry-After").and_then(|after| after.to_str().ok()).map(str::to_owned);
    let status = response.status().as_u16();
    // Read to its end, so that the connection is used again.
    drop(response.bytes().await);
    Some((status, after))
}
