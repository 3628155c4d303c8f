//! A processor of the tests: a small HTTP server that remembers what it was sent, byte for byte, and answers as it is
//! told, or not at all. It checks no signature: tests look at what it saw.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub method: String,
    pub path: String,
    /// With their spelling.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What it does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Json(u16, String),
    /// Status, content type, body.
    Other(u16, &'static str, String),
    /// The other one, milliseconds later.
    Late(u64, Box<Reply>),
    /// The connection stays open, and nothing comes.
    Hang,
    /// The connection is closed at once.
    Break,
    /// A head that promises more than comes.
    Half,
}

pub(crate) struct Upstream {
    /// With the prefix that the processor's paths have.
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/api/v2", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (all, answer) = (Arc::clone(&seen), Arc::new(answer));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&all), Arc::clone(&answer)));
            }
        });
        Self { url, seen, _tasks: tasks }
    }

    /// The same answer to everything.
    pub(crate) async fn always(reply: Reply) -> Self {
        Self::start(move |_| reply.clone()).await
    }

    /// Requests to a path below the prefix.
    pub(crate) fn seen_at(&self, path: &str) -> Vec<Seen> {
        let path = format!("/api/v2{path}");
        self.seen().into_iter().filter(|seen| seen.path == path).collect()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test panics while it holds this").clone()
    }
}

async fn serve<F>(mut stream: TcpStream, all: Arc<Mutex<Vec<Seen>>>, answer: Arc<F>)
where
    F: Fn(&Seen) -> Reply,
{
    let mut rest = Vec::new();
    while let Some(seen) = read(&mut stream, &mut rest).await {
        all.lock().expect("no test panics while it holds this").push(seen.clone());
        let mut reply = answer(&seen);
        if let Reply::Late(pause_ms, later) = reply {
            tokio::time::sleep(std::time::Duration::from_millis(pause_ms)).await;
            reply = *later;
        }
        let (status, kind, body) = match reply {
            Reply::Json(status, body) => (status, "application/json", body),
            Reply::Other(status, kind, body) => (status, kind, body),
            Reply::Late(..) | Reply::Hang => std::future::pending().await,
            Reply::Break => return,
            Reply::Half => {
                let half =
                    b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{\"data\"";
                drop(stream.write_all(half).await);
                return;
            }
        };
        let head = format!("HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// One request; `None` when the connection ends.
async fn read(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Option<Seen> {
    let head = loop {
        if let Some(at) = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break rest.drain(..at.saturating_add(4)).collect::<Vec<_>>();
        }
        fill(stream, rest).await?;
    };
    let head = String::from_utf8(head).expect("a head of text");
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut seen = Seen { method, path, headers: lines.filter_map(pair).collect(), body: Vec::new() };
    let length: usize = seen.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    while rest.len() < length {
        fill(stream, rest).await?;
    }
    seen.body = rest.drain(..length).collect();
    Some(seen)
}

async fn fill(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 4096];
    let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
    rest.extend_from_slice(&chunk[..read]);
    Some(())
}
