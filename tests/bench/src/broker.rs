//! RabbitMQ as the checker and the bare publisher see it. Knows the names of the product's topology
//! and nothing of its code.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};

pub(crate) const CREDITED: &str = "tallyhook.credited";
const QUEUES: [&str; 4] = [CREDITED, "tallyhook.dead", FORWARD, BARE];
const EXCHANGES: [&str; 2] = ["tallyhook.events", "tallyhook.dlx"];
/// Where the `forward` baseline sends.
pub(crate) const FORWARD: &str = "bench.forward";
const BARE: &str = "bench.bare";
/// Confirms outstanding at most.
const WINDOW: usize = 1000;
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn connect(url: &str) -> Result<(Connection, Channel)> {
    let connection = tokio::time::timeout(TIMEOUT, Connection::connect(url, ConnectionProperties::default())).await;
    let connection = connection.context("RabbitMQ does not answer")?.context("connecting to RabbitMQ")?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

pub(crate) async fn declare_quorum(channel: &Channel, queue: &str) -> Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await?;
    Ok(())
}

/// Deletes the queues and exchanges of a row, with what is in them.
pub(crate) async fn empty(url: &str) -> Result<()> {
    let (connection, channel) = connect(url).await?;
    for queue in QUEUES {
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    }
    for exchange in EXCHANGES {
        channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await?;
    }
    connection.close(200, "done".into()).await?;
    Ok(())
}

/// Messages ready in a queue; 0 while there is none of that name.
pub(crate) async fn length(connection: &Connection, queue: &str) -> Result<u64> {
    // A passive declaration of what is not there closes the channel: so one of its own.
    let channel = connection.create_channel().await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
    let Ok(found) = channel.queue_declare(queue.into(), options, FieldTable::default()).await else {
        return Ok(0);
    };
    channel.close(200, "done".into()).await?;
    Ok(u64::from(found.message_count()))
}

/// What a consumer found in the queue.
#[derive(Debug, Default)]
pub(crate) struct Consumed {
    pub(crate) messages: u64,
    pub(crate) repeated: u64,
    pub(crate) without_id: u64,
}

/// Takes everything out of the queue and counts each `message_id`. Ends half a second after the
/// expected number, or ten seconds after the last message.
pub(crate) async fn consume(url: &str, queue: &str, expected: u64) -> Result<Consumed> {
    let (connection, channel) = connect(url).await?;
    channel.basic_qos(2000, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume(queue.into(), "bench".into(), options, FieldTable::default()).await?;
    let (mut found, mut ids) = (Consumed::default(), HashSet::new());
    loop {
        let patience = Duration::from_millis(if found.messages >= expected { 500 } else { 10_000 });
        let Ok(Some(delivery)) = tokio::time::timeout(patience, consumer.next()).await else {
            break;
        };
        let delivery = delivery?;
        found.messages += 1;
        match delivery.properties.message_id() {
            Some(id) if ids.insert(id.as_str().to_owned()) => {}
            Some(_) => found.repeated += 1,
            None => found.without_id += 1,
        }
        if found.messages % 500 == 0 || found.messages >= expected {
            delivery.acker.ack(BasicAckOptions { multiple: true }).await?;
        }
    }
    connection.close(200, "done".into()).await?;
    Ok(found)
}

/// Where the bare publisher sends: to the queue by the default exchange, which costs the broker least, or by a topic
/// exchange, as events are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Default,
    Topic,
}

impl By {
    const fn address(self) -> (&'static str, &'static str) {
        match self {
            Self::Default => ("", BARE),
            Self::Topic => (BARE, "deposit.credited.BTC"),
        }
    }
}

/// The limit of what any publisher could do: messages of the same size and properties to a quorum
/// queue, one channel, a window of confirms, nothing read and nothing stored. Messages per second.
pub(crate) async fn bare_publisher(url: &str, by: By, messages: u64, bytes: usize) -> Result<f64> {
    let (connection, channel) = connect(url).await?;
    declare_quorum(&channel, BARE).await?;
    let kind = ExchangeKind::Topic;
    channel.exchange_declare(BARE.into(), kind, ExchangeDeclareOptions::default(), FieldTable::default()).await?;
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(BARE.into(), BARE.into(), "*.credited.*".into(), options, none).await?;
    let (exchange, key) = by.address();
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let payload = vec![b'x'; bytes];
    let mut waiting = VecDeque::with_capacity(WINDOW);
    let begun = Instant::now();
    for number in 0..messages {
        if waiting.len() >= WINDOW {
            confirmed(waiting.pop_front()).await?;
        }
        let properties = properties(number);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirm = channel.basic_publish(exchange.into(), key.into(), options, &payload, properties).await?;
        waiting.push_back(confirm);
    }
    while !waiting.is_empty() {
        confirmed(waiting.pop_front()).await?;
    }
    let rate = messages as f64 / begun.elapsed().as_secs_f64();
    channel.queue_delete(BARE.into(), QueueDeleteOptions::default()).await?;
    channel.exchange_delete(BARE.into(), ExchangeDeleteOptions::default()).await?;
    connection.close(200, "done".into()).await?;
    Ok(rate)
}

/// As many properties and headers as an event has.
fn properties(number: u64) -> BasicProperties {
    let mut headers = FieldTable::default();
    let text = |value: String| AMQPValue::LongString(value.into());
    headers.insert("merchant".into(), text("main".to_owned()));
    headers.insert("customer".into(), text(format!("player-{:08}", number % 10_000)));
    headers.insert("sequence".into(), text(number.to_string()));
    headers.insert("traceparent".into(), text(format!("00-{number:032x}-{number:016x}-01")));
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/cloudevents+json".into())
        .with_message_id(format!("00000000-0000-4000-8000-{number:012x}").into())
        .with_type("deposit.credited".into())
        .with_headers(headers)
}

async fn confirmed(confirm: Option<lapin::PublisherConfirm>) -> Result<()> {
    let Some(confirm) = confirm else {
        return Ok(());
    };
    let answer = tokio::time::timeout(TIMEOUT, confirm).await.context("RabbitMQ does not confirm")??;
    ensure!(answer == Confirmation::Ack(None), "RabbitMQ refused a message of the bare publisher: {answer:?}");
    Ok(())
}
