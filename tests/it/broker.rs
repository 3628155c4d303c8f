//! The way out to `RabbitMQ`: what a consumer finds in the queue, what waits when it can't get there, and who sends it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use lapin::message::BasicGetMessage;
use lapin::options::{BasicGetOptions, BasicNackOptions, ExchangeDeclareOptions, QueueBindOptions};
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tallyhook::broker::{CREDITED, DEAD, EVENTS, Pattern};
use tallyhook::store::{Db, cursor};

use crate::support::queue::until_credited_survives_a_crash;
use crate::support::servers::{OwnRabbit, fresh_vhost};
use crate::support::{Backend, OPERATOR, TestApp, launch};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn patterns_match_as_a_topic_exchange_does() {
    let rows = [
        ("*.credited.*", "deposit.credited.BTC", true),
        ("*.credited.*", "deposit.credited", false),
        ("*.credited.*", "deposit.credited.BTC.test", false),
        ("*.credited.*", "deposit.pending.BTC", false),
        ("#", "deposit.pending.BTC", true),
        ("deposit.#", "deposit", true),
        ("deposit.#", "deposit.pending.BTC", true),
        ("#.BTC", "deposit.pending.BTC", true),
        ("#.pending.#", "deposit.pending.BTC", true),
        ("#.pending.#", "deposit.credited.BTC", false),
        ("deposit.pending.BTC", "deposit.pending.BTC", true),
        ("deposit.pending.BTC", "deposit.pending.ETH", false),
        ("*", "", true),
        ("deposit.*", "deposit", false),
    ];
    for (pattern, key, is_match) in rows {
        assert_eq!(Pattern::new(pattern).matches(key), is_match, "{pattern} | {key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_reaches_the_queue_with_the_bytes_of_the_feed() {
    let amqp = fresh_vhost();
    let app = TestApp::with(Backend::Postgres, &[("AMQP_URL", &amqp)]).await;
    assert_eq!(app.receive(&deposit(1, "not_confirmed")).await, StatusCode::OK);
    assert_eq!(app.receive(&deposit(1, "confirmed")).await, StatusCode::OK);
    let queue = Queue::open(&amqp).await;
    let messages = queue.take(1).await;
    let message = &messages[0];
    let events = app.events().await;
    assert_eq!(events.len(), 2, "one pending, one credited");

    let bytes = feed_bytes(&app).await;
    let body = std::str::from_utf8(&message.delivery.data).expect("JSON is text");
    assert!(bytes.contains(body), "the feed holds the very bytes of the message");
    let event: Value = serde_json::from_str(body).expect("an event");
    assert_eq!(event, events[1]);

    let properties = &message.delivery.properties;
    let text = |short: &Option<lapin::types::ShortString>| short.as_ref().map(|text| text.as_str().to_owned());
    assert_eq!(message.delivery.routing_key.as_str(), "deposit.credited.BTC");
    assert_eq!(message.delivery.exchange.as_str(), EVENTS);
    assert_eq!(text(properties.message_id()).as_deref(), event["id"].as_str());
    assert_eq!(text(properties.kind()).as_deref(), Some("deposit.credited"));
    assert_eq!(text(properties.content_type()).as_deref(), Some("application/cloudevents+json"));
    assert_eq!(text(properties.app_id()).as_deref(), Some("tallyhook"));
    assert_eq!(*properties.delivery_mode(), Some(2));
    let headers = headers(message);
    let id = event["id"].as_str().expect("an id").replace('-', "");
    let (_, parent) = id.split_at(16);
    assert_eq!(headers["traceparent"], format!("00-{id}-{parent}-00"));
    assert_eq!(headers["merchant"], "main");
    assert_eq!(headers["customer"], "ada");
    assert_eq!(headers["sequence"], "2");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_refused_too_often_is_kept_in_the_dead_queue() {
    let amqp = fresh_vhost();
    let app = TestApp::with(Backend::Sqlite, &[("AMQP_URL", &amqp), ("TALLYHOOK_BROKER__DELIVERY_LIMIT", "2")]).await;
    app.receive(&deposit(1, "confirmed")).await;
    let queue = Queue::open(&amqp).await;
    until("it is published", async || queue.length(CREDITED).await == 1).await;
    until("the dead queue has it", async || {
        if let Some(message) = queue.get(CREDITED).await {
            let options = BasicNackOptions { requeue: true, multiple: false };
            message.delivery.acker.nack(options).await.expect("a nack");
        }
        queue.length(DEAD).await == 1
    })
    .await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credits_wait_and_alarm_while_no_queue_takes_them() {
    let amqp = fresh_vhost();
    let app = TestApp::with(Backend::Postgres, &[("AMQP_URL", &amqp)]).await;
    let queue = Queue::open(&amqp).await;
    until("it is connected", async || metric(&app, "broker_connected").await == "1").await;
    queue.channel.queue_delete(CREDITED.into(), QueueDeleteOptions::default()).await.expect("the queue goes");
    for id in 1..=30 {
        assert_eq!(app.receive(&deposit(id, "not_confirmed")).await, StatusCode::OK);
        assert_eq!(app.receive(&deposit(id, "confirmed")).await, StatusCode::OK);
    }
    until("it alarms", async || metric(&app, "publishing_blocked").await == "1").await;
    let state = cursor(&app).await;
    assert_eq!(state.position, 1, "the pending event needs no queue; the first credit is not marked published");
    assert_ne!(metric(&app, "events_returned_total").await, "0");
    assert_ne!(metric(&app, "outbox_pending").await, "0");

    queue.declare_plain().await;
    let messages = queue.take(30).await;
    assert_eq!(sequences(&messages), (1..=30).map(|credit| credit * 2).collect::<Vec<i64>>());
    until("all is published", async || metric(&app, "outbox_pending").await == "0").await;
    assert_eq!(metric(&app, "publishing_blocked").await, "0");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_declared_where_others_do() {
    let amqp = fresh_vhost();
    let queue = Queue::open(&amqp).await;
    let app = TestApp::with(Backend::Sqlite, &[("AMQP_URL", &amqp), ("TALLYHOOK_BROKER__DECLARE", "false")]).await;
    app.receive(&deposit(1, "confirmed")).await;
    until("it alarms", async || metric(&app, "publishing_blocked").await == "1").await;
    assert_eq!(cursor(&app).await.position, 0);
    queue.declare_exchange().await;
    queue.declare_plain().await;
    assert_eq!(sequences(&queue.take(1).await), [1]);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_under_load_costs_neither_answers_nor_events_nor_order() {
    let rabbit = OwnRabbit::start().await;
    let app = TestApp::with(Backend::Postgres, &[("AMQP_URL", &rabbit.url)]).await;
    let send = async |ids: std::ops::Range<u64>| {
        for id in ids {
            assert_eq!(app.receive(&deposit(id, "confirmed")).await, StatusCode::OK, "callback {id}");
        }
    };
    send(1..100).await;
    until_credited_survives_a_crash(&rabbit.dir).await;
    tokio::join!(rabbit.stop_immediate(), send(100..300));
    send(300..400).await;
    tokio::join!(rabbit.start_again(), send(400..500));
    send(500..600).await;
    until("all is published", async || metric(&app, "outbox_pending").await == "0").await;

    let queue = Queue::open(&rabbit.url).await;
    let mut seen = HashSet::new();
    let mut firsts = queue.take_all().await;
    firsts.retain(|message| seen.insert(message.delivery.properties.message_id().clone()));
    assert_eq!(sequences(&firsts), (1..600).collect::<Vec<i64>>(), "each event, in journal order");
    assert_ne!(metric(&app, "broker_reconnects_total").await, "0");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_one_publishes() {
    let amqp = fresh_vhost();
    let app = TestApp::with(Backend::Postgres, &[("AMQP_URL", &amqp)]).await;
    let other = launch(&app.url, &[("AMQP_URL", &amqp)]).await;
    let first = app.public.clone();
    let second = format!("http://{}", other.public.expect("it takes callbacks"));
    for id in 1..=200 {
        let public = if id % 2 == 0 { &first } else { &second };
        assert_eq!(receive_at(&app, public, &deposit(id, "confirmed")).await, StatusCode::OK);
    }
    let queue = Queue::open(&amqp).await;
    assert_eq!(sequences(&queue.take(200).await), (1..=200).collect::<Vec<i64>>(), "each once, in order");
    let connected = [metric(&app, "broker_connected").await, other.app.metrics.broker_connected.get().to_string()];
    assert_eq!(connected.iter().filter(|up| *up == "1").count(), 1, "only the lease's holder connects");
    other.app.stop.cancel();
    assert_eq!(other.until_stopped().await.expect("it stops in order"), 0);
    assert_eq!(app.receive(&deposit(201, "confirmed")).await, StatusCode::OK);
    assert_eq!(sequences(&queue.take(1).await), [201], "the other goes on");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_a_dead_replica_is_taken_over_when_it_ends() {
    let amqp = fresh_vhost();
    let app = TestApp::start(Backend::Postgres).await;
    assert_eq!(app.receive(&deposit(1, "confirmed")).await, StatusCode::OK);
    let db = Db::lazy(&app.url, 1).await.expect("a database");
    let begun = std::time::Instant::now();
    let lease = cursor::take_lease(&db, cursor::RABBITMQ, "a replica that died", 2_000_000).await;
    assert_eq!(lease.expect("the database answers"), Some(0));
    let other = launch(&app.url, &[("AMQP_URL", &amqp)]).await;
    until("it is published", async || cursor(&app).await.position == 1).await;
    assert!(begun.elapsed() >= Duration::from_millis(1_800), "the lease was taken before its end");
    let moved = cursor::advance(&db, cursor::RABBITMQ, "a replica that died", 1, 2_000_000).await;
    assert!(!moved.expect("the database answers"), "the dead one may no longer move the cursor");
    other.app.stop.cancel();
    assert_eq!(other.until_stopped().await.expect("it stops in order"), 0);
    assert_eq!(cursor(&app).await.owner, "", "a graceful stop gives the lease back");
    app.finish().await;
}

struct Queue {
    channel: Channel,
    connection: Connection,
}

impl Queue {
    async fn open(amqp: &str) -> Self {
        let connection = Connection::connect(amqp, ConnectionProperties::default()).await.expect("RabbitMQ answers");
        Self { channel: connection.create_channel().await.expect("a channel"), connection }
    }

    async fn get(&self, queue: &str) -> Option<BasicGetMessage> {
        self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.expect("the queue is there")
    }

    /// Exactly so many messages, and none beyond.
    async fn take(&self, count: usize) -> Vec<BasicGetMessage> {
        let mut messages = Vec::new();
        let begun = std::time::Instant::now();
        while messages.len() < count {
            assert!(begun.elapsed() < PATIENCE, "{} of {count} messages came", messages.len());
            if self.passive(CREDITED).await.is_some() {
                messages.extend(self.take_all().await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(messages.len(), count);
        messages
    }

    async fn take_all(&self) -> Vec<BasicGetMessage> {
        let mut messages = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(message) = self.channel.basic_get(CREDITED.into(), options).await.expect("the queue is there") {
            messages.push(message);
        }
        messages
    }

    async fn length(&self, queue: &str) -> u32 {
        self.passive(queue).await.unwrap_or(0)
    }

    /// The messages in a queue. Asking for one that is not there closes the channel, so on a channel of its own.
    async fn passive(&self, queue: &str) -> Option<u32> {
        let channel = self.connection.create_channel().await.expect("a channel");
        let options = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(queue.into(), options, FieldTable::default()).await.ok()?;
        Some(found.message_count())
    }

    async fn declare_exchange(&self) {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared =
            self.channel.exchange_declare(EVENTS.into(), lapin::ExchangeKind::Topic, options, FieldTable::default());
        declared.await.expect("an exchange");
    }

    /// The queue as an operator might make it in a hurry.
    async fn declare_plain(&self) {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(CREDITED.into(), options, FieldTable::default()).await.expect("a queue");
        let bound = self.channel.queue_bind(
            CREDITED.into(),
            EVENTS.into(),
            "*.credited.*".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.expect("a binding");
    }
}

fn headers(message: &BasicGetMessage) -> BTreeMap<String, String> {
    let table = message.delivery.properties.headers().as_ref().expect("headers");
    // What a quorum queue adds is a number.
    let text = |value: &AMQPValue| value.as_long_string().map_or_else(|| format!("{value:?}"), ToString::to_string);
    table.inner().iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn sequences(messages: &[BasicGetMessage]) -> Vec<i64> {
    messages
        .iter()
        .map(|message| headers(message).get("sequence").expect("a header").parse().expect("a number"))
        .collect()
}

fn deposit(id: u64, status: &str) -> String {
    json!({
        "id": id, "type": "deposit", "end_user_reference": "ada",
        "crypto_address": {"id": 31, "currency": "BTC", "address": "bc1-of-tests", "tag": null, "foreign_id": "player-1"},
        "currency_sent": {"currency": "BTC", "amount": "0.50000000"},
        "currency_received": {"currency": "BTC", "amount": "0.50000000", "amount_minus_fee": "0.50000000"},
        "transactions": [{"id": 41, "currency": "BTC", "transaction_type": "blockchain", "type": "deposit",
            "address": "bc1-of-tests", "tag": null, "amount": "0.50000000", "txid": format!("tx-{id}"),
            "riskscore": "0.1", "confirmations": "3"}],
        "fees": [], "error": "", "status": status,
    })
    .to_string()
}

async fn receive_at(app: &TestApp, public: &str, body: &str) -> StatusCode {
    let signature = tallyhook::processor::signature::sign(&crate::support::SECRET.into(), body.as_bytes());
    let request = app.client.post(format!("{public}/callbacks/alphapo"));
    let request = request.header("X-Processing-Key", "key-main").header("X-Processing-Signature", signature);
    request.body(body.to_owned()).send().await.expect("the receiver answers").status()
}

async fn feed_bytes(app: &TestApp) -> String {
    let request = app.client.get(format!("{}/api/events", app.admin)).bearer_auth(OPERATOR);
    request.send().await.expect("the admin side answers").text().await.expect("text")
}

async fn cursor(app: &TestApp) -> cursor::CursorState {
    let db = &app.running.as_ref().expect("it runs").app.db;
    cursor::state(db, cursor::RABBITMQ).await.expect("the database answers")
}

/// A sample of `/metrics`.
async fn metric(app: &TestApp, name: &str) -> String {
    let page = app.client.get(format!("{}/metrics", app.admin)).send().await.expect("the admin side answers");
    let page = page.text().await.expect("text");
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("tallyhook_{name} ")));
    line.unwrap_or_else(|| panic!("there is no tallyhook_{name}")).to_owned()
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let begun = std::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
