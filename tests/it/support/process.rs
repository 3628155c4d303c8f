//! Tallyhook as its users run it: the binary, its environment, two ports and a folder of its own. Ends what it
//! started, by its id, and removes the folder; knows nothing about callbacks.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{OPERATOR, SECRET, client, fresh_folder};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_tallyhook");
pub(crate) const KEY: &str = "key-main";
/// Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(20);
/// Characters of a log that a failed test shows.
const LOG_SHOWN: usize = 4_000;

/// Asks again and again until there is an answer, and fails with what was waited for when there is none in time.
pub(crate) async fn eventually<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("within {limit:?} this did not happen: {what}");
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The same settings for every verb: one merchant `main`, one operator's token, no broker unless set.
#[derive(Clone)]
pub(crate) struct Deployment {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) client: reqwest::Client,
    folder: Arc<Folder>,
    env: BTreeMap<String, String>,
}

impl Deployment {
    /// On a database that exists.
    pub(crate) fn on(database: &str) -> Self {
        let folder = Arc::new(Folder(fresh_folder()));
        let mut env = BTreeMap::new();
        let mut set = |name: &str, value: &str| env.insert(name.to_owned(), value.to_owned());
        set("DATABASE_URL", database);
        set("TALLYHOOK_RECONCILE__SETTLE_S", "0");
        set("TALLYHOOK_MERCHANTS__MAIN__KEY", KEY);
        set("TALLYHOOK_MERCHANTS__MAIN__SECRET", SECRET);
        set("TALLYHOOK_TOKENS__OPS__SECRET", OPERATOR);
        set("TALLYHOOK_TOKENS__OPS__ROLE", "operator");
        let unset = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { public: unset, admin: unset, client: client(), folder, env }.elsewhere()
    }

    /// On a `SQLite` file in its own folder.
    pub(crate) fn on_sqlite() -> Self {
        let one = Self::on("");
        let file = one.folder().join("ledger.db");
        one.set("DATABASE_URL", &format!("sqlite://{}?mode=rwc", file.display()))
    }

    /// Another replica of the same deployment: only its ports differ.
    pub(crate) fn replica(&self) -> Self {
        self.clone().elsewhere()
    }

