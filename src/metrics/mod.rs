//! What is counted, as Prometheus text. Atomics that the app owns: no global registry, no allocation when counting,
//! and no label whose values come from outside, so the size of the page is fixed.

pub mod history;
mod page;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::history::History;
use self::page::{Page, seconds, thousandths};
use crate::domain::check::Check;
use crate::processor::signature::Refused;

/// Only ever grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

/// Counts by fixed upper bounds; a bound is a number of units and its name on the page.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [(u64, &'static str)],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
    count: AtomicU64,
}

/// Callbacks by what became of them.
#[derive(Debug, Default)]
pub struct ByState {
    pub booked: Counter,
    pub ignored: Counter,
    pub held: Counter,
    pub failed: Counter,
    pub duplicate: Counter,
}

/// Requests that were not taken, by cause.
#[derive(Debug, Default)]
pub struct Rejected {
    pub no_key: Counter,
    pub unknown_key: Counter,
    pub no_signature: Counter,
    pub malformed_signature: Counter,
    pub wrong_signature: Counter,
    pub ambiguous: Counter,
    pub too_large: Counter,
    pub too_slow: Counter,
    pub unavailable: Counter,
}

impl Rejected {
    /// The counter of a refused signature.
    pub const fn of(&self, refused: Refused) -> &Counter {
        match refused {
            Refused::NoKey => &self.no_key,
            Refused::UnknownKey => &self.unknown_key,
            Refused::NoSignature => &self.no_signature,
            Refused::MalformedSignature => &self.malformed_signature,
            Refused::WrongSignature => &self.wrong_signature,
            Refused::Ambiguous => &self.ambiguous,
        }
    }
}

/// Everything that `/metrics` shows.
#[derive(Debug)]
pub struct Metrics {
    pub callbacks: ByState,
    pub rejected: Rejected,
    /// From the head of a request to its answer.
    pub callback_us: Histogram,
    pub batch_size: Histogram,
    pub batches: Counter,
    /// Batches that were booked without looking first.
    pub recalled: Counter,
    /// Those that had to look after all: something was there that was not remembered, or another replica was faster.
    pub misremembered: Counter,
    pub fallbacks: Counter,
    pub tokens_refused: Counter,
    pub queue_full: Counter,
    pub database_errors: Counter,
    pub outbox_pending: Gauge,
    pub outbox_oldest_ms: Gauge,
    pub events_published: Counter,
    pub events_redelivered: Counter,
    pub events_returned: Counter,
    pub broker_nacks: Counter,
    pub broker_connected: Gauge,
    pub broker_reconnects: Counter,
    pub publishing_blocked: Gauge,
    pub held_open: Gauge,
    pub failed_open: Gauge,
    pub discrepancies_open: Gauge,
    pub withdrawals_unknown: Gauge,
    pub withdrawals_missing: Gauge,
    pub asks_open: Gauge,
    pub asks_unknown: Gauge,
    pub outages: Gauge,
    pub outages_open: Gauge,
    pub repeats_pending: Gauge,
    /// In the order of [`Check::ALL`].
    checks_failed: [Gauge; Check::ALL.len()],
    pub checked_age_s: Gauge,
    /// 0 where nothing reconciles by itself.
    pub reconciled_age_s: Gauge,
    pub clock_apart_ms: Gauge,
    /// The last hour, for the page.
    pub history: History,
    pub index_pending: Gauge,
}

