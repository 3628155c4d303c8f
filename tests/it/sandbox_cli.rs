//! The sandbox as a program: every example of its page works as it is printed, beside a Tallyhook that receives.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::process::{Deployment, Ended, eventually, free_address};
use crate::support::{OPERATOR, SECRET};

const PATIENCE: Duration = Duration::from_secs(120);
const PAGE: &str = include_str!("../../docs/sandbox.md");

/// The commands of the page, each with what it should say.
fn examples() -> Vec<(&'static str, Value)> {
    let mut examples = Vec::new();
    for block in PAGE.split("```sh\n").skip(1) {
        let (command, rest) = block.split_once("\n```").expect("a block ends");
        let (_, answer) = rest.split_once("```json\n").expect("an answer follows");
        let (answer, _) = answer.split_once("\n```").expect("a block ends");
        examples.push((command, serde_json::from_str(answer).expect("an answer in JSON")));
    }
    examples
}

/// Whether everything that is expected is there; more may be.
fn holds(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            expected.iter().all(|(name, value)| actual.get(name).is_some_and(|actual| holds(value, actual)))
        }
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len() && expected.iter().zip(actual).all(|(one, other)| holds(one, other))
        }
        _ => expected == actual,
    }
}

async fn is_up(address: SocketAddr) -> bool {
    tokio::net::TcpStream::connect(address).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_sandboxs_page_works_as_printed() {
    let deployment = Deployment::on_sqlite().migrated();
    let server = deployment.serve().await;
    let address = free_address();
    let callbacks = format!("http://{}/callbacks/alphapo", deployment.public);
    let (listen, key) = (address.to_string(), "key-main");
    let arguments = ["--listen", &listen, "--callback-url", &callbacks, "--key", key, "--secret", SECRET];
    let more = ["--balance", "BTC=10", "--withdrawal-limit", "5000"];
    let sandbox = deployment.spawn_as(deployment.command(&[&["sandbox"], &arguments[..], &more].concat()));
    eventually("the sandbox listens", PATIENCE, async || is_up(address).await.then_some(())).await;

    let binary = Path::new(env!("CARGO_BIN_EXE_tallyhook")).parent().expect("a folder").display().to_string();
    let path = format!("{binary}:{}", std::env::var("PATH").expect("a path"));
    let examples = examples();
    assert!(examples.len() >= 10, "{}", examples.len());
    for (command, expected) in examples {
        let command = command.replace("127.0.0.1:8090", &listen).replace("sandbox-key", key);
        let command = command.replace("secret-of-the-sandbox", SECRET);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(&command).env("PATH", &path).current_dir(deployment.folder());
        let ended = tokio::task::spawn_blocking(move || Ended::of(&mut shell)).await.expect("a shell");
        let last = ended.stdout.lines().last().unwrap_or_default();
        let actual: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{command}\n{}", ended.stdout));
        assert!(holds(&expected, &actual), "{command}\nexpected {expected}\nactual {actual}");
    }

    let (status, balances) = deployment.admin("/api/balances?customer=user-1").await.expect("an answer");
    assert!(status == 200 && balances.contains(r#""balance":"0.5""#), "{OPERATOR} {balances}");
    for (path, wanted) in [("control/nothing", 404), ("control/deposits", 404), ("control/operations/x", 404)] {
        let answer = deployment.client.get(format!("http://{listen}/{path}")).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), wanted, "{path}");
    }
    let client = &deployment.client;
    for (path, body) in [
        ("faults", r#"{"duplicate":101}"#),
        ("faults", r#"{"colour":1}"#),
        ("faults", "[]"),
        ("faults", "{"),
        ("scenarios", r#"{"deposit":"purple"}"#),
        ("deposits", r#"{"address":"nowhere","amount":"1"}"#),
        ("deposits", r#"{"amount":"1"}"#),
        ("time", r#"{"advance_s":-1}"#),
        ("balances", r#"{"currency":"XYZ","balance":"1"}"#),
    ] {
        let answer = client.post(format!("http://{listen}/control/{path}")).body(body).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 400, "{path} {body}");
    }
    assert_eq!(sandbox.terminate().await, Some(0));
    assert_eq!(server.terminate().await, Some(0));
}

#[test]
fn a_sandbox_refuses_what_it_does_not_understand() {
    let deployment = Deployment::on_sqlite();
    for wrong in [
        &["--callback-url", "ftp://example.test"][..],
        &["--fault", "purple=1"],
        &["--fault", "duplicate=101"],
        &["--scenario", "deposit=purple"],
        &["--balance", "XYZ=1"],
        &["--balance", "BTC=1e3"],
        &["--withdrawal-limit", "much"],
        &["--secret", "alone-without-a-key"],
    ] {
        let ended = deployment.run(&[&["sandbox", "--listen", "127.0.0.1:0"], wrong].concat());
        assert_eq!(ended.code, Some(2), "{wrong:?} {}", ended.stderr);
    }
}
