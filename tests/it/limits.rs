//! The receiver's limits, met over a bare socket: too slow, too large, too many, unsigned. The signature decides, and
//! nothing is guessed from content types or encodings.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::SECRET;
use crate::support::books::{assert_credited_once, feed};
use crate::support::deposits::{Deposit, signature};
use crate::support::process::{Deployment, KEY, eventually};
use crate::support::sender::send;

const BODY_BYTES: usize = 4_096;
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// What it would be without the setting.
const HEAD_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// The server's clock ticks twice a second, so its limit may strike that much earlier.
const TICK: Duration = Duration::from_millis(500);
const BODY_TIMEOUT: Duration = Duration::from_millis(500);
/// Beyond a limit, until the answer must be there on a busy machine: less than a limit is without its setting.
const SLACK: Duration = Duration::from_secs(9);
const PATIENCE: Duration = Duration::from_secs(120);
/// Less than the second after which a client's kernel tries again.
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
const BURST: usize = 600;
const PREVIOUS: &str = "the-secret-before-this-one";

/// Small limits, on a fresh file.
fn small() -> Deployment {
    Deployment::on_sqlite()
        .set("TALLYHOOK_LIMITS__BODY_BYTES", &BODY_BYTES.to_string())
        .set("TALLYHOOK_LIMITS__HEAD_TIMEOUT_MS", &HEAD_TIMEOUT.as_millis().to_string())
        .set("TALLYHOOK_LIMITS__BODY_TIMEOUT_MS", &BODY_TIMEOUT.as_millis().to_string())
        .migrated()
}

/// The head of a signed request, with further header lines.
fn head(body: &[u8], more: &str) -> String {
    format!(
        "POST /callbacks/alphapo HTTP/1.1\r\nHost: tests\r\nX-Processing-Key: {KEY}\r\nX-Processing-Signature: {}\r\n\
         {more}\r\n",
        signature(body)
    )
}

/// Sends bytes and reads until the other side closes, however it does.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    // A refusal may come, and the connection close, before everything is sent.
    drop(stream.write_all(bytes).await);
    read_all(&mut stream).await
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        match timeout(SLACK, stream.read(&mut buffer)).await.expect("the connection is ended in time") {
            Ok(0) | Err(_) => return String::from_utf8_lossy(&answer).into_owned(),
            Ok(count) => answer.extend(buffer.iter().take(count)),
        }
    }
}

fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

