//! The broker as a consumer has it: a queue of the test's own that gets every event, what is in a queue, and whether it
//! is what the feed says. Knows the names of the contract and nothing of the publisher.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lapin::message::Delivery;
use lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::time::timeout;

use super::books::{Event, Feed};
use super::process::eventually;

pub(crate) const CREDITED: &str = "tallyhook.credited";
pub(crate) const EVERYTHING: &str = "test.everything";
const EVENTS: &str = "tallyhook.events";
const PATIENCE: Duration = Duration::from_secs(120);

/// A message, as far as it is the contract's.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) key: String,
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) bytes: String,
    pub(crate) sequence: u64,
    pub(crate) is_persistent: bool,
}

async fn open(url: &str) -> (Connection, Channel) {
    let connection = timeout(PATIENCE, Connection::connect(url, ConnectionProperties::default())).await;
    let connection = connection.expect("RabbitMQ answers in time").expect("RabbitMQ accepts the tests' connection");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}

async fn close(connection: Connection) {
    drop(timeout(PATIENCE, connection.close(200, "done".into())).await);
}

/// Makes a queue that gets every event from now on, also those that no contract queue takes.
pub(crate) async fn bind_everything(url: &str) {
    let (connection, channel) = open(url).await;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let none = FieldTable::default;
    channel.exchange_declare(EVENTS.into(), ExchangeKind::Topic, durable, none()).await.expect("the exchange");
    channel.queue_declare(EVERYTHING.into(), QueueDeclareOptions::durable(), none()).await.expect("a queue");
    let bound = channel.queue_bind(EVERYTHING.into(), EVENTS.into(), "#".into(), QueueBindOptions::default(), none());
    bound.await.expect("a binding");
    close(connection).await;
}

/// Waits until a broker in `folder` has the queue of credits in its file of names. `RabbitMQ` 3.10 writes that file half
/// a second late, and a quorum queue whose name is lost in a crash never has a leader again.
pub(crate) async fn until_credited_survives_a_crash(folder: &Path) {
    let node = "tallyhook@localhost";
    let names = folder.join("rabbit/mnesia").join(node).join("quorum").join(node).join("names.dets");
    eventually("the queue's name is on disk", PATIENCE, async || {
        let bytes = std::fs::read(&names).ok()?;
        bytes.windows(CREDITED.len()).any(|window| window == CREDITED.as_bytes()).then_some(())
    })
    .await;
}

/// Deletes the queue of credited events, as an operator by mistake might.
pub(crate) async fn delete_credited(url: &str) {
    let (connection, channel) = open(url).await;
    channel.queue_delete(CREDITED.into(), QueueDeleteOptions::default()).await.expect("the queue can be deleted");
    close(connection).await;
}

/// Makes it again, as an operator would.
pub(crate) async fn declare_credited(url: &str) {
    let (connection, channel) = open(url).await;
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(CREDITED.into(), QueueDeclareOptions::durable(), quorum).await.expect("the queue");
    let (key, none) = ("*.credited.*".into(), FieldTable::default());
    let bound = channel.queue_bind(CREDITED.into(), EVENTS.into(), key, QueueBindOptions::default(), none);
    bound.await.expect("its binding");
    close(connection).await;
}

/// Takes all messages out of a queue, in its order. Its own count is not asked for: a quorum queue whose leader is slow
/// to answer counts as empty.
pub(crate) async fn drain(url: &str, queue: &str) -> Vec<Message> {
    let (connection, channel) = open(url).await;
    let mut messages = Vec::new();
    let options = BasicGetOptions { no_ack: true };
    while let Some(got) = channel.basic_get(queue.into(), options).await.expect("there is the queue") {
        messages.push(message(got.delivery));
    }
    close(connection).await;
    messages
}

fn message(delivery: Delivery) -> Message {
    let properties = &delivery.properties;
    let headers = properties.headers().as_ref().expect("an event has headers");
    let sequence = match headers.inner().get("sequence") {
        Some(AMQPValue::LongString(text)) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        other => panic!("the header `sequence` is {other:?}"),
    };
    Message {
        key: delivery.routing_key.as_str().to_owned(),
        id: properties.message_id().as_ref().expect("an event has an id").as_str().to_owned(),
        kind: properties.kind().as_ref().expect("an event has a type").as_str().to_owned(),
        sequence: sequence.parse().expect("a sequence is a number"),
        is_persistent: *properties.delivery_mode() == Some(2),
        bytes: String::from_utf8(delivery.data).expect("an event is UTF-8"),
    }
}

/// Each event of the feed was sent at least once, each message is the feed's event byte for byte with its id, and an
/// event is sent only after all before it: what comes out of turn is a repeat.
pub(crate) fn assert_published(messages: &[Message], feed: &Feed) {
    let mut last = 0_u64;
    for message in messages {
        let (sequence, bytes) = (message.sequence, &message.bytes);
        assert_eq!(feed.get(&sequence), Some(bytes), "message {sequence} is not what the feed says");
        let event = Event::parse(bytes);
        assert_eq!((&message.id, &message.kind), (&event.id, &event.r#type), "message {sequence}");
        assert_eq!(message.key, event.routing_key(), "message {sequence}");
        assert!(message.is_persistent, "message {sequence} would not outlive the broker");
        assert!(sequence <= last.wrapping_add(1), "event {sequence} came before {}", last.wrapping_add(1));
        last = last.max(sequence);
    }
    let published: BTreeSet<u64> = messages.iter().map(|message| message.sequence).collect();
    let lost: Vec<_> = feed.keys().filter(|sequence| !published.contains(sequence)).collect();
    assert!(lost.is_empty(), "never published: {lost:?}");
}

/// The same for the queue that only gets credits: ascending apart from repeats, and none missing.
pub(crate) fn assert_credits_published(messages: &[Message], feed: &Feed) {
    let mut last = 0_u64;
    let mut seen = BTreeSet::new();
    for message in messages {
        assert_eq!(feed.get(&message.sequence), Some(&message.bytes), "message {} is another", message.sequence);
        let is_repeat = !seen.insert(message.sequence);
        assert!(is_repeat || message.sequence > last, "credit {} came after {last}", message.sequence);
        last = last.max(message.sequence);
    }
    let is_credit = |bytes: &str| Event::parse(bytes).r#type == "deposit.credited";
    let credits: BTreeSet<u64> = feed.iter().filter(|(_, bytes)| is_credit(bytes)).map(|(at, _)| *at).collect();
    assert_eq!(seen, credits, "the queue of credits has all of them, and nothing else");
}