const LATENCY_US: [(u64, &str); 13] = [
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_000, "0.002"),
    (3_000, "0.003"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (20_000, "0.02"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (5_000_000, "5"),
];
const SIZES: [(u64, &str); 10] = [
    (1, "1"),
    (2, "2"),
    (4, "4"),
    (8, "8"),
    (16, "16"),
    (32, "32"),
    (64, "64"),
    (128, "128"),
    (256, "256"),
    (512, "512"),
];

impl Counter {
    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// 1 or 0.
    pub fn raise(&self, is_up: bool) {
        self.set(u64::from(is_up));
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Histogram {
    fn new(bounds: &'static [(u64, &'static str)]) -> Self {
        let counts = bounds.iter().map(|_| AtomicU64::default()).collect();
        Self { bounds, counts, sum: AtomicU64::default(), count: AtomicU64::default() }
    }

    pub fn observe(&self, value: u64) {
        // One count for each value, in its smallest bucket; the page adds them up.
        if let Some((_, count)) = self.bounds.iter().zip(&self.counts).find(|((bound, _), _)| value <= *bound) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// How many values there were by bound; those above the last bound come last.
    fn counts(&self) -> Vec<u64> {
        let below: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let all = self.count.load(Ordering::Relaxed);
        let above = all.saturating_sub(below.iter().copied().fold(0, u64::saturating_add));
        below.into_iter().chain([above]).collect()
    }

    /// The bound that so many percent of these counts stay within; 0 when there are none.
    fn bound_of(&self, counts: &[u64], percent: u64) -> u64 {
        let all = counts.iter().copied().fold(0, u64::saturating_add);
        let wanted = all.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen: u64 = 0;
        let last = self.bounds.last().map_or(0, |(bound, _)| *bound);
        let bounds = self.bounds.iter().map(|(bound, _)| *bound).chain([last]);
        for (bound, count) in bounds.zip(counts) {
            seen = seen.saturating_add(*count);
            if seen >= wanted {
                return bound;
            }
        }
        0
    }

    /// In microseconds.
    pub fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            callbacks: ByState::default(),
            rejected: Rejected::default(),
            callback_us: Histogram::new(&LATENCY_US),
            batch_size: Histogram::new(&SIZES),
            batches: Counter::default(),
            recalled: Counter::default(),
            misremembered: Counter::default(),
            fallbacks: Counter::default(),
            tokens_refused: Counter::default(),
            queue_full: Counter::default(),
            database_errors: Counter::default(),
            outbox_pending: Gauge::default(),
            outbox_oldest_ms: Gauge::default(),
            events_published: Counter::default(),
            events_redelivered: Counter::default(),
            events_returned: Counter::default(),
            broker_nacks: Counter::default(),
            broker_connected: Gauge::default(),
            broker_reconnects: Counter::default(),
            publishing_blocked: Gauge::default(),
            held_open: Gauge::default(),
            failed_open: Gauge::default(),
            discrepancies_open: Gauge::default(),
            withdrawals_unknown: Gauge::default(),
            withdrawals_missing: Gauge::default(),
            asks_open: Gauge::default(),
            asks_unknown: Gauge::default(),
            outages: Gauge::default(),
            outages_open: Gauge::default(),
            repeats_pending: Gauge::default(),
            checks_failed: Default::default(),
            checked_age_s: Gauge::default(),
            reconciled_age_s: Gauge::default(),
            clock_apart_ms: Gauge::default(),
            history: History::default(),
            index_pending: Gauge::default(),
        }
    }
}

impl Metrics {
    /// 1 while this check fails.
    pub fn check_failed(&self, check: Check) -> &Gauge {
        let place = Check::ALL.iter().position(|known| *known == check);
        place.and_then(|place| self.checks_failed.get(place)).expect("every check has its gauge")
    }

    /// Callbacks answered 200.
    fn taken(&self) -> u64 {
        let ByState { booked, ignored, held, failed, duplicate } = &self.callbacks;
        [booked, ignored, held, failed, duplicate].into_iter().map(Counter::get).fold(0, u64::saturating_add)
    }

    /// Requests not answered 200.
    fn refused(&self) -> u64 {
        let signatures = Refused::ALL.iter().map(|refused| self.rejected.of(*refused).get());
        let others = [&self.rejected.too_large, &self.rejected.too_slow, &self.rejected.unavailable];
        signatures.chain(others.into_iter().map(Counter::get)).fold(0, u64::saturating_add)
    }

