//! A broker that answers too late: what it confirms then is published, once; what it still owes is never taken for the
//! answer to something else; and publishing goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use tallyhook::broker::Broker;
use tallyhook::cli::serve::Part;
use tallyhook::store::cursor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::resolution::deposit;
use crate::support::process::eventually;
use crate::support::queue::{CREDITED, declare_credited, delete_credited, drain};
use crate::support::servers::fresh_vhost;
use crate::support::{Backend, TestApp, launch, settings};

const PATIENCE: Duration = Duration::from_secs(120);
/// Longer than the publisher waits for a confirm (10 s), less than it then waits for what is under way (3 s more).
const LATE: Duration = Duration::from_millis(11_200);

/// What RabbitMQ says of a message that no queue takes.
const RETURNED: &[u8] = b"NO_ROUTE";

/// Between the publisher and RabbitMQ: what RabbitMQ says can be kept back.
struct Proxy {
    url: String,
    /// Bytes that the publisher has sent.
    sent: watch::Receiver<usize>,
    is_mute: Arc<watch::Sender<bool>>,
    /// It falls silent by itself after the first message that comes back.
    is_armed: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    async fn before(amqp: &str) -> Self {
        let (before, rest) = amqp.rsplit_once('@').map_or(("amqp://", amqp), |(user, rest)| (user, rest));
        let (host, path) = rest.split_once('/').expect("a URL with a virtual host");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("{before}@{}/{path}", listener.local_addr().expect("an address"));
        let (is_mute, mute) = watch::channel(false);
        let (is_mute, is_armed) = (Arc::new(is_mute), Arc::new(AtomicBool::new(false)));
        let muzzle = (Arc::clone(&is_mute), Arc::clone(&is_armed));
        let (counter, sent) = watch::channel(0_usize);
        let (host, counter) = (host.to_owned(), Arc::new(counter));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut pipes = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&host).await.expect("RabbitMQ accepts connections");
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                let ((_, never), count) = (watch::channel(false), Arc::clone(&counter));
                pipes.spawn(pipe(from_client, to_server, never, move |chunk| {
                    count.send_modify(|all| *all = all.saturating_add(chunk.len()));
                }));
                let (is_mute, is_armed) = muzzle.clone();
                pipes.spawn(pipe(from_server, to_client, mute.clone(), move |chunk| {
                    let is_returned = chunk.windows(RETURNED.len()).any(|window| window == RETURNED);
                    if is_returned && is_armed.swap(false, Ordering::SeqCst) {
                        is_mute.send_replace(true);
                    }
                }));
            }
        });
        Self { url, sent, is_mute, is_armed, _tasks: tasks }
    }
}

async fn pipe(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut is_mute: watch::Receiver<bool>,
    told: impl Fn(&[u8]),
) {
    let mut chunk = [0; 16_384];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        // Whoever may silence it is there as long as the test is; a pipe that nobody may silence has no sender.
        drop(is_mute.wait_for(|is_mute| !is_mute).await.map(|_| ()));
        if to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
        told(&chunk[..read]);
    }
}

async fn is_at(app: &TestApp, position: i64) {
    let db = &app.running.as_ref().expect("it runs").app.db;
    eventually(&format!("the cursor is at {position}"), PATIENCE, async || {
        let state = cursor::state(db, cursor::RABBITMQ).await.expect("the database answers");
        (state.position == position).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_confirmed_late_is_published_once_and_publishing_goes_on() {
    let amqp = fresh_vhost();
    let mut proxy = Proxy::before(&amqp).await;
    let app = TestApp::with(Backend::Postgres, &[("AMQP_URL", &proxy.url)]).await;
    let send = async |number: u32| {
        let body = deposit(7_600_000_u32.saturating_add(number), Some("ada"), "0.1", &format!("tx-{number}"));
        assert_eq!(app.receive(&body).await, StatusCode::OK);
    };
    send(1).await;
    is_at(&app, 1).await;
    proxy.is_mute.send(true).expect("the proxy is there");
    proxy.sent.mark_unchanged();
    send(2).await;
    proxy.sent.changed().await.expect("the event goes out");
    tokio::time::sleep(LATE).await;
    proxy.is_mute.send(false).expect("the proxy is there");
    is_at(&app, 2).await;
    send(3).await;
    is_at(&app, 3).await;
    let sequences: Vec<_> = drain(&amqp, CREDITED).await.iter().map(|message| message.sequence).collect();
    assert_eq!(sequences, [1, 2, 3], "none is lost, and none comes twice");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_owes_answers_is_given_up_though_a_message_came_back_first() {
    const ALL: u32 = 60;
    let app = TestApp::start_as(Backend::Postgres, Part::Receive).await;
    let amqp = fresh_vhost();
    for id in 1..=ALL {
        let body = deposit(7_700_000_u32.saturating_add(id), Some("ada"), "0.1", &format!("tx-{id}"));
        assert_eq!(app.receive(&body).await, StatusCode::OK);
    }
    let settings = settings(&app.url, &[("AMQP_URL", &amqp)]).broker;
    let broker = Broker::connect(&settings, 0).await.expect("RabbitMQ answers");
    broker.declare(&settings).await.expect("it takes the topology");
    broker.close().await;
    delete_credited(&amqp).await;
    let proxy = Proxy::before(&amqp).await;
    proxy.is_armed.store(true, Ordering::SeqCst);
    let more = [("AMQP_URL", proxy.url.as_str()), ("TALLYHOOK_BROKER__DECLARE", "false")];
    let publishing = launch(&app.url, &more).await;
    let metrics = Arc::clone(&publishing.app.metrics);
    let is_mute = async || proxy.is_mute.borrow().then_some(());
    eventually("the first comes back, and nothing after it", PATIENCE, is_mute).await;
    let is_counted = async || (metrics.events_returned.get() > 0).then_some(());
    eventually("what came back is known", PATIENCE, is_counted).await;
    // At once: not only when what is sent next has no answer either, which takes 10 s more.
    let is_given_up = async || (metrics.broker_connected.get() == 0).then_some(());
    eventually("the connection is given up", Duration::from_secs(8), is_given_up).await;
    declare_credited(&amqp).await;
    proxy.is_mute.send_replace(false);
    is_at(&app, i64::from(ALL)).await;
    let mut sequences: Vec<_> = drain(&amqp, CREDITED).await.iter().map(|message| message.sequence).collect();
    assert!(sequences.is_sorted(), "in order: {sequences:?}");
    sequences.dedup();
    assert_eq!(sequences, (1..=u64::from(ALL)).collect::<Vec<_>>(), "each at least once");
    publishing.app.stop.cancel();
    assert_eq!(publishing.until_stopped().await.expect("it stops in order"), 0);
    app.finish().await;
}
