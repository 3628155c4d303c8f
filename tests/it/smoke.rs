//! The benchmark's short run: some hundred callbacks on SQLite, each of them checked.

use std::path::Path;
use std::process::Command;

#[test]
fn the_benchmark_checks_every_callback_of_a_short_run() {
    let tallyhook = Path::new(env!("CARGO_BIN_EXE_tallyhook"));
    let bench = tallyhook.with_file_name("tallyhook-bench");
    assert!(bench.exists(), "{} is missing: run tests/run.sh, or `cargo build --workspace` first", bench.display());
    let run = Command::new(bench).arg("smoke").arg("--tallyhook").arg(tallyhook).output().expect("it can be run");
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
}