    /// The page, in the text format 0.0.4 of Prometheus.
    pub fn render(&self) -> String {
        let mut page = Page(String::with_capacity(8192));
        let states = &self.callbacks;
        let states = [
            ("booked", &states.booked),
            ("ignored", &states.ignored),
            ("held", &states.held),
            ("failed", &states.failed),
            ("duplicate", &states.duplicate),
        ];
        page.labelled("callbacks_total", "Callbacks answered 200, by what became of them.", "state", &states);
        let refused = Refused::ALL.map(|refused| (refused.word(), self.rejected.of(refused)));
        let others = [
            ("too_large", &self.rejected.too_large),
            ("too_slow", &self.rejected.too_slow),
            ("unavailable", &self.rejected.unavailable),
        ];
        let causes: Vec<_> = refused.into_iter().chain(others).collect();
        page.labelled("callbacks_rejected_total", "Requests not answered 200, by cause.", "reason", &causes);
        page.histogram("callback_seconds", "From a request's head to its answer.", &self.callback_us, seconds);
        page.histogram("booker_batch_size", "Members of a booking transaction.", &self.batch_size, |sum| {
            sum.to_string()
        });
        page.counter("booker_batches_total", "Booking transactions committed.", &self.batches);
        page.counter("booker_recalled_total", "Batches booked without looking first.", &self.recalled);
        page.counter("booker_misremembered_total", "Batches that looked after all.", &self.misremembered);
        page.counter("booker_fallbacks_total", "Batches tried again member by member.", &self.fallbacks);
        page.counter("booker_queue_full_total", "Requests refused because the queue was full.", &self.queue_full);
        page.counter("tokens_refused_total", "Requests whose bearer token is none of ours.", &self.tokens_refused);
        page.counter("database_errors_total", "Statements and connections that failed.", &self.database_errors);
        page.gauge("outbox_pending", "Events not yet confirmed by the broker.", &self.outbox_pending);
        let oldest = thousandths(self.outbox_oldest_ms.get());
        page.family("outbox_oldest_seconds", "gauge", "Age of the oldest pending event.");
        page.sample("outbox_oldest_seconds", "", &oldest);
        page.counter("events_published_total", "Events confirmed by the broker.", &self.events_published);
        let again = "Events published again because somebody asked for it.";
        page.counter("events_redelivered_total", again, &self.events_redelivered);
        page.counter("events_returned_total", "Mandatory events that no queue took.", &self.events_returned);
        page.counter("broker_nacks_total", "Events that the broker refused.", &self.broker_nacks);
        page.gauge("broker_connected", "1 while connected.", &self.broker_connected);
        page.counter("broker_reconnects_total", "Connections made after the first.", &self.broker_reconnects);
        page.gauge("publishing_blocked", "1 while publishing waits on a failure.", &self.publishing_blocked);
        page.gauge("held_open", "Callbacks held for an operator.", &self.held_open);
        page.gauge("failed_open", "Callbacks that wait for a retry.", &self.failed_open);
        let help = "What someone must look at: held, in suspense, or found by comparing.";
        page.gauge("discrepancies_open", help, &self.discrepancies_open);
        page.gauge("withdrawals_unknown", "Withdrawals that may have been done.", &self.withdrawals_unknown);
        let help = "Unknown withdrawals that the processor has long known nothing of.";
        page.gauge("withdrawals_missing", help, &self.withdrawals_missing);
        page.gauge("asks_open", "Overdue payments that the processor is asked about.", &self.asks_open);
        page.gauge("asks_unknown", "Of these, the ones that it knows nothing of.", &self.asks_unknown);
        page.gauge("outages", "Outages of reception on record.", &self.outages);
        page.gauge("outages_open", "Open discrepancies about callbacks that can't come back.", &self.outages_open);
        let help = "1 while the processor may still repeat what an outage missed.";
        page.gauge("repeats_pending", help, &self.repeats_pending);
        page.family("check_failed", "gauge", "1 while a check of the ledger fails.");
        for (check, gauge) in Check::ALL.iter().zip(&self.checks_failed) {
            page.sample("check_failed", &format!("{{check=\"{}\"}}", check.word()), &gauge.get().to_string());
        }
        page.gauge("checked_age_seconds", "Since the ledger was checked last.", &self.checked_age_s);
        let help = "Since the merchant that was compared longest ago was compared.";
        page.gauge("reconciled_age_seconds", help, &self.reconciled_age_s);
        let apart = thousandths(self.clock_apart_ms.get());
        page.family("clock_apart_seconds", "gauge", "Between the clocks of this machine and of the database.");
        page.sample("clock_apart_seconds", "", &apart);
        let help = "Callbacks and journal entries that searches and statements have no index for yet.";
        page.gauge("index_pending", help, &self.index_pending);
        page.family("build_info", "gauge", "Always 1; the label tells the version.");
        page.sample("build_info", concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), "1");
        page.0
    }
}
