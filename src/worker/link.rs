//! The publisher's connection: which host to try next, and when a channel or a connection is given up for another.

use std::sync::Arc;

use anyhow::Context as _;
use tracing::info;

use crate::broker::{Broker, Failed, Failure, Flight};
use crate::config;
use crate::domain::event::Event;
use crate::metrics::Metrics;

/// A channel that met the queue before its new leader nacks for ever: refused this often, another one is tried …
const REFUSALS_OF_CHANNEL: u32 = 3;
/// … and this often, another connection.
const REFUSALS_OF_CONNECTION: u32 = 10;

pub(super) struct Link {
    settings: config::Broker,
    metrics: Arc<Metrics>,
    broker: Option<Broker>,
    /// The URL to try first.
    host: usize,
    has_connected: bool,
    refusals: u32,
}

impl Link {
    pub(super) fn new(settings: config::Broker, metrics: Arc<Metrics>) -> Self {
        Self { settings, metrics, broker: None, host: 0, has_connected: false, refusals: 0 }
    }

    pub(super) fn is_up(&self) -> bool {
        self.broker.as_ref().is_some_and(Broker::is_up)
    }

    /// Events that may be under way.
    pub(super) fn window(&self) -> usize {
        self.settings.window
    }

    /// Makes it usable: a channel on the connection there is, else a connection, with the topology declared.
    pub(super) async fn connect(&mut self) -> anyhow::Result<()> {
        if let Some(broker) = self.broker.as_mut().filter(|broker| broker.is_connected()) {
            return Ok(broker.reopen().await?);
        }
        self.give_up();
        let first = self.host;
        self.host = first.wrapping_add(1).checked_rem(self.settings.urls.len()).unwrap_or(0);
        let broker = Broker::connect(&self.settings, first).await?;
        broker.declare(&self.settings).await?;
        info!(host = broker.host(), "Connected to RabbitMQ");
        self.broker = Some(broker);
        self.metrics.broker_connected.raise(true);
        if self.has_connected {
            self.metrics.broker_reconnects.increment();
        }
        self.has_connected = true;
        Ok(())
    }

    pub(super) fn publish(&self, flight: &mut Flight, event: Event, now_s: u64) -> anyhow::Result<()> {
        self.broker.as_ref().context("the connection to RabbitMQ is gone")?.publish(flight, event, now_s);
        Ok(())
    }

    /// The broker takes events again.
    pub(super) fn confirmed(&mut self) {
        self.refusals = 0;
    }

    /// What a failure means for the connection.
    pub(super) async fn failed(&mut self, failed: &Failed) {
        if failed.is_unanswered {
            return self.give_up();
        }
        let is_lost = match failed.failure {
            // The broker is fine; a queue is missing.
            Failure::Returned { .. } => return,
            Failure::Lost(_) => true,
            Failure::Refused | Failure::Late => false,
        };
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals >= REFUSALS_OF_CONNECTION {
            self.refusals = 0;
            self.give_up();
        } else if (is_lost || self.refusals.is_multiple_of(REFUSALS_OF_CHANNEL))
            && let Some(broker) = self.broker.as_mut()
            && broker.reopen().await.is_err()
        {
            self.give_up();
        }
    }

    /// Drops the connection, with everything that is under way on it.
    pub(super) fn give_up(&mut self) {
        self.broker = None;
        self.metrics.broker_connected.raise(false);
    }

    /// Ends the connection in good order.
    pub(super) async fn close(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.close().await;
        }
        self.metrics.broker_connected.raise(false);
    }
}