    fn elsewhere(mut self) -> Self {
        (self.public, self.admin) = (free_address(), free_address());
        let (public, admin) = (self.public.to_string(), self.admin.to_string());
        self.set("TALLYHOOK_LISTEN", &public).set("TALLYHOOK_ADMIN_LISTEN", &admin)
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn unset(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    pub(crate) fn setting(&self, name: &str) -> &str {
        self.env.get(name).expect("a setting of this deployment")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// The binary with arguments, in this deployment's folder and with nothing of the tests' environment but what
    /// every program needs.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments);
        self.dress(&mut command);
        command
    }

    /// Gives any command this deployment's environment and folder.
    pub(crate) fn dress(&self, command: &mut Command) {
        command.current_dir(self.folder()).env_clear().envs(&self.env).stdin(Stdio::null());
        for name in ["PATH", "HOME", "TMPDIR"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
    }

    /// Runs a verb to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&mut self.command(arguments))
    }

    pub(crate) fn migrated(self) -> Self {
        let ended = self.run(&["migrate", "up"]);
        assert_eq!(ended.code, Some(0), "migrate up: {}", ended.stderr);
        self
    }

    /// `serve`, ready.
    pub(crate) async fn serve(&self) -> Server {
        let mut server = self.spawn();
        server.until_ready().await;
        server
    }

    /// `serve`, without waiting for anything.
    pub(crate) fn spawn(&self) -> Server {
        self.spawn_as(self.command(&["serve"]))
    }

    /// What the given command becomes, with its output in this deployment's log.
    pub(crate) fn spawn_as(&self, mut command: Command) -> Server {
        let log = self.folder().join(format!("{}.log", self.public.port()));
        let file = std::fs::File::options().create(true).append(true).open(&log).expect("a log file");
        command.stdout(file.try_clone().expect("a second handle")).stderr(file);
        let child = command.spawn().expect("the binary starts");
        Server { deployment: self.clone(), child, log }
    }

    /// `ledger verify` finds nothing.
    pub(crate) fn assert_ledger_verifies(&self) {
        let ended = self.run(&["ledger", "verify"]);
        assert_eq!(ended.code, Some(0), "ledger verify: {}{}", ended.stdout, ended.stderr);
    }

    /// A route of the public listener: status and text. `None` when nobody answers.
    pub(crate) async fn public(&self, path: &str) -> Option<(u16, String)> {
        let request = self.client.get(format!("http://{}{path}", self.public)).timeout(PATIENCE);
        answer(request).await
    }

    /// A route of the admin listener: status and text. `None` when nobody answers.
    pub(crate) async fn admin(&self, path: &str) -> Option<(u16, String)> {
        let request = self.client.get(format!("http://{}{path}", self.admin)).timeout(PATIENCE);
        answer(request.bearer_auth(OPERATOR)).await
    }

    /// What a route of the admin API says.
    pub(crate) async fn api(&self, path: &str) -> Value {
        let (status, text) = self.admin(path).await.expect("the admin listener answers");
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).expect("the admin API speaks JSON")
    }

    /// A number of `/metrics`, without the prefix of its name.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let (status, page) = self.admin("/metrics").await.expect("the admin listener answers");
        assert_eq!(status, 200, "{page}");
        let line = page.lines().find_map(|line| line.strip_prefix("tallyhook_")?.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no whole number {name} in\n{page}"))
    }

    /// Waits until the broker has confirmed everything.
    pub(crate) async fn until_published(&self) {
        eventually("nothing waits to be published", Duration::from_secs(60), async || {
            let outbox = self.api("/api/outbox").await;
            (outbox.get("pending") == Some(&0.into())).then_some(())
        })
        .await;
    }
}

/// What a command that ended said.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("the command starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }
}

/// A running process; dropped, it is killed.
pub(crate) struct Server {
    pub(crate) deployment: Deployment,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Waits until `/readyz` answers 200.
    pub(crate) async fn until_ready(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                panic!("{}\nThe process ended ({status}) instead of becoming ready.", self.log());
            }
            if self.deployment.public("/readyz").await.is_some_and(|(status, _)| status == 200) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{}\nNot ready within {PATIENCE:?}. Its threads:\n{}", self.log(), self.threads());
    }

    /// What each of its threads waits for, as the kernel knows it.
    fn threads(&self) -> String {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default().trim().replace('\n', " < ");
        tasks
            .map(|task| ["comm", "wchan", "syscall", "stack"].map(|name| read(task.path().join(name))).join(" | "))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// As the kernel ends a process: no time for anything.
    pub(crate) fn kill9(mut self) {
        assert!(self.is_running(), "it was to be killed, and had already ended:\n{}", self.log());
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child can be asked").is_none()
    }

    /// Sends a signal such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(sent.expect("there is a shell").success(), "SIG{name} can be sent");
    }

    /// Asks it to stop, and answers its exit code.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        self.until_ended(PATIENCE).await
    }

    /// Waits for its end, and answers its exit code.
    pub(crate) async fn until_ended(&mut self, limit: Duration) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                return status.code();
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("it did not end within {limit:?}:\n{}", self.log());
    }

    /// All that processes of this deployment printed so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Server {
    #[expect(clippy::print_stderr, reason = "the runner shows it when the test fails")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let start = log.char_indices().rev().nth(LOG_SHOWN).map_or(0, |(at, _)| at);
            eprintln!("The last lines of its log:\n{}", log.get(start..).unwrap_or_default());
        }
        // Both fail only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Below the range of outgoing connections: while a server is down, nobody's client takes its port.
pub(crate) fn free_address() -> SocketAddr {
    (0..200)
        .map(|_| SocketAddr::from(([127, 0, 0, 1], rand::random_range(10_000..32_000))))
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("one of 200 ports is free")
}

async fn answer(request: reqwest::RequestBuilder) -> Option<(u16, String)> {
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.text().await.ok()?))
}
