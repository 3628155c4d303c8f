//! Whatever is wrong at the start or while running is said in a sentence that helps, ends with the right code or is
//! survived, and loses nothing.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use sqlx::{Connection as _, SqliteConnection};
use tallyhook::app::Tasks;
use tallyhook::store::no_file;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::SECRET;
use crate::support::books::{assert_balances, assert_credited_once, credited, feed};
use crate::support::deposits::{Deposit, signature};
use crate::support::process::{BINARY, Deployment, KEY, eventually, free_address};
use crate::support::sender::send;
use crate::support::servers::fresh_database;

const PATIENCE: Duration = Duration::from_secs(120);
/// What a file may grow by beyond the empty ledger. Together less than the thousand pages of `SQLite`'s log.
const ROOM_BYTES: u64 = 1_000_000;
const DEPOSITS_MAX: u64 = 3_000;
const SENDERS: u64 = 8;

#[test]
fn all_faults_of_the_settings_are_listed_at_once() {
    let deployment = Deployment::on_sqlite()
        .set("TALLYHOOK_MERCHANTS__MAIN__SECRET", "hunter2-x")
        .set("TALLYHOOK_LISTEN", "nowhere")
        .set("TALLYHOOK_LIMITS__BATCH", "0")
        .set("TALLYHOOK_LIMITS__QEUE", "7");
    for verb in [["serve"].as_slice(), &["config", "check"], &["ledger", "verify"]] {
        let ended = deployment.run(verb);
        assert_eq!(ended.code, Some(2), "{verb:?}: {}", ended.stderr);
        let faults = format!("{}{}", ended.stdout, ended.stderr);
        for word in
            ["merchants.main.secret", "listen", "limits.batch", "TALLYHOOK_LIMITS__QEUE", "TALLYHOOK_LIMITS__QUEUE"]
        {
            assert!(faults.contains(word), "{verb:?} does not say {word}: {faults}");
        }
        assert!(!faults.contains("hunter2-x"), "{verb:?} tells a secret: {faults}");
    }
}

