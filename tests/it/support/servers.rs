//! The servers of the tests: a database or a virtual host of its own on the servers that
//! `tests/run.sh` started, or a whole server to stop and start at will.
//!
//! Never skips: a test that needs a server and finds none fails and says what to do.

use std::{
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The shared PostgreSQL, as its superuser and without a database's name.
pub(crate) fn postgres_url() -> String {
    variable("TALLYHOOK_TEST_POSTGRES", "PostgreSQL")
}

/// The shared RabbitMQ, as guest and without a virtual host.
pub(crate) fn amqp_url() -> String {
    variable("TALLYHOOK_TEST_AMQP", "RabbitMQ")
}

/// Makes an empty database on the shared PostgreSQL and answers its URL.
pub(crate) async fn fresh_database() -> String {
    fresh_database_on(&postgres_url()).await
}

/// Makes an empty virtual host on the shared RabbitMQ and answers its URL.
pub(crate) fn fresh_vhost() -> String {
    let name = unique("vhost");
    servers("rabbit-vhost", &shared_folder(), &[&name]);
    format!("{}/{name}", amqp_url())
}

/// A PostgreSQL of the test's own, for being crashed. Its `url` has no database's name.
pub(crate) struct OwnPostgres {
    pub(crate) dir: PathBuf,
    pub(crate) url: String,
}

impl OwnPostgres {
    pub(crate) async fn start() -> Self {
        let dir = own_folder("postgres");
        begin("postgres-start", &dir, &[]).await;
        let url = url_in(&dir.join("postgres"));
        Self { dir, url }
    }

    /// Makes an empty database and answers its URL.
    pub(crate) async fn fresh_database(&self) -> String {
        fresh_database_on(&self.url).await
    }

    /// As in a crash: no checkpoint, connections cut. Done when the server is gone.
    pub(crate) async fn stop_immediate(&self) {
        begin("postgres-stop", &self.dir, &["--immediate"]).await;
    }

    /// On the same port with the same data. Done when it accepts connections.
    pub(crate) async fn start_again(&self) {
        begin("postgres-start", &self.dir, &[]).await;
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        end("postgres-stop", &self.dir);
    }
}

/// A RabbitMQ of the test's own, for being killed. Its `url` means the virtual host `/`.
pub(crate) struct OwnRabbit {
    pub(crate) dir: PathBuf,
    pub(crate) url: String,
}

impl OwnRabbit {
    pub(crate) async fn start() -> Self {
        let dir = own_folder("rabbit");
        begin("rabbit-start", &dir, &[]).await;
        let url = url_in(&dir.join("rabbit"));
        Self { dir, url }
    }

    /// `kill -9`. Done when the broker is gone.
    pub(crate) async fn stop_immediate(&self) {
        begin("rabbit-stop", &self.dir, &["--immediate"]).await;
    }

    /// On the same port with the same data. Done when it accepts connections.
    pub(crate) async fn start_again(&self) {
        begin("rabbit-start", &self.dir, &[]).await;
    }
}

impl Drop for OwnRabbit {
    fn drop(&mut self) {
        end("rabbit-stop", &self.dir);
    }
}

async fn fresh_database_on(server: &str) -> String {
    let name = unique("test");
    let mut connection =
        PgConnection::connect(&format!("{server}/postgres")).await.expect("the tests' PostgreSQL accepts connections");
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut connection)
        .await
        .expect("a database with a new name can be made");
    connection.close().await.expect("the connection closes cleanly");
    format!("{server}/{name}")
}

fn variable(name: &str, server: &str) -> String {
    let value = std::env::var_os(name).and_then(|value| value.into_string().ok());
    value.unwrap_or_else(|| {
        panic!(
            "{server} for the tests is missing ({name} is not set): run tests/run.sh, \
             or `eval \"$(tests/servers.sh start DIR)\"` and then the tests"
        )
    })
}

/// Of this run's servers, removed when it ends.
pub(crate) fn shared_folder() -> PathBuf {
    PathBuf::from(variable("TALLYHOOK_TEST_RABBIT_HOME", "RabbitMQ"))
}

/// Inside the shared servers' folder, so that stopping those also stops what a killed test left.
fn own_folder(kind: &str) -> PathBuf {
    shared_folder().join("own").join(unique(kind))
}

/// A name nobody else uses: tests run as processes of their own, side by side.
fn unique(kind: &str) -> String {
    static NAMES: AtomicU32 = AtomicU32::new(0);
    let number = NAMES.fetch_add(1, Ordering::Relaxed);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_nanos();
    format!("{kind}_{}_{number}_{nanos}", process::id())
}

fn url_in(folder: &Path) -> String {
    let url = std::fs::read_to_string(folder.join("url")).expect("a started server has its URL");
    url.trim().to_owned()
}

/// The script waits for the server, so it waits on a thread that is not the test's.
async fn begin(verb: &'static str, dir: &Path, more: &'static [&'static str]) {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || servers(verb, &dir, more)).await.expect("the servers' script succeeds");
}

/// Runs `tests/servers.sh VERB DIR MORE…` and panics with what it says when it fails.
fn servers(verb: &str, dir: &Path, more: &[&str]) {
    if let Err(trouble) = try_servers(verb, dir, more) {
        panic!("{trouble}");
    }
}

/// A drop that panics while the test already panics would hide the test's own words.
fn end(verb: &str, dir: &Path) {
    match try_servers(verb, dir, &["--immediate"]) {
        Ok(()) => drop(std::fs::remove_dir_all(dir)),
        Err(trouble) => assert!(std::thread::panicking(), "{trouble}"),
    }
}

fn try_servers(verb: &str, dir: &Path, more: &[&str]) -> Result<(), String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers.sh");
    let output = Command::new(&script)
        .arg(verb)
        .arg(dir)
        .args(more)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{} can't be run: {e}", script.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("tests/servers.sh {verb} failed ({}): {}", output.status, said.trim()))
}
