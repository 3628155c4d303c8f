//! The load generator: one thread, many kept-alive sockets. Closed loop (each socket sends its next
//! request when the answer is there) or open loop (requests are due at a fixed rate, and latency
//! counts from the due time, however late the request got out). Signs nothing, judges nothing: it
//! notes what became of each body.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::sync::Semaphore;

use crate::body::mix;
use crate::deck::Deck;
use crate::fate::{Fate, Fates};
use crate::histogram::Histogram;
use crate::http::Connection;

/// Repeats are of one of this many bodies sent last.
const REPEATS_REACH_BACK: u64 = 10_000;
/// After this many failures to connect or to read, one after another, a socket gives up.
const BROKEN_MAX: u32 = 200;
const AFTER_REFUSAL: Duration = Duration::from_millis(20);
/// Open loop: how far apart requests are let go.
const PACE: Duration = Duration::from_micros(500);
const PACE_MAX: Duration = Duration::from_millis(5);
/// How long answers may take once the clock has stopped.
const LAST_ANSWERS: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) to: SocketAddr,
    pub(crate) connections: usize,
    /// Requests per second; `None`: closed loop.
    pub(crate) rate: Option<u64>,
    pub(crate) warmup: Duration,
    /// How long is measured; the whole deck if `None`.
    pub(crate) measured: Option<Duration>,
    /// Repeats among a thousand requests.
    pub(crate) repeats_permille: u64,
}

/// What one socket, or all of them, saw.
pub(crate) struct Tally {
    /// Latencies of the answers 200 within the measured time.
    pub(crate) latencies: Histogram,
    /// All answers, warm-up included.
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) broken: u64,
    last_answer: Option<Instant>,
}

pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// The measured time: shorter than planned when the deck ran out.
    pub(crate) measured: Duration,
    pub(crate) fates: Fates,
    /// Open loop: requests that were due and could not be sent in time.
    pub(crate) late_unsent: u64,
    /// Closed loop: the deck was empty before the time was over.
    pub(crate) deck_ran_out: bool,
}

impl Outcome {
    /// Answers 200 per second.
    pub(crate) fn rate(&self) -> f64 {
        self.tally.latencies.total() as f64 / self.measured.as_secs_f64().max(0.001)
    }

    pub(crate) fn not_200(&self) -> u64 {
        self.tally.statuses.iter().filter(|(status, _)| **status != 200).map(|(_, count)| count).sum()
    }
}

/// A load under way. Dropping it stops it.
pub(crate) struct Load {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<Result<Tally>>>,
    /// When the measured time begins.
    pub(crate) window: Instant,
}

struct Shared {
    deck: Arc<Deck>,
    plan: Plan,
    fates: Fates,
    /// The next fresh body.
    next: AtomicUsize,
    /// Open loop: requests taken, and those that are due.
    taken: AtomicU64,
    due: Semaphore,
    began: Instant,
    stop: AtomicBool,
}

pub(crate) fn begin(deck: &Arc<Deck>, plan: Plan) -> Result<Load> {
    let began = Instant::now() + Duration::from_millis(50);
    let window = began + plan.warmup;
    let shared = Arc::new(Shared {
        fates: Fates::new(deck),
        deck: Arc::clone(deck),
        plan,
        next: AtomicUsize::new(0),
        taken: AtomicU64::new(0),
        due: Semaphore::new(0),
        began,
        stop: AtomicBool::new(false),
    });
    let theirs = Arc::clone(&shared);
    let thread = std::thread::Builder::new().name("generator".into()).spawn(move || generate(&theirs))?;
    Ok(Load { shared, thread: Some(thread), window })
}

impl Load {
    pub(crate) fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(std::thread::JoinHandle::is_finished)
    }

    /// Waits for the last answers.
    pub(crate) async fn finish(mut self) -> Result<Outcome> {
        while !self.is_over() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let thread = self.thread.take().context("the generator was already joined")?;
        let tally = thread.join().map_err(|_| anyhow::anyhow!("the generator panicked"))??;
        let shared = Arc::clone(&self.shared);
        drop(self);
        let shared = Arc::into_inner(shared).context("the generator is still at work")?;
        let spent = tally.last_answer.map_or(Duration::ZERO, |last| last.saturating_duration_since(shared.window()));
        let measured = shared.plan.measured.map_or(spent, |planned| planned.min(spent));
        let deck_ran_out = shared.next.load(Ordering::Relaxed) >= shared.deck.count && shared.plan.measured.is_some();
        let measured = if deck_ran_out { measured } else { shared.plan.measured.unwrap_or(measured) };
        let late_unsent = shared.due.available_permits() as u64;
        Ok(Outcome { tally, measured, fates: shared.fates, late_unsent, deck_ran_out })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn generate(shared: &Arc<Shared>) -> Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let pacer = shared.plan.rate.map(|rate| {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || pace(&shared, rate))
    });
    let tallies = local.block_on(&runtime, async {
        let sockets: Vec<_> = (0..shared.plan.connections)
            .map(|number| tokio::task::spawn_local(drive(Arc::clone(shared), number as u64)))
            .collect();
        let mut all = Tally::new();
        for socket in sockets {
            all.add(&socket.await.context("a socket's task panicked")??);
        }
        anyhow::Ok(all)
    });
    shared.stop.store(true, Ordering::Relaxed);
    if let Some(pacer) = pacer {
        pacer.join().map_err(|_| anyhow::anyhow!("the pacer panicked"))?;
    }
    tallies
}

