//! A broker that confirms too late, but confirms: what it has is published, once, and publishing goes on.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use tallyhook::store::cursor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::resolution::deposit;
use crate::support::process::eventually;
use crate::support::queue::{CREDITED, drain};
use crate::support::servers::fresh_vhost;
use crate::support::{Backend, TestApp};

const PATIENCE: Duration = Duration::from_secs(40);
/// Longer than the publisher waits for a confirm (10 s), less than it then waits for what is under way (3 s more).
const LATE: Duration = Duration::from_millis(11_200);

/// Between the publisher and RabbitMQ: what RabbitMQ says can be kept back.
struct Proxy {
    url: String,
    /// Bytes that the publisher has sent.
    sent: watch::Receiver<usize>,
    is_mute: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    async fn before(amqp: &str) -> Self {
        let (before, rest) = amqp.rsplit_once('@').map_or(("amqp://", amqp), |(user, rest)| (user, rest));
        let (host, path) = rest.split_once('/').expect("a URL with a virtual host");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("{before}@{}/{path}", listener.local_addr().expect("an address"));
        let (is_mute, mute) = watch::channel(false);
        let (counter, sent) = watch::channel(0_usize);
        let (host, counter) = (host.to_owned(), Arc::new(counter));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut pipes = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&host).await.expect("RabbitMQ accepts connections");
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                let ((_, never), count) = (watch::channel(false), Arc::clone(&counter));
                pipes.spawn(pipe(from_client, to_server, never, move |read| {
                    count.send_modify(|all| *all = all.saturating_add(read));
                }));
                pipes.spawn(pipe(from_server, to_client, mute.clone(), |_| {}));
            }
        });
        Self { url, sent, is_mute, _tasks: tasks }
    }
}

async fn pipe(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut is_mute: watch::Receiver<bool>,
    told: impl Fn(usize),
) {
    let mut chunk = [0; 16_384];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        // Whoever may silence it is there as long as the test is; a pipe that nobody may silence has no sender.
        drop(is_mute.wait_for(|is_mute| !is_mute).await.map(|_| ()));
        if to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
        told(read);
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