async fn states(deployment: &Deployment) -> Vec<(String, String)> {
    let page = deployment.api("/api/callbacks").await;
    let text = |row: &Value, field| row.get(field).and_then(Value::as_str).unwrap_or("-").to_owned();
    let rows = page.get("data").and_then(Value::as_array).expect("a list");
    rows.iter().map(|row| (text(row, "state"), text(row, "reason"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_is_cut_off() {
    let deployment = small();
    let server = deployment.serve().await;
    let mut stream = TcpStream::connect(deployment.public).await.expect("a connection");
    let begun = Instant::now();
    let head = "POST /callbacks/alphapo HTTP/1.1\r\nHost: tests\r\nX-Slow: ".to_owned() + &"x".repeat(4_000);
    let mut ended = None;
    for byte in head.as_bytes().chunks(1) {
        // A byte at a time, each well within any time-out that starts anew with every byte.
        let mut buffer = [0; 1_024];
        if stream.write_all(byte).await.is_err() {
            ended = Some(String::new());
            break;
        }
        if let Ok(read) = timeout(Duration::from_millis(20), stream.read(&mut buffer)).await {
            ended = Some(String::from_utf8_lossy(&buffer[..read.unwrap_or(0)]).into_owned());
            break;
        }
        assert!(begun.elapsed() < HEAD_TIMEOUT_DEFAULT, "a head may drip on");
    }
    let answer = ended.expect("it was cut off");
    assert!(answer.is_empty() || status(&answer) == Some(408), "{answer}");
    assert!(begun.elapsed().saturating_add(TICK) >= HEAD_TIMEOUT, "cut off after {:?}", begun.elapsed());
    assert_eq!(deployment.public("/livez").await.map(|(status, _)| status), Some(200), "others are served");
    assert_eq!(server.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_is_answered_408() {
    let deployment = small();
    let server = deployment.serve().await;
    let body = Deposit { number: 1 }.confirmed();
    let head = head(body.as_bytes(), &format!("Content-Length: {}\r\n", body.len()));
    let mut stream = TcpStream::connect(deployment.public).await.expect("a connection");
    let begun = Instant::now();
    stream.write_all(head.as_bytes()).await.expect("the head is sent");
    stream.write_all(&body.as_bytes()[..100]).await.expect("some of the body is sent");
    let mut buffer = [0; 1_024];
    let read = timeout(SLACK, stream.read(&mut buffer)).await.expect("it is answered in time").expect("an answer");
    let answer = String::from_utf8_lossy(&buffer[..read]);
    assert_eq!(status(&answer), Some(408), "{answer}");
    assert!(begun.elapsed() >= BODY_TIMEOUT, "answered after {:?}", begun.elapsed());
    assert_eq!(states(&deployment).await, [], "half a body is nothing");
    assert_eq!(deployment.metric("callbacks_rejected_total{reason=\"too_slow\"}").await, 1);
    assert_eq!(server.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_answered_413_with_and_without_its_length() {
    let deployment = small();
    let server = deployment.serve().await;
    let padded = |length: usize| {
        let body = Deposit { number: 1 }.confirmed();
        let (start, end) = (body.trim_end_matches('}').to_owned(), "\"}");
        let start = start + ",\"padding\":\"";
        let padding = "x".repeat(length.checked_sub(start.len()).and_then(|room| room.checked_sub(2)).expect("room"));
        start + &padding + end
    };
    let (fits, over) = (padded(BODY_BYTES), padded(BODY_BYTES.wrapping_add(1)));
    let announced = |body: &str| {
        let length = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
        head(body.as_bytes(), &length) + body
    };
    let chunked = |body: &str| {
        let (one, two) = body.split_at(body.len() / 2);
        let chunk = |part: &str| format!("{:x}\r\n{part}\r\n", part.len());
        let start = head(body.as_bytes(), "Transfer-Encoding: chunked\r\nConnection: close\r\n");
        start + &chunk(one) + &chunk(two) + "0\r\n\r\n"
    };
    for request in [announced(&over), chunked(&over)] {
        let answer = exchange(deployment.public, request.as_bytes()).await;
        assert_eq!(status(&answer), Some(413), "{answer}");
    }
    assert_eq!(states(&deployment).await, [], "a refused body is not kept");
    for request in [announced(&fits), chunked(&fits)] {
        let answer = exchange(deployment.public, request.as_bytes()).await;
        assert_eq!(status(&answer), Some(200), "exactly the limit is fine: {answer}");
    }
    assert_eq!(states(&deployment).await.len(), 1, "sent in either way, it is one callback");
    // A length that nobody has is refused before anything is read or reserved.
    let huge = head(b"", "Content-Length: 99999999999\r\nConnection: close\r\n");
    let answer = exchange(deployment.public, huge.as_bytes()).await;
    assert_eq!(status(&answer), Some(413), "{answer}");
    assert_eq!(server.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_is_taken_as_it_is_and_never_unpacked() {
    let deployment = Deployment::on_sqlite().migrated();
    let server = deployment.serve().await;
    let shell = |script: &str| Command::new("sh").args(["-c", script]).output().expect("there is a shell").stdout;
    let bomb = shell("head -c 20000000 /dev/zero | gzip -9");
    assert!((1_000..60_000).contains(&bomb.len()), "gzip made {} bytes", bomb.len());
    let url = format!("http://{}/callbacks/alphapo", deployment.public);
    let post = async |signature: String, body: Vec<u8>| {
        let request = deployment.client.post(&url).header("X-Processing-Key", KEY).header("Content-Encoding", "gzip");
        let request = request.header("X-Processing-Signature", signature).body(body);
        request.send().await.expect("an answer").status().as_u16()
    };
    let plain = Deposit { number: 1 }.confirmed();
    let packed = shell(&format!("printf %s '{plain}' | gzip -9"));
    assert_eq!(post(signature(plain.as_bytes()), packed.clone()).await, 401, "the signature is over the bytes sent");
    assert_eq!(states(&deployment).await, []);
    for body in [packed, bomb] {
        assert_eq!(post(signature(&body), body.clone()).await, 200, "signed bytes are kept");
    }
    let held = ("held".to_owned(), "unreadable".to_owned());
    assert_eq!(states(&deployment).await, [held.clone(), held], "and looked at by a person");
    assert_eq!(server.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_content_type_loses_money_and_no_other_method_takes_it() {
    let deployment = Deployment::on_sqlite().migrated();
    let server = deployment.serve().await;
    let types = [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data"),
        Some("application/json; charset=utf-16"),
        Some("nonsense"),
    ];
    let mut sent = Vec::new();
    for (number, content_type) in (0..).zip(types) {
        let deposit = Deposit { number };
        let body = deposit.confirmed();
        let line = content_type.map(|kind| format!("Content-Type: {kind}\r\n")).unwrap_or_default();
        let more = format!("{line}Content-Length: {}\r\nConnection: close\r\n", body.len());
        let answer = exchange(deployment.public, (head(body.as_bytes(), &more) + &body).as_bytes()).await;
        assert_eq!(status(&answer), Some(200), "{content_type:?}: {answer}");
        sent.push(deposit);
    }
    assert_credited_once(&sent, &feed(&deployment).await);
    for method in ["GET", "PUT", "DELETE"] {
        let body = Deposit { number: 99 }.confirmed();
        let more = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
        let request = head(body.as_bytes(), &more).replacen("POST", method, 1) + &body;
        let answer = exchange(deployment.public, request.as_bytes()).await;
        assert!(matches!(status(&answer), Some(404 | 405)), "{method}: {answer}");
    }
    assert_eq!(feed(&deployment).await.len(), sent.len(), "nothing else was booked");
    assert_eq!(server.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_unsigned_request_gets_the_same_401_whatever_is_wrong() {
    let deployment = Deployment::on_sqlite().migrated();
    let server = deployment.serve().await;
    let body = Deposit { number: 1 }.confirmed();
    let (good, other) = (signature(body.as_bytes()), signature(b"other"));
    let key = |key: &str| format!("X-Processing-Key: {key}\r\n");
    let sign = |signature: &str| format!("X-Processing-Signature: {signature}\r\n");
    let mut flipped = body.clone().into_bytes();
    flipped[40] ^= 1;
    let wrong = [
        ("no headers", String::new(), body.as_bytes()),
        ("no key", sign(&good), body.as_bytes()),
        ("no signature", key(KEY), body.as_bytes()),
        ("an unknown key", key("key-nobody") + &sign(&good), body.as_bytes()),
        ("a signature of another body", key(KEY) + &sign(&other), body.as_bytes()),
        ("no hexadecimal", key(KEY) + &sign("zz"), body.as_bytes()),
        ("an empty signature", key(KEY) + &sign(""), body.as_bytes()),
        ("two keys", key(KEY) + &key(KEY) + &sign(&good), body.as_bytes()),
        ("two signatures", key(KEY) + &sign(&good) + &sign(&good), body.as_bytes()),
        ("two signatures, one wrong", key(KEY) + &sign(&other) + &sign(&good), body.as_bytes()),
        ("a flipped bit", key(KEY) + &sign(&good), flipped.as_slice()),
    ];
    let mut answers = Vec::new();
    for (what, headers, body) in &wrong {
        let start = format!("POST /callbacks/alphapo HTTP/1.1\r\nHost: tests\r\nConnection: close\r\n{headers}");
        let request = [format!("{start}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
        let answer = exchange(deployment.public, &request).await;
        assert_eq!(status(&answer), Some(401), "{what}: {answer}");
        let undated: Vec<_> = answer.lines().filter(|line| !line.to_lowercase().starts_with("date:")).collect();
        answers.push((what, undated.join("\n")));
    }
    for (what, answer) in &answers {
        assert_eq!(*answer, answers[0].1, "{what} can be told from {}", answers[0].0);
    }
    assert_eq!(states(&deployment).await, [], "nothing unsigned is kept");
    assert_eq!(send(&deployment.client, deployment.public, body.as_bytes()).await, Some((200, None)));
    assert_eq!(server.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_rotating_the_previous_secret_still_signs_and_no_other_does() {
    let rotating = Deployment::on_sqlite().migrated().set("TALLYHOOK_MERCHANTS__MAIN__PREVIOUS_SECRET", PREVIOUS);
    let rotated = rotating.clone().unset("TALLYHOOK_MERCHANTS__MAIN__PREVIOUS_SECRET");
    let body = |number| Deposit { number }.confirmed().into_bytes();
    let post = async |number, secret: &str| {
        let signature = tallyhook::processor::signature::sign(&secret.into(), &body(number));
        let request = rotating.client.post(format!("http://{}/callbacks/alphapo", rotating.public));
        let request = request.header("X-Processing-Key", KEY).header("X-Processing-Signature", signature);
        request.body(body(number)).send().await.expect("an answer").status().as_u16()
    };
    let server = rotating.serve().await;
    assert_eq!(post(1, PREVIOUS).await, 200);
    assert_eq!(post(2, SECRET).await, 200);
    assert_eq!(post(3, "a-secret-of-nobody").await, 401);
    assert_eq!(server.terminate().await, Some(0));
    rotating.assert_ledger_verifies();

    let server = rotated.serve().await;
    assert_eq!(post(4, PREVIOUS).await, 401, "the line is removed, the secret is dead");
    assert_eq!(post(4, SECRET).await, 200);
    assert_eq!(server.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_answered_503_at_once_and_loses_nothing() {
    const SENT: u64 = 6;
    let deployment =
        Deployment::on_sqlite().set("TALLYHOOK_LIMITS__QUEUE", "1").set("TALLYHOOK_LIMITS__BATCH", "1").migrated();
    let server = deployment.serve().await;
    // Somebody else writes: the booker waits for the file, and what arrives meanwhile queues up.
    let mut other = SqliteConnection::connect(deployment.setting("DATABASE_URL")).await.expect("the file opens");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("the file is locked");
    let mut requests = JoinSet::new();
    for number in 0..SENT {
        let deployment = deployment.clone();
        requests.spawn(async move {
            let deposit = Deposit { number };
            (deposit, send(&deployment.client, deployment.public, deposit.confirmed().as_bytes()).await)
        });
    }
    eventually("the queue is full", PATIENCE, async || {
        (deployment.metric("booker_queue_full_total").await >= SENT.saturating_sub(2)).then_some(())
    })
    .await;
    sqlx::query("ROLLBACK").execute(&mut other).await.expect("the file is free");
    let (mut taken, mut busy) = (Vec::new(), Vec::new());
    while let Some(request) = requests.join_next().await {
        match request.expect("a request ends") {
            (deposit, Some((200, _))) => taken.push(deposit),
            (deposit, Some((503, Some(_retry_after)))) => busy.push(deposit),
            (_, other) => panic!("neither taken nor put off: {other:?}"),
        }
    }
    assert!(!taken.is_empty() && busy.len() >= 4, "{} taken, {} put off", taken.len(), busy.len());
    assert_credited_once(&taken, &feed(&deployment).await);
    for deposit in busy {
        let again = send(&deployment.client, deployment.public, deposit.confirmed().as_bytes()).await;
        assert_eq!(again.map(|(status, _)| status), Some(200));
        taken.push(deposit);
    }
    assert_credited_once(&taken, &feed(&deployment).await);
    assert_eq!(server.terminate().await, Some(0));
}

/// A client's kernel asks again after a second when the queue is full, and a burst after an outage would wait for it.
#[test]
fn a_burst_of_connections_waits_in_line_and_none_is_sent_away() {
    let listener = tallyhook::http::bind("127.0.0.1:0", "TALLYHOOK_LISTEN").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let connect = |number| {
        std::net::TcpStream::connect_timeout(&address, CONNECT_PATIENCE)
            .unwrap_or_else(|error| panic!("connection {number} of the burst: {error}"))
    };
    // Nobody accepts them: all are waiting at the same time.
    let waiting: Vec<_> = (1..=BURST).map(connect).collect();
    assert_eq!(waiting.len(), BURST);
}
