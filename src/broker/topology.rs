//! The exchanges and queues that are a contract, and how they are made.
//!
//! Dead letters are handed over at least once: by default `RabbitMQ` sends them without a confirm, and a credited
//! event that a consumer failed on too often could vanish between the two queues. The price is that the source queue
//! keeps a dead letter until the other has it, and that `at-least-once` demands the overflow policy `reject-publish`
//! (which without a length limit never rejects). It needs `RabbitMQ` 3.10, the oldest that we test.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};
use tracing::warn;

/// Where every event is sent.
pub const EVENTS: &str = "tallyhook.events";
/// What consumers of credits read.
pub const CREDITED: &str = "tallyhook.credited";
/// Where events go that were delivered too often.
pub const DLX: &str = "tallyhook.dlx";
/// Where they wait for a person.
pub const DEAD: &str = "tallyhook.dead";

enum Part {
    Exchange(&'static str),
    Queue(&'static str, FieldTable),
    Binding { queue: &'static str, exchange: &'static str, key: &'static str },
}

/// Declares everything. What exists with other properties is used as it is: the operator's choice stands, and
/// mandatory publishing notices when nothing takes a credit.
pub(super) async fn declare(connection: &Connection, delivery_limit: u32) -> Result<(), (String, lapin::Error)> {
    let no_channel = |error| ("a channel".to_owned(), error);
    let mut channel = connection.create_channel().await.map_err(no_channel)?;
    for part in parts(delivery_limit) {
        match part.declare(&channel).await {
            Ok(()) => {}
            // The refusal has closed the channel.
            Err(error) if differs(&error) => {
                warn!("RabbitMQ has {} with other properties than ours; it is used as it is", part.name());
                channel = connection.create_channel().await.map_err(no_channel)?;
            }
            Err(error) => return Err((part.name(), error)),
        }
    }
    // The channel may be closed already; either way it is no longer needed.
    drop(channel.close(200, "done".into()).await);
    Ok(())
}

fn parts(delivery_limit: u32) -> [Part; 6] {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let arguments = |pairs: &[(&str, AMQPValue)]| {
        let mut table = FieldTable::default();
        table.insert("x-queue-type".into(), text("quorum"));
        for (name, value) in pairs {
            table.insert((*name).into(), value.clone());
        }
        table
    };
    let credited = arguments(&[
        ("x-delivery-limit", AMQPValue::LongLongInt(delivery_limit.into())),
        ("x-dead-letter-exchange", text(DLX)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ]);
    [
        Part::Exchange(EVENTS),
        Part::Exchange(DLX),
        Part::Queue(DEAD, arguments(&[])),
        Part::Binding { queue: DEAD, exchange: DLX, key: "#" },
        Part::Queue(CREDITED, credited),
        Part::Binding { queue: CREDITED, exchange: EVENTS, key: "*.credited.*" },
    ]
}

impl Part {
    fn name(&self) -> String {
        match self {
            Self::Exchange(name) => format!("the exchange {name}"),
            Self::Queue(name, _) => format!("the queue {name}"),
            Self::Binding { queue, exchange, key } => format!("the binding of {queue} to {exchange} by {key}"),
        }
    }

    async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        match self {
            Self::Exchange(name) => {
                let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
                channel.exchange_declare((*name).into(), ExchangeKind::Topic, options, FieldTable::default()).await
            }
            Self::Queue(name, arguments) => {
                let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
                channel.queue_declare((*name).into(), options, arguments.clone()).await.map(drop)
            }
            Self::Binding { queue, exchange, key } => {
                let options = QueueBindOptions::default();
                channel
                    .queue_bind((*queue).into(), (*exchange).into(), (*key).into(), options, FieldTable::default())
                    .await
            }
        }
    }
}

fn differs(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(refusal) = error.kind() else { return false };
    *refusal.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED)
}
