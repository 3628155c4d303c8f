//! `RabbitMQ`: connecting over several hosts, the topology, sending events with confirms. It reads no database, retries
//! nothing by itself (the publisher's loop does; lapin's own recovery waits for the same host and stays off), and lets
//! no URL out: they hold passwords.

mod flight;
mod pattern;
mod topology;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use secrecy::ExposeSecret as _;
use tokio::time::timeout;

pub use flight::{Failed, Failure, Flight, Settled};
pub use pattern::Pattern;
pub use topology::{CREDITED, DEAD, DLX, EVENTS};

use crate::config;
use crate::domain::event::Event;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A dead peer is noticed after twice this long, unless the URL says otherwise.
const HEARTBEAT_S: u16 = 20;
/// lapin keeps buffers of 64 frames for each connection: 1 MB with this, 8 MB with the server's default of 128 KiB.
/// Headers must fit into one frame, and do: references have at most 255 characters. Longer bodies are split.
const FRAME_BYTES: u32 = 16_384;

/// Why `RabbitMQ` can't be used. Names the host, never the URL.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("there is no broker: set AMQP_URL")]
    None,
    #[error("broker URL {0} is not amqp://USER:PASSWORD@HOST:5672/VHOST")]
    BadUrl(usize),
    #[error("RabbitMQ at {host} did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Silent { host: String },
    #[error("RabbitMQ at {host} can't be reached: is it running, and are user, password and virtual host right?")]
    Unreachable {
        host: String,
        #[source]
        source: lapin::Error,
    },
    #[error("RabbitMQ at {host} refused {what}")]
    Refused {
        host: String,
        what: String,
        #[source]
        source: lapin::Error,
    },
}

/// A connection with its publishing channel.
pub struct Broker {
    connection: Connection,
    channel: Arc<Channel>,
    mandatory: Vec<Pattern>,
    host: String,
}

impl Broker {
    /// Tries each URL once, beginning with number `first`, and takes the first that answers.
    pub async fn connect(settings: &config::Broker, first: usize) -> Result<Self, BrokerError> {
        let count = settings.urls.len();
        let mut last = BrokerError::None;
        for (number, url) in settings.urls.iter().enumerate().cycle().skip(first).take(count) {
            let url = url.expose_secret().parse::<AMQPUri>();
            let Ok(url) = url else {
                last = BrokerError::BadUrl(number.saturating_add(1));
                continue;
            };
            match open(url).await {
                Ok((connection, channel, host)) => {
                    let mandatory = settings.mandatory.iter().map(|pattern| Pattern::new(pattern)).collect();
                    return Ok(Self { connection, channel, mandatory, host });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Makes the exchanges, queues and bindings that are missing, unless the settings say that others do.
    pub async fn declare(&self, settings: &config::Broker) -> Result<(), BrokerError> {
        if !settings.declare {
            return Ok(());
        }
        let declared = timeout(ANSWER_TIMEOUT, topology::declare(&self.connection, settings.delivery_limit)).await;
        match declared {
            Ok(Ok(())) => Ok(()),
            Ok(Err((what, source))) => Err(BrokerError::Refused { host: self.host.clone(), what, source }),
            Err(_elapsed) => Err(BrokerError::Silent { host: self.host.clone() }),
        }
    }

    /// Replaces the publishing channel: one that met an error, or that nacks for ever after an election.
    pub async fn reopen(&mut self) -> Result<(), BrokerError> {
        self.channel = channel(&self.connection, &self.host).await?;
        Ok(())
    }

    /// Whether both the connection and its channel can send.
    pub fn is_up(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    /// Whether the connection itself can still be used.
    pub fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// `host:port`, for the log.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Sends an event: its frames are queued, in the order of the calls, when this returns. What became of it is
    /// `flight`'s to find out.
    pub fn publish(&self, flight: &mut Flight, event: Event, now_s: u64) {
        let key = event.routing_key();
        let mandatory = self.mandatory.iter().any(|pattern| pattern.matches(&key));
        let channel = Arc::clone(&self.channel);
        let position = event.position;
        let (properties, body) = message(event, now_s);
        flight.begin(position, async move {
            let options = BasicPublishOptions { mandatory, immediate: false };
            let sent = channel.basic_publish(EVENTS.into(), key.into(), options, &body, properties).await;
            drop(body);
            sent?.await
        });
    }

    /// Ends the connection in good order.
    pub async fn close(self) {
        let closed = timeout(ANSWER_TIMEOUT, self.connection.close(200, "done".into())).await;
        if !matches!(closed, Ok(Ok(()))) {
            tracing::debug!("The connection to RabbitMQ was already gone");
        }
    }
}

async fn open(mut url: AMQPUri) -> Result<(Connection, Arc<Channel>, String), BrokerError> {
    let host = format!("{}:{}", url.authority.host, url.authority.port);
    url.query.heartbeat.get_or_insert(HEARTBEAT_S);
    url.query.frame_max.get_or_insert(FRAME_BYTES);
    let limit_ms = u64::try_from(CONNECT_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    url.query.connection_timeout.get_or_insert(limit_ms);
    let properties = ConnectionProperties::default().with_connection_name("tallyhook publisher".into());
    match timeout(CONNECT_TIMEOUT, Connection::connect_uri(url, properties)).await {
        Ok(Ok(connection)) => {
            let channel = channel(&connection, &host).await?;
            Ok((connection, channel, host))
        }
        Ok(Err(source)) => Err(BrokerError::Unreachable { host, source }),
        Err(_elapsed) => Err(BrokerError::Silent { host }),
    }
}

/// A channel with confirms.
async fn channel(connection: &Connection, host: &str) -> Result<Arc<Channel>, BrokerError> {
    let made = timeout(ANSWER_TIMEOUT, async {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    });
    match made.await {
        Ok(Ok(channel)) => Ok(Arc::new(channel)),
        Ok(Err(source)) => {
            Err(BrokerError::Refused { host: host.to_owned(), what: "a channel with confirms".to_owned(), source })
        }
        Err(_elapsed) => Err(BrokerError::Silent { host: host.to_owned() }),
    }
}

/// The event as a message: all but the body is said again outside it, so that a consumer need not parse to route.
fn message(event: Event, now_s: u64) -> (BasicProperties, Vec<u8>) {
    let mut headers = BTreeMap::new();
    let mut header = |name: &str, value: String| headers.insert(name.into(), AMQPValue::LongString(value.into()));
    header("traceparent", trace_parent(&event.id));
    header("merchant", event.merchant);
    header("sequence", event.position.to_string());
    if let Some(customer) = event.customer {
        header("customer", customer);
    }
    let properties = BasicProperties::default()
        .with_content_type("application/cloudevents+json".into())
        .with_delivery_mode(2)
        .with_message_id(event.id.into())
        .with_timestamp(now_s)
        .with_type(event.event.word().into())
        .with_app_id("tallyhook".into())
        .with_headers(FieldTable::from(headers));
    (properties, event.body)
}

/// W3C Trace Context made of the event's id (a version 8 UUID, so neither part is zero): sent twice, an event is still
/// one trace. Not sampled: whether to record it is the consumer's choice.
fn trace_parent(id: &str) -> String {
    let trace: String = id.chars().filter(|character| *character != '-').collect();
    let parent = trace.get(16..).unwrap_or(&trace);
    format!("00-{trace}-{parent}-00")
}
