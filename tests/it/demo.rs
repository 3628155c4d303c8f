//! The newcomer's first command: what `demo` prints works as it is printed, and nothing stays behind.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::process::{Deployment, Ended, Server, eventually};

const SECONDS: &str = "24";
const COPIES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(120);
const FOLDER_PREFIX: &str = "tallyhook-demo-";

/// A demo whose temporary folder is in the deployment's.
fn start(deployment: &Deployment, more: &[&str]) -> Server {
    let (public, admin) = (format!("listen={}", deployment.public), format!("admin_listen={}", deployment.admin));
    let mut command = deployment.command(&[&["demo", "--set", &public, "--set", &admin], more].concat());
    command.env("TMPDIR", deployment.folder());
    deployment.spawn_as(command)
}

/// The command that follows a line of the introduction, with its continuation lines.
fn printed(introduction: &str, heading: &str) -> Option<String> {
    let (_, rest) = introduction.split_once(heading)?;
    let (_, rest) = rest.split_once('\n')?;
    let (command, _) = rest.split_once("\n\n").or_else(|| rest.split_once("'\n"))?;
    Some(command.to_owned())
}

async fn introduction(server: &Server) -> String {
    let last = "Send a deposit yourself";
    eventually("the demo introduces itself", PATIENCE, async || {
        let log = server.log();
        (log.contains(last) && log.contains("-d '") && log.ends_with("\n")).then_some(log)
    })
    .await
}

async fn run(command: &str) -> Ended {
    let command = command.to_owned();
    let ended = tokio::task::spawn_blocking(move || Ended::of(Command::new("sh").arg("-c").arg(command)));
    ended.await.expect("a shell can be run")
}

fn demo_folders(parent: &Path) -> usize {
    let entries = std::fs::read_dir(parent).expect("the folder can be read").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(FOLDER_PREFIX)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_curl_credits_once_however_often_it_is_run() {
    let deployment = Deployment::on_sqlite();
    let mut server = start(&deployment, &["--seconds", SECONDS]);
    let introduction = introduction(&server).await;
    for address in [deployment.public, deployment.admin] {
        assert!(introduction.contains(&format!("http://{address}/")), "{introduction}");
    }
    let curl = printed(&introduction, "Send a deposit yourself").expect("a command to send a deposit");
    for ended in join_all((0..COPIES).map(|_| run(&curl))).await {
        assert!(ended.stdout.contains("200 OK"), "{curl}\n{}{}", ended.stdout, ended.stderr);
    }
    let forged = run(&curl.replace("0.0125", "9.0125")).await;
    assert!(forged.stdout.contains(" 401 "), "another amount is another body: {}", forged.stdout);

    let look = printed(&introduction, "Look at the balances").expect("a command to look at the balances");
    let balances = run(look.lines().next().expect("one line")).await.stdout;
    let balances: Value = serde_json::from_str(&balances).expect("the balances are JSON");
    let yours: Vec<_> =
        balances["data"].as_array().expect("a list").iter().filter(|row| row["customer"] == "you").collect();
    assert_eq!(yours.len(), 1, "{balances}");
    assert_eq!(yours[0]["balance"], "0.0125", "{balances}");
    assert_eq!(demo_folders(deployment.folder()), 1, "everything is in one folder");

    assert_eq!(server.until_ended(PATIENCE).await, Some(0), "{}", server.log());
    assert_eq!(demo_folders(deployment.folder()), 0, "the folder is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_demo_removes_its_folder_too() {
    let deployment = Deployment::on_sqlite();
    let mut server = start(&deployment, &["--rate", "50"]);
    introduction(&server).await;
    assert_eq!(demo_folders(deployment.folder()), 1);
    server.signal("INT");
    assert_eq!(server.until_ended(PATIENCE).await, Some(0), "{}", server.log());
    assert_eq!(demo_folders(deployment.folder()), 0, "the folder is gone");
}
