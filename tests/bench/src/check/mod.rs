//! Checks every callback of a row through Tallyhook's public surfaces: each acknowledged body is
//! booked once and its event is there once; the feed has no gaps; balances are what the bodies say,
//! to the last satoshi, and sum to zero; the ledger verifies; the queue got every event.

mod balances;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::body::{Crowd, FIRST_ID, Money};
use crate::broker;
use crate::fate::{Fate, Fates};
use crate::http::Connection;
use crate::product::{Deployment, Server, said};

/// How many findings are told one by one.
const TOLD_MAX: usize = 10;

/// What was sent to a deployment, over all loads.
pub(crate) struct Sent {
    crowd: Crowd,
    /// By index, from 0.
    fates: Vec<Fate>,
}

/// What the checker found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) acknowledged: u64,
    pub(crate) booked: u64,
    pub(crate) verify_seconds: f64,
    /// With a broker: messages in the queue and those that came more than once.
    pub(crate) queued: Option<(u64, u64)>,
    pub(crate) wrong: Vec<String>,
    wrong_count: u64,
}

impl Sent {
    pub(crate) fn new(crowd: Crowd) -> Self {
        Self { crowd, fates: Vec::new() }
    }

    /// The fates of one more load, of bodies that continue where the last load's ended.
    pub(crate) fn add(&mut self, fates: &Fates) -> Result<()> {
        for (index, fate) in fates.all() {
            let place = usize::try_from(index)?;
            if fate == Fate::Unsent {
                continue;
            }
            if self.fates.len() <= place {
                self.fates.resize(place + 1, Fate::Unsent);
            }
            self.fates[place] = fate;
        }
        Ok(())
    }

    /// The index after the last body that was sent.
    pub(crate) fn end(&self) -> u64 {
        self.fates.len() as u64
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.fates.iter().filter(|fate| **fate == Fate::Acknowledged).count() as u64
    }
}

impl Verdict {
    pub(crate) fn is_right(&self) -> bool {
        self.wrong_count == 0
    }

    fn wrong(&mut self, what: impl FnOnce() -> String) {
        self.wrong_count += 1;
        if self.wrong.len() < TOLD_MAX {
            self.wrong.push(what());
        }
    }

    pub(crate) fn summary(&self) -> String {
        let queue = self
            .queued
            .map_or(String::new(), |(messages, repeated)| format!(", {messages} in the queue ({repeated} repeated)"));
        let (acknowledged, booked) = (self.acknowledged, self.booked);
        if self.is_right() {
            format!("all right: {acknowledged} acknowledged, {booked} booked once{queue}")
        } else {
            let told = self.wrong.join("; ");
            format!("WRONG {} times: {acknowledged} acknowledged, {booked} booked{queue}: {told}", self.wrong_count)
        }
    }
}

/// Everything at rest: nothing is being sent any more. `amqp` is where the queue lies.
pub(crate) async fn everything(
    deployment: &Deployment,
    server: &mut Server,
    amqp: Option<&str>,
    sent: &Sent,
) -> Result<Verdict> {
    let mut verdict = Verdict { acknowledged: sent.acknowledged(), ..Verdict::default() };
    if amqp.is_some() {
        server.wait_published(Duration::from_secs(300)).await?;
    }
    let booked = feed(server, sent, &mut verdict).await?;
    balances::compare(deployment, sent, &booked, &mut verdict).await?;
    verify(deployment, &mut verdict).await?;
    if let Some(amqp) = amqp {
        let found = broker::consume(amqp, broker::CREDITED, verdict.booked).await?;
        let (different, booked) = (found.messages - found.repeated - found.without_id, verdict.booked);
        if different != booked || found.without_id > 0 {
            verdict.wrong(|| {
                format!("the queue has {different} different events of {booked}, {} without an id", found.without_id)
            });
        }
        verdict.queued = Some((found.messages, found.repeated));
    }
    Ok(verdict)
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Event>,
    next: serde_json::Value,
}

#[derive(Deserialize)]
struct Event {
    id: String,
    r#type: String,
    sequence: String,
    data: EventData,
}

