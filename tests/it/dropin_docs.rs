//! The samples of docs/dropin.md, which are AlphaPo's published requests: run with curl as they stand there, through an
//! instance whose processor is the sandbox, and answered as it is printed there.

use std::process::Command;

use serde_json::Value;

use crate::gateway_docs::samples;
use crate::support::merchant::state;
use crate::support::sandbox::{KEY, TestSandbox, options};
use crate::support::{Backend, SECRET};

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_of_the_drop_ins_page_work_as_they_stand() {
    let document = include_str!("../../docs/dropin.md");
    let (app, sandbox) = TestSandbox::beside(Backend::Sqlite, options("http://127.0.0.1:9")).await;
    let here = |script: &str| {
        let script = script.replace("http://127.0.0.1:8080", &app.public);
        script.replace("http://127.0.0.1:8090", &sandbox.sandbox.url)
    };
    let mut samples = samples(document).into_iter();
    let (call, _) = samples.next().expect("the function that signs");
    let mut answered = Vec::new();
    for (script, documented) in samples {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &here(&format!("{call}\n{script}"))]);
        command.env("KEY", KEY).env("SECRET", SECRET).env("no_proxy", "127.0.0.1");
        let output =
            tokio::task::spawn_blocking(move || command.output()).await.expect("a thread").expect("bash starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let given: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{script}: {error}: {said}"));
        if let Some(documented) = documented {
            assert_eq!(given, documented, "{script}");
            answered.push(script.split_whitespace().nth(1).unwrap_or_default().to_owned());
        }
        sandbox.until_idle().await;
    }
    let expected =
        ["/addresses/take", "/withdrawal/crypto", "/withdrawal/crypto", "/withdrawal/crypto", "/invoices/create"];
    assert_eq!(answered, expected);
    assert_eq!(state(&app, "test_foreign_id_0148").await, "settled", "once");
    app.finish().await;
}
