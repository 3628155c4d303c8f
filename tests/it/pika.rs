//! A consumer that shares no code with us: Python's pika reads a credit from the contract's queue.

use std::process::Command;

use serde_json::Value;

use crate::support::books::{Event, feed};
use crate::support::deposits::Deposit;
use crate::support::process::{Deployment, Ended};
use crate::support::sender::send;
use crate::support::servers::{fresh_database, fresh_vhost};

/// Waits for one message and prints what a consumer sees of it.
const CONSUMER: &str = r#"
import json, pika, sys
connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
for method, properties, body in channel.consume("tallyhook.credited", inactivity_timeout=30):
    if method is None:
        sys.exit("no message within 30 s")
    channel.basic_ack(method.delivery_tag)
    print(json.dumps({"exchange": method.exchange, "key": method.routing_key, "body": body.decode("utf-8"),
        "id": properties.message_id, "type": properties.type, "mode": properties.delivery_mode,
        "content_type": properties.content_type, "headers": properties.headers}))
    break
channel.cancel()
connection.close()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_python_consumer_reads_the_bytes_of_the_feed() {
    let amqp = fresh_vhost();
    let deployment = Deployment::on(&fresh_database().await).set("AMQP_URL", &amqp).migrated();
    let server = deployment.serve().await;
    let deposit = Deposit { number: 3 };
    for body in [deposit.announced(), deposit.confirmed()] {
        assert!(matches!(send(&deployment.client, deployment.public, body.as_bytes()).await, Some((200, _))));
    }
    deployment.until_published().await;

    let ended =
        tokio::task::spawn_blocking(move || Ended::of(Command::new("/usr/bin/python3").args(["-c", CONSUMER, &amqp])));
    let ended = ended.await.expect("Python can be run");
    assert_eq!(ended.code, Some(0), "is python3-pika installed? {}", ended.stderr);
    let seen: Value = serde_json::from_str(&ended.stdout).expect("the script prints JSON");
    let told = feed(&deployment).await;
    let (sequence, bytes) = told.last_key_value().expect("the credit comes last");
    let event = Event::parse(bytes);
    assert_eq!(seen["body"], *bytes, "the queue has other bytes than the feed");
    assert_eq!((&seen["id"], &seen["type"]), (&event.id.as_str().into(), &"deposit.credited".into()), "{seen}");
    assert_eq!((&seen["exchange"], &seen["mode"]), (&"tallyhook.events".into(), &2.into()), "{seen}");
    assert_eq!(seen["key"], "deposit.credited.BTC", "{seen}");
    assert_eq!(seen["content_type"], "application/cloudevents+json", "{seen}");
    let headers = &seen["headers"];
    assert_eq!(headers["merchant"], "main", "{seen}");
    assert_eq!(headers["customer"], deposit.user(), "{seen}");
    assert_eq!(headers["sequence"], sequence.to_string(), "{seen}");
    let trace = headers["traceparent"].as_str().expect("a trace");
    assert!(trace.starts_with("00-") && trace.len() == 55, "{seen}");
    assert_eq!(server.terminate().await, Some(0), "it stops in order");
}