#[derive(Deserialize)]
struct EventData {
    payment: Option<EventPayment>,
    amount: Option<String>,
}

#[derive(Deserialize)]
struct EventPayment {
    id: String,
}

/// Reads the whole feed; returns how often each body's payment was credited.
async fn feed(server: &Server, sent: &Sent, verdict: &mut Verdict) -> Result<Vec<u8>> {
    let mut connection = Connection::open(server.admin).await?;
    let (mut credited, mut ids, mut last) = (vec![0_u8; sent.fates.len()], HashSet::new(), None::<u128>);
    let mut cursor = String::new();
    // Every page but the last has at least one event.
    for _ in 0..=sent.fates.len() * 4 {
        let page = page(&mut connection, &server.token, &cursor).await?;
        for event in &page.data {
            let sequence =
                event.sequence.parse().with_context(|| format!("sequence {:?} is no number", event.sequence))?;
            if last.is_some_and(|last| sequence != last + 1) {
                verdict.wrong(|| format!("sequence {sequence} follows {last:?}"));
            }
            last = Some(sequence);
            let mut hasher = DefaultHasher::new();
            event.id.hash(&mut hasher);
            if !ids.insert(hasher.finish()) {
                verdict.wrong(|| format!("event id {} is there twice", event.id));
            }
            credit(event, &mut credited, verdict);
        }
        if page.data.is_empty() {
            compare(sent, &credited, verdict);
            return Ok(credited);
        }
        cursor = page.next.as_str().map_or_else(|| page.next.to_string(), str::to_owned);
    }
    bail!("the feed does not end")
}

async fn page(connection: &mut Connection, token: &str, cursor: &str) -> Result<Page> {
    let after = if cursor.is_empty() { String::new() } else { format!("&after={cursor}") };
    let (status, body) = connection.get(&format!("/api/events?limit=1000{after}"), token).await?;
    ensure!(status == 200, "/api/events answered {status}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).context("an answer of /api/events that is not as documented")
}

/// Counts the event for its body, and compares its amount.
fn credit(event: &Event, credited: &mut [u8], verdict: &mut Verdict) {
    if event.r#type != "deposit.credited" {
        return verdict.wrong(|| format!("an event {} of type {}", event.id, event.r#type));
    }
    let id: Option<u64> = event.data.payment.as_ref().and_then(|payment| payment.id.parse().ok());
    let index = id.and_then(|id| id.checked_sub(FIRST_ID));
    let place = index.and_then(|index| credited.get_mut(usize::try_from(index).ok()?));
    let (Some(index), Some(count)) = (index, place) else {
        return verdict.wrong(|| format!("event {} is about payment {id:?}, which was never sent", event.id));
    };
    *count = count.saturating_add(1);
    let amount = event.data.amount.as_deref().and_then(balances::minor_units);
    if amount != Some(balances::satoshi(Money::of(index).amount)) {
        verdict.wrong(|| format!("payment {id:?} was credited with {amount:?} of 10^-18"));
    }
}

fn compare(sent: &Sent, credited: &[u8], verdict: &mut Verdict) {
    for (index, (fate, count)) in sent.fates.iter().zip(credited).enumerate() {
        verdict.booked += u64::from(*count > 0);
        let right = match fate {
            Fate::Unsent => *count == 0,
            Fate::Refused | Fate::Unknown => *count <= 1,
            Fate::Acknowledged => *count == 1,
        };
        if !right {
            verdict.wrong(|| format!("body {index}: {fate:?}, {count} events"));
        }
    }
}

async fn verify(deployment: &Deployment, verdict: &mut Verdict) -> Result<()> {
    let begun = std::time::Instant::now();
    let output = deployment.run(&["ledger", "verify"]).await?;
    verdict.verify_seconds = begun.elapsed().as_secs_f64();
    if !output.status.success() {
        verdict.wrong(|| format!("tallyhook ledger verify: {}\n{}", output.status, said(&output)));
    }
    Ok(())
}
