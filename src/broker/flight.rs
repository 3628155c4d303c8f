//! Messages that were sent and are not yet confirmed, in the order they were sent.
//!
//! A message that no queue takes comes back before its confirm, and lapin hands it to whichever confirm it settles
//! next: when the broker confirms many at once, that may be one of a *later* message, and the returned one itself looks
//! confirmed. So a position is only safe to store once [`Flight::has_failed`] has looked through everything settled, and
//! what failed is known by the message that came back, not by the confirm that carried it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lapin::Confirmation;
use lapin::message::BasicReturnMessage;
use lapin::types::AMQPValue;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a message is waited for at once: whoever waits has a lease to look after.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why an event is not published.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    #[error(
        "no queue takes {key}: bind one to the exchange tallyhook.events (is tallyhook.credited gone?); \
         events wait until one does"
    )]
    Returned { position: Option<i64>, key: String },
    #[error("RabbitMQ refused an event (nack): its queue is full, or has no leader at the moment")]
    Refused,
    #[error("RabbitMQ did not confirm in time: it is overloaded, or out of memory or disk")]
    Late,
    #[error("the channel to RabbitMQ broke")]
    Lost(#[source] lapin::Error),
}

/// The first event that must be sent again, and why.
#[derive(Debug)]
pub struct Failed {
    pub position: i64,
    pub failure: Failure,
    pub returned: u64,
    pub refused: u64,
    /// Not all were answered in time. Their answers may still come, and would be taken for those of what is sent next
    /// over the same channel.
    pub is_unanswered: bool,
}

/// What waiting for the oldest message came to.
#[derive(Debug)]
pub enum Settled {
    /// The oldest `count` are confirmed, up to `position`.
    Confirmed { count: u64, position: i64 },
    /// The oldest has failed, and is kept for [`Flight::drain`].
    Failed,
    /// Not in time.
    Nothing,
}

type Answer = Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>;

enum Fate {
    Open(Answer),
    Confirmed,
    Failed(Failure),
}

struct Sent {
    position: i64,
    fate: Fate,
}

/// Everything that is under way.
#[derive(Default)]
pub struct Flight(VecDeque<Sent>);

impl Flight {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Starts sending: polled once, the frames are queued. No task is to be woken when they are written, so the first
    /// waker is none; whoever waits polls again with its own.
    pub(super) fn begin(
        &mut self,
        position: i64,
        sending: impl Future<Output = lapin::Result<Confirmation>> + Send + 'static,
    ) {
        let mut sent = Sent { position, fate: Fate::Open(Box::pin(sending)) };
        sent.is_settled(&mut Context::from_waker(Waker::noop()));
        self.0.push_back(sent);
    }

    /// Waits for the oldest, and takes away all that are confirmed up to the first that is not.
    pub async fn settle(&mut self) -> Settled {
        let Some(oldest) = self.0.front_mut() else { return Settled::Nothing };
        if timeout(PATIENCE, oldest.settled()).await.is_err() {
            return Settled::Nothing;
        }
        let mut count = 0_u64;
        let mut last = None;
        while let Some(oldest) = self.0.pop_front_if(Sent::is_confirmed) {
            count = count.saturating_add(1);
            last = Some(oldest.position);
        }
        last.map_or(Settled::Failed, |position| Settled::Confirmed { count, position })
    }

    /// Waits for the newest, and takes nothing away.
    pub async fn newest(&mut self) {
        if let Some(newest) = self.0.back_mut() {
            drop(timeout(PATIENCE, newest.settled()).await);
        }
    }

    /// Whether anything that is settled by now has failed.
    pub fn has_failed(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.0.iter_mut().any(|sent| sent.is_settled(&mut context) && matches!(sent.fate, Fate::Failed(_)))
    }

    /// Waits for everything under way and names the first that failed. What is not answered in time counts as failed.
    pub async fn drain(&mut self, patience: Duration) -> Option<Failed> {
        let until = Instant::now().checked_add(patience)?;
        let (first, last) = (self.0.front()?.position, self.0.back()?.position);
        let mut failed: Option<(i64, Failure)> = None;
        let (mut returned, mut refused, mut is_unanswered) = (0_u64, 0_u64, false);
        for mut sent in self.0.drain(..) {
            let own = sent.position;
            let failure = match timeout_at(until, sent.settled()).await {
                Ok(()) => sent.failure(),
                Err(_elapsed) => Some(Failure::Late),
            };
            let Some(failure) = failure else { continue };
            let position = match &failure {
                // The message's own position; if it tells none, or one of before, everything is sent again.
                Failure::Returned { position, .. } => {
                    returned = returned.saturating_add(1);
                    position.filter(|position| (first..=last).contains(position)).unwrap_or(first)
                }
                Failure::Refused => {
                    refused = refused.saturating_add(1);
                    own
                }
                Failure::Late => {
                    is_unanswered = true;
                    own
                }
                Failure::Lost(_) => own,
            };
            if failed.as_ref().is_none_or(|(earliest, _)| position < *earliest) {
                failed = Some((position, failure));
            }
        }
        failed.map(|(position, failure)| Failed { position, failure, returned, refused, is_unanswered })
    }
}

impl Sent {
    fn is_settled(&mut self, context: &mut Context<'_>) -> bool {
        if let Fate::Open(answer) = &mut self.fate {
            let Poll::Ready(answer) = answer.as_mut().poll(context) else { return false };
            self.fate = fate(answer);
        }
        true
    }

    fn is_confirmed(&mut self) -> bool {
        self.is_settled(&mut Context::from_waker(Waker::noop())) && matches!(self.fate, Fate::Confirmed)
    }

    async fn settled(&mut self) {
        std::future::poll_fn(|context| if self.is_settled(context) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn failure(self) -> Option<Failure> {
        match self.fate {
            Fate::Failed(failure) => Some(failure),
            Fate::Confirmed => None,
            Fate::Open(_) => Some(Failure::Late),
        }
    }
}

fn fate(answer: lapin::Result<Confirmation>) -> Fate {
    match answer {
        Ok(Confirmation::Ack(None)) => Fate::Confirmed,
        Ok(Confirmation::Ack(Some(message))) => Fate::Failed(returned(&message)),
        Ok(Confirmation::Nack(_) | Confirmation::NotRequested) => Fate::Failed(Failure::Refused),
        Err(error) => Fate::Failed(Failure::Lost(error)),
    }
}

fn returned(message: &BasicReturnMessage) -> Failure {
    let headers = message.delivery.properties.headers().as_ref();
    let position = headers.and_then(|headers| match headers.inner().get("sequence") {
        Some(AMQPValue::LongString(text)) => std::str::from_utf8(text.as_bytes()).ok()?.parse().ok(),
        _ => None,
    });
    Failure::Returned { position, key: message.delivery.routing_key.as_str().to_owned() }
}