/// Lets requests go as they fall due, a few at once: what waits for them is counted in their latency, and waking for each
/// would take half as much of the processor as the receiver does. A thread of its own: the timer of the runtime has
/// milliseconds, which would be a third of the latencies to be measured.
fn pace(shared: &Shared, rate: u64) {
    let mut released = 0_u64;
    while !shared.over() {
        let elapsed = Instant::now().saturating_duration_since(shared.began);
        let due = u64::try_from(elapsed.as_nanos() * u128::from(rate) / 1_000_000_000).unwrap_or(u64::MAX);
        if due > released {
            shared.due.add_permits(usize::try_from(due - released).unwrap_or(0));
            released = due;
        }
        let next = shared.due_at(released + 1, rate).saturating_duration_since(Instant::now());
        std::thread::sleep(next.clamp(PACE, PACE_MAX));
    }
    // Wakes the sockets that wait for a turn; they see that it is over.
    shared.due.close();
}

/// One socket, until the time or the deck is over.
async fn drive(shared: Arc<Shared>, number: u64) -> Result<Tally> {
    let (mut tally, mut dice) = (Tally::new(), mix(number));
    let (mut connection, mut broken_in_a_row) = (None, 0_u32);
    tokio::time::sleep_until(shared.began.into()).await;
    while !shared.over() {
        let Some(due) = shared.turn().await else {
            break;
        };
        dice = mix(dice);
        let Some(place) = shared.pick(dice) else {
            break;
        };
        let Some(request) = shared.deck.request(place) else {
            break;
        };
        let begun = due.unwrap_or_else(Instant::now);
        let answer = match ask(&mut connection, shared.plan.to, request).await {
            Ok(status) => status,
            Err(error) => {
                (connection, broken_in_a_row) = (None, broken_in_a_row + 1);
                tally.broken += 1;
                shared.fates.mark(place, Fate::Unknown);
                ensure!(broken_in_a_row < BROKEN_MAX, "the server at {} does not answer: {error}", shared.plan.to);
                tokio::time::sleep(AFTER_REFUSAL).await;
                continue;
            }
        };
        broken_in_a_row = 0;
        shared.fates.mark(place, if answer == 200 { Fate::Acknowledged } else { Fate::Refused });
        tally.note(answer, begun, &shared);
        if answer != 200 {
            tokio::time::sleep(AFTER_REFUSAL).await;
        }
    }
    Ok(tally)
}

async fn ask(connection: &mut Option<Connection>, to: SocketAddr, request: &[u8]) -> std::io::Result<u16> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(to).await?,
    };
    let answer = open.ask(request).await?;
    *connection = (!answer.close).then_some(open);
    Ok(answer.status)
}

impl Shared {
    fn window(&self) -> Instant {
        self.began + self.plan.warmup
    }

    fn over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
            || self.plan.measured.is_some_and(|measured| Instant::now() >= self.window() + measured)
    }

    fn due_at(&self, request: u64, rate: u64) -> Instant {
        self.began + Duration::from_nanos(request.saturating_mul(1_000_000_000) / rate.max(1))
    }

    /// Waits for a turn; `Some(Some(due))` in the open loop, `None` when it is over.
    async fn turn(&self) -> Option<Option<Instant>> {
        let Some(rate) = self.plan.rate else {
            return Some(None);
        };
        self.due.acquire().await.ok()?.forget();
        Some(Some(self.due_at(self.taken.fetch_add(1, Ordering::Relaxed) + 1, rate)))
    }

    /// A fresh body, or one sent before.
    fn pick(&self, dice: u64) -> Option<usize> {
        let sent = self.next.load(Ordering::Relaxed) as u64;
        if sent > 0 && dice % 1000 < self.plan.repeats_permille {
            let back = (dice >> 10) % sent.min(REPEATS_REACH_BACK);
            return usize::try_from(sent - 1 - back).ok().filter(|place| *place < self.deck.count);
        }
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        (place < self.deck.count).then_some(place)
    }
}

impl Tally {
    fn new() -> Self {
        Self { latencies: Histogram::new(), statuses: BTreeMap::new(), broken: 0, last_answer: None }
    }

    fn note(&mut self, status: u16, begun: Instant, shared: &Shared) {
        let now = Instant::now();
        *self.statuses.entry(status).or_default() += 1;
        self.last_answer = Some(now);
        let end = shared.plan.measured.map(|measured| shared.window() + measured);
        if status == 200 && now >= shared.window() && end.is_none_or(|end| now < end) {
            self.latencies.record(now.saturating_duration_since(begun));
        }
    }

    fn add(&mut self, other: &Self) {
        self.latencies.merge(&other.latencies);
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.broken += other.broken;
        self.last_answer = self.last_answer.max(other.last_answer);
    }
}

/// Sends a whole deck as fast as the server takes it.
pub(crate) async fn send_all(deck: &Arc<Deck>, to: SocketAddr, connections: usize) -> Result<Outcome> {
    let plan = Plan { to, connections, rate: None, warmup: Duration::ZERO, measured: None, repeats_permille: 0 };
    let limit = LAST_ANSWERS + Duration::from_millis(deck.count as u64 * 10);
    tokio::time::timeout(limit, begin(deck, plan)?.finish()).await.context("the server took too long")?
}
