//! Claims about the admin API under requests that nobody would send: `schemathesis` makes them from the description, and
//! holds every answer against it.

use std::path::Path;
use std::process::Command;

use crate::support::OPERATOR;
use crate::support::process::{Deployment, Ended};

/// What an answer must be: no fault of ours, and described, with its status, its type and its shape.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// `tests/run.sh` installs it. A stream has no end, so it is left out.
fn fuzz(one: &Deployment) -> Ended {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/schemathesis/bin/schemathesis");
    assert!(program.exists(), "{} is missing: tests/run.sh installs it", program.display());
    let mut command = Command::new(program);
    command.arg("run").arg(format!("http://{}/openapi.json", one.admin));
    command.args(["--url", &format!("http://{}", one.admin), "-H", &format!("Authorization: Bearer {OPERATOR}")]);
    command.args(["--include-tag", "admin", "--exclude-path", "/api/events/stream", "--checks", CHECKS]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "15", "--no-shrink"]);
    command.args(["--suppress-health-check", "all", "--warnings", "off", "--request-timeout", "90", "--no-color"]);
    one.dress(&mut command);
    Ended::of(&mut command)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_gets_an_answer_that_is_not_described() {
    let one = Deployment::on_sqlite().migrated();
    let server = one.serve().await;
    let bodies = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).expect("the bodies");
    let bodies: Vec<_> = bodies.map(|body| body.expect("a body").path().display().to_string()).collect();
    let url = format!("http://{}", one.public);
    let mut send = vec!["send", "--url", &url, "--merchant", "main"];
    send.extend(bodies.iter().map(String::as_str).filter(|path| path.ends_with(".json")));
    let sent = one.run(&send);
    assert_eq!(sent.code, Some(0), "{}{}", sent.stdout, sent.stderr);
    let fuzzed = fuzz(&one);
    assert_eq!(fuzzed.code, Some(0), "{}{}", fuzzed.stdout, fuzzed.stderr);
    assert!(fuzzed.stdout.contains("Fuzzing (in"), "it has sent something: {}", fuzzed.stdout);
    assert_eq!(server.terminate().await, Some(0), "it stops in good order");
    one.assert_ledger_verifies();
}