#[test]
fn a_command_that_does_not_exist_is_a_usage_error_and_none_is_help() {
    let deployment = Deployment::on_sqlite();
    let unknown = deployment.run(&["sevre"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("sevre") && unknown.stderr.contains("Usage: tallyhook"), "{}", unknown.stderr);
    let flag = deployment.run(&["serve", "--rolle", "all"]);
    assert_eq!(flag.code, Some(2), "{}", flag.stderr);
    let none = deployment.run(&[]);
    let help = format!("{}{}", none.stdout, none.stderr);
    assert!(["Usage: tallyhook", "serve", "demo", "migrate"].iter().all(|word| help.contains(word)), "{help}");
    let asked = deployment.run(&["--help"]);
    assert_eq!((asked.code, asked.stderr.as_str()), (Some(0), ""));
}

#[test]
fn serving_without_a_merchant_is_refused_with_what_to_do() {
    let deployment = Deployment::on_sqlite().migrated();
    let deployment = deployment.unset("TALLYHOOK_MERCHANTS__MAIN__KEY").unset("TALLYHOOK_MERCHANTS__MAIN__SECRET");
    let ended = deployment.run(&["serve"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    for word in ["TALLYHOOK_MERCHANTS__MAIN__KEY", "TALLYHOOK_MERCHANTS__MAIN__SECRET", "tallyhook demo"] {
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    }
}

#[test]
fn a_taken_port_is_named_with_its_setting() {
    let deployment = Deployment::on_sqlite().migrated();
    for (address, setting) in [(deployment.public, "TALLYHOOK_LISTEN"), (deployment.admin, "TALLYHOOK_ADMIN_LISTEN")] {
        let taken = TcpListener::bind(address).expect("a free port");
        let ended = deployment.run(&["serve"]);
        drop(taken);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        let last = ended.stderr.lines().last().unwrap_or_default();
        let says_all = last.contains(&address.to_string()) && last.contains(&format!("{setting} "));
        assert!(says_all && last.starts_with("tallyhook: "), "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_its_migrations_is_refused_and_migrate_up_named() {
    for deployment in [Deployment::on_sqlite(), Deployment::on(&fresh_database().await)] {
        for command in [&["serve"][..], &["ledger", "verify"]] {
            let refused = deployment.run(command);
            assert_eq!(refused.code, Some(1), "{}", refused.stderr);
            assert!(refused.stderr.contains("`tallyhook migrate up`"), "{}", refused.stderr);
        }
        assert_eq!(deployment.run(&["doctor"]).code, Some(4));
        assert_eq!(deployment.run(&["migrate", "status"]).code, Some(4), "a check that says no");
        let url = deployment.setting("DATABASE_URL");
        assert!(no_file(url).is_some() || url.starts_with("postgres:"), "only `migrate up` makes the file");
        let deployment = deployment.migrated();
        assert_eq!(deployment.run(&["migrate", "status"]).code, Some(0));
        assert_eq!(deployment.serve().await.terminate().await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_version_is_refused() {
    let deployment = Deployment::on_sqlite().migrated();
    let mut connection = SqliteConnection::connect(deployment.setting("DATABASE_URL")).await.expect("the file opens");
    let newer = sqlx::query("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29991231_000001_later', 0)");
    newer.execute(&mut connection).await.expect("a migration of the future");
    connection.close().await.expect("it closes");
    let refused = deployment.run(&["serve"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("newer version"), "{}", refused.stderr);
}

#[test]
fn a_database_that_never_answers_is_waited_for_as_long_as_the_settings_say() {
    let nobody = free_address();
    let deployment = Deployment::on(&format!("postgres://tallyhook:pass-of-tests@{nobody}/tallyhook"))
        .set("TALLYHOOK_DATABASE__CONNECT_TIMEOUT_S", "4");
    let begun = Instant::now();
    let ended = deployment.run(&["serve"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let waited = begun.elapsed();
    assert!((4..20).contains(&waited.as_secs()), "it gave up after {waited:?}");
    assert!(ended.stderr.contains("Waiting for the database"), "no sign of waiting: {}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("did not answer within 4 s") && last.contains("DATABASE_URL"), "{last}");
    assert!(!ended.stderr.contains("pass-of-tests"), "it tells the password: {}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_answered_503_and_loses_nothing() {
    let deployment = Deployment::on_sqlite().migrated();
    // The signal would end the process; ignored, the write fails instead, as it does on a full disk.
    let script = r#"trap '' XFSZ; ulimit -f "$1" && exec "$0" serve"#;
    let mut command = Command::new("sh");
    let files = std::fs::read_dir(deployment.folder()).expect("its folder").flatten();
    let largest = files.map(|file| file.metadata().expect("a file").len()).max().expect("the ledger's file");
    // The shell counts in blocks of 512 bytes.
    let blocks = (largest + ROOM_BYTES).div_ceil(512);
    command.args(["-c", script, BINARY, &blocks.to_string()]);
    deployment.dress(&mut command);
    let mut server = deployment.spawn_as(command);
    server.until_ready().await;

    let mut taken = Vec::new();
    let mut refused = None;
    for number in 0..DEPOSITS_MAX {
        let deposit = Deposit { number };
        match send(&deployment.client, deployment.public, deposit.confirmed().as_bytes()).await {
            Some((200, _)) => taken.push(deposit),
            Some((503, Some(_retry_after))) => {
                refused = Some(deposit);
                break;
            }
            other => panic!("a full disk was answered {other:?}:\n{}", server.log()),
        }
    }
    let refused = refused.expect("the file stopped growing");
    assert!(!taken.is_empty(), "some came before");
    assert!(server.is_running(), "{}", server.log());
    assert_eq!(deployment.public("/livez").await.map(|(status, _)| status), Some(200));
    let told = feed(&deployment).await;
    assert_credited_once(&taken, &told);
    assert_eq!(server.terminate().await, Some(0), "it still stops in order");

    let server = deployment.serve().await;
    assert_eq!(feed(&deployment).await, told, "what got a 200 is on disk");
    let again = send(&deployment.client, deployment.public, refused.confirmed().as_bytes()).await;
    assert_eq!(again.map(|(status, _)| status), Some(200), "with room again, it is taken");
    taken.push(refused);
    assert_credited_once(&taken, &feed(&deployment).await);
    assert_balances(&taken, &deployment).await;
    assert_eq!(server.terminate().await, Some(0));
    deployment.assert_ledger_verifies();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_stops_nothing() {
    let deployment = Deployment::on_sqlite().migrated();
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec "$0" serve 2>/dev/full"#, BINARY]);
    deployment.dress(&mut command);
    let mut server = deployment.spawn_as(command);
    server.until_ready().await;
    let url = format!("http://{}/callbacks/alphapo", deployment.public);
    for number in 0..5 {
        // A refusal is logged as a warning.
        let request = deployment.client.post(&url).header("X-Processing-Key", KEY).body("{}");
        assert_eq!(request.send().await.expect("an answer").status().as_u16(), 401);
        let deposit = Deposit { number };
        let answer = send(&deployment.client, deployment.public, deposit.confirmed().as_bytes()).await;
        assert_eq!(answer.map(|(status, _)| status), Some(200));
    }
    assert!(server.is_running());
    assert_eq!(server.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_task_dies_ends_with_an_error() {
    let mut tasks = Tasks::default();
    tasks.spawn("patient one", std::future::pending());
    tasks.spawn("short one", async { Ok(()) });
    let ended = tasks.until_stopped().await.expect_err("a task that ends by itself is a fault");
    assert!(format!("{ended:#}").contains("the short one stopped"), "{ended:#}");
    let mut tasks = Tasks::default();
    tasks.spawn("clumsy one", async { panic!("on purpose") });
    tasks.until_stopped().await.expect_err("so is one that panics");
}

/// Sends one deposit after the other, none twice, until nobody answers: those that got a 200, and the last.
async fn send_until_refused(deployment: Deployment, lane: u64) -> (Vec<Deposit>, Deposit) {
    let mut taken = Vec::new();
    for number in (lane..).step_by(usize::try_from(SENDERS).expect("a small number")) {
        let deposit = Deposit { number };
        match send(&deployment.client, deployment.public, deposit.confirmed().as_bytes()).await {
            Some((200, _)) => taken.push(deposit),
            None => return (taken, deposit),
            Some(other) => panic!("a process that stops answered {other:?}"),
        }
    }
    unreachable!("numbers do not end")
}

/// A request whose second half is still to come.
async fn half_sent(deployment: &Deployment, body: &str) -> (TcpStream, String) {
    let (first, second) = body.split_at(body.len() / 2);
    let head = format!(
        "POST /callbacks/alphapo HTTP/1.1\r\nHost: tests\r\nX-Processing-Key: {KEY}\r\nX-Processing-Signature: {}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        signature(body.as_bytes()),
        body.len(),
    );
    let mut stream = TcpStream::connect(deployment.public).await.expect("a connection");
    stream.write_all(format!("{head}{first}").as_bytes()).await.expect("the first half is sent");
    (stream, second.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_answers_what_is_in_flight_and_exits_0() {
    let deployment = Deployment::on(&fresh_database().await).set("TALLYHOOK_LIMITS__BODY_TIMEOUT_MS", "120000");
    let deployment = deployment.migrated();
    let mut server = deployment.serve().await;
    let slow = Deposit { number: 1_000_000 };
    let (mut stream, rest) = half_sent(&deployment, &slow.confirmed()).await;
    let mut senders = JoinSet::new();
    for lane in 0..SENDERS {
        senders.spawn(send_until_refused(deployment.clone(), lane));
    }
    eventually("the load is under way", PATIENCE, async || (feed(&deployment).await.len() > 100).then_some(())).await;
    server.signal("TERM");
    eventually("it is stopping", PATIENCE, async || server.log().contains("Stopping on SIGTERM").then_some(())).await;
    stream.write_all(rest.as_bytes()).await.expect("the second half is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "in flight when the signal came: {answer}");
    assert_eq!(server.until_ended(PATIENCE).await, Some(0), "{}", server.log());

    let (mut sent, mut unanswered) = (vec![slow], Vec::new());
    while let Some(lane) = senders.join_next().await {
        let (taken, last) = lane.expect("a sender meets nothing but 200 and the end");
        sent.extend(taken);
        unanswered.push(last);
    }
    let server = deployment.serve().await;
    let booked = credited(&feed(&deployment).await);
    let lost: BTreeSet<_> =
        sent.iter().filter(|deposit| !booked.contains(&deposit.id().to_string())).map(|d| d.id()).collect();
    assert!(lost.is_empty(), "these got a 200 and are not booked: {lost:?}");
    for deposit in unanswered {
        let answer = send(&deployment.client, deployment.public, deposit.confirmed().as_bytes()).await;
        assert_eq!(answer.map(|(status, _)| status), Some(200), "sent again, as the processor does");
        sent.push(deposit);
    }
    assert_credited_once(&sent, &feed(&deployment).await);
    assert_eq!(server.terminate().await, Some(0));
    deployment.assert_ledger_verifies();
}

/// Whoever gets an answer may stop it in good order: the signals are taken before anybody is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_right_after_the_first_answer_exits_0() {
    let deployment = Deployment::on_sqlite().migrated();
    for _ in 0..10 {
        let mut server = deployment.spawn();
        while TcpStream::connect(deployment.public).await.is_err() {
            assert!(server.is_running(), "{}", server.log());
            tokio::task::yield_now().await;
        }
        server.signal("TERM");
        assert_eq!(server.until_ended(PATIENCE).await, Some(0), "{}", server.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_does_not_hold_up_a_stop() {
    let deployment = Deployment::on_sqlite()
        .set("TALLYHOOK_LIMITS__SHUTDOWN_S", "1")
        .set("TALLYHOOK_LIMITS__BODY_TIMEOUT_MS", "120000")
        .migrated();
    let mut server = deployment.serve().await;
    let (stream, _never_sent) = half_sent(&deployment, &Deposit { number: 1 }.confirmed()).await;
    let stream_of_events = deployment
        .client
        .get(format!("http://{}/api/events/stream", deployment.admin))
        .bearer_auth(crate::support::OPERATOR)
        .send();
    let reader = stream_of_events.await.expect("a stream of events");
    server.signal("TERM");
    assert_eq!(server.until_ended(Duration::from_secs(60)).await, Some(0), "{}", server.log());
    drop((stream, reader));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_holds_a_secret_or_a_body() {
    let deployment = Deployment::on_sqlite().set("TALLYHOOK_LOG__FILTER", "trace").migrated();
    let server = deployment.serve().await;
    let deposit = Deposit { number: 1 };
    let body = deposit.confirmed();
    for body in [body.as_bytes(), b"not json"] {
        assert_eq!(send(&deployment.client, deployment.public, body).await.map(|(status, _)| status), Some(200));
    }
    let forged = deployment.client.post(format!("http://{}/callbacks/alphapo", deployment.public));
    let forged = forged.header("X-Processing-Key", KEY).header("X-Processing-Signature", signature(b"other")).body("x");
    assert_eq!(forged.send().await.expect("an answer").status().as_u16(), 401);
    feed(&deployment).await;
    let log = server.log();
    assert!(log.contains("Ready"), "{log}");
    let whole = signature(body.as_bytes());
    for told in [SECRET, crate::support::OPERATOR, &body, &whole, &signature(b"other")] {
        assert!(!log.contains(told), "the log tells {told}");
    }
    assert_eq!(server.terminate().await, Some(0));
}

/// A container's health, whatever the process does.
#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_asks_whichever_listener_there_is() {
    for role in ["all", "receive", "work"] {
        let deployment = Deployment::on_sqlite().migrated();
        assert_eq!(deployment.run(&["healthcheck"]).code, Some(1), "nobody is there");
        let server = deployment.spawn_as(deployment.command(&["serve", "--role", role]));
        eventually("it is ready", PATIENCE, async || {
            deployment.admin("/readyz").await.filter(|(status, _)| *status == 200).map(drop)
        })
        .await;
        let asked = deployment.run(&["healthcheck"]);
        assert_eq!((asked.code, asked.stdout.trim()), (Some(0), "ready"), "{role}: {}", asked.stderr);
        assert_eq!(server.terminate().await, Some(0));
    }
}
