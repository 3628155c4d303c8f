//! What goes on beside the requests: publishing and retrying, each a step that can be taken again at any time, and the
//! one loop that takes them. The loop ends only when told to: a step that fails is taken again after a pause.

pub mod asks;
pub mod checks;
pub mod heart;
pub mod index;
mod link;
pub mod publish;
pub mod reconcile;
pub mod replays;
pub mod resolve;
pub mod retry;
pub mod sample;
pub mod watch;
pub mod windows;

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a step may go on, and how long finishing may take, once the process is to stop.
const GRACE: Duration = Duration::from_secs(3);

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do at once.
    More,
    /// Nothing to do until woken.
    Idle,
}

/// Work that is done in steps. What a step leaves undone, the next one does: dropping one half-way loses nothing.
pub trait Worker: Send {
    /// For the log: `publishing`.
    const NAME: &'static str;

    fn step(&mut self) -> impl Future<Output = anyhow::Result<Progress>> + Send;

    /// Ends when there may be something to do, after the interval at the latest.
    fn woken(&mut self) -> impl Future<Output = ()> + Send;

    /// Brings what is under way to an end.
    fn finish(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Takes step after step until `stop`.
pub async fn run<W: Worker>(mut worker: W, stop: CancellationToken) {
    let mut trouble = Trouble::default();
    while !stop.is_cancelled() {
        let step = tokio::select! {
            step = worker.step() => step,
            () = overdue(&stop) => break,
        };
        trouble.note(W::NAME, step.as_ref());
        match step {
            Ok(Progress::More) => {}
            Ok(Progress::Idle) => tokio::select! {
                () = worker.woken() => {}
                () = stop.cancelled() => {}
            },
            Err(_logged) => tokio::select! {
                () = tokio::time::sleep(trouble.pause()) => {}
                () = stop.cancelled() => {}
            },
        }
    }
    match timeout(GRACE, worker.finish()).await {
        Ok(Ok(())) => info!("Ended {} in good order", W::NAME),
        Ok(Err(error)) => warn!(error = format!("{error:#}"), "Ended {} with a step undone; it is done again", W::NAME),
        Err(_elapsed) => warn!("Ended {} without waiting any longer; what is undone is done again", W::NAME),
    }
}

/// Sleeps for about this long: the workers of a process, and those of replicas, would otherwise come to the database all
/// in the same moment, and whoever books then waits for them.
async fn about(interval: Duration) {
    let (least, most) = (interval.mul_f64(0.75), interval.mul_f64(1.25));
    tokio::time::sleep(rand::random_range(least..=most)).await;
}

async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// A failure that lasts: logged when it begins, when it changes and when it is over, never in between.
#[derive(Default)]
struct Trouble {
    said: Option<String>,
    failures: u32,
}

impl Trouble {
    fn note(&mut self, name: &str, step: Result<&Progress, &anyhow::Error>) {
        let Err(error) = step else {
            if self.said.take().is_some() {
                info!(attempts = self.failures, "The {name} goes on");
            }
            self.failures = 0;
            return;
        };
        self.failures = self.failures.saturating_add(1);
        let now = format!("{error:#}");
        if self.said.as_ref() != Some(&now) {
            error!(error = now, "The {name} waits, and tries again until it succeeds");
            self.said = Some(now);
        }
    }

    /// 100 ms, 200 ms, 400 ms … up to 5 s, each with up to half of it taken off, so that replicas do not try in step.
    fn pause(&self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failures.saturating_sub(1).min(16));
        let longest = PAUSE_MIN.saturating_mul(doubled).min(PAUSE_MAX);
        rand::random_range(longest.div_f64(2.0)..=longest)
    }
}
