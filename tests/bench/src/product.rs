//! Tallyhook as a subprocess: its settings, its verbs, its running server. Uses only what any user
//! has: the binary, the environment, the two listeners.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::child::{Child, free_address};
use crate::http;
use crate::merchants::{Merchant, random_hex};

const READY: Duration = Duration::from_secs(60);

/// One deployment: the same settings for every verb.
#[derive(Clone)]
pub(crate) struct Deployment {
    binary: PathBuf,
    /// Its working directory, where its log also goes.
    dir: PathBuf,
    environment: Vec<(String, String)>,
    public: SocketAddr,
    admin: SocketAddr,
    token: String,
}

/// A running `tallyhook serve`.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) token: String,
}

impl Deployment {
    pub(crate) fn new(binary: &Path, dir: &Path, database: &str, amqp: &str, merchants: &[Merchant]) -> Result<Self> {
        ensure!(
            binary.is_file(),
            "{} is not there: build it (cargo build --release) or name it with --tallyhook",
            binary.display()
        );
        std::fs::create_dir_all(dir)?;
        let (public, admin, token) = (free_address()?, free_address()?, random_hex(24)?);
        let mut environment = vec![
            ("DATABASE_URL".to_owned(), database.to_owned()),
            ("AMQP_URL".to_owned(), amqp.to_owned()),
            ("TALLYHOOK_LISTEN".to_owned(), public.to_string()),
            ("TALLYHOOK_ADMIN_LISTEN".to_owned(), admin.to_string()),
            ("TALLYHOOK_TOKENS__BENCH__SECRET".to_owned(), token.clone()),
            ("TALLYHOOK_TOKENS__BENCH__ROLE".to_owned(), "operator".to_owned()),
        ];
        for merchant in merchants {
            let name = merchant.name.to_uppercase();
            environment.push((format!("TALLYHOOK_MERCHANTS__{name}__KEY"), merchant.key.clone()));
            environment.push((format!("TALLYHOOK_MERCHANTS__{name}__SECRET"), merchant.secret.clone()));
        }
        Ok(Self { binary: binary.to_owned(), dir: dir.to_owned(), environment, public, admin, token })
    }

    /// The same deployment with one more setting.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same deployment with a broker.
    pub(crate) fn with_broker(&self, amqp: &str) -> Self {
        let mut other = self.clone();
        for (name, value) in &mut other.environment {
            if name == "AMQP_URL" {
                amqp.clone_into(value);
            }
        }
        other
    }

    fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(verb).current_dir(&self.dir).env_clear();
        for name in ["PATH", "HOME", "TMPDIR"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a verb to its end.
    pub(crate) async fn run(&self, verb: &[&str]) -> Result<Output> {
        let mut command = self.command(verb);
        let said = format!("tallyhook {}", verb.join(" "));
        let done = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output()).await?;
        done.with_context(|| format!("running {said}"))
    }

    pub(crate) async fn migrate(&self) -> Result<()> {
        let output = self.run(&["migrate", "up"]).await?;
        ensure!(output.status.success(), "tallyhook migrate up failed:\n{}", said(&output));
        Ok(())
    }

    pub(crate) async fn serve(&self) -> Result<Server> {
        let mut server = self.exec()?;
        server.child.wait_ready(self.public, "/readyz", READY).await?;
        Ok(server)
    }

    /// Starts a verb, with its output in a file.
    pub(crate) fn start(&self, verb: &[&str], name: &str) -> Result<Child> {
        Child::start(self.command(verb), name, &self.dir.join(format!("{name}.log")))
    }

    /// Starts it without waiting for anything.
    pub(crate) fn exec(&self) -> Result<Server> {
        let child = Child::start(self.command(&["serve"]), "tallyhook serve", &self.dir.join("serve.log"))?;
        Ok(Server { child, public: self.public, admin: self.admin, token: self.token.clone() })
    }
}

impl Server {
    /// Events not yet confirmed by the broker, as its metrics say.
    pub(crate) async fn pending(&self) -> Result<u64> {
        let (status, body) = http::get(self.admin, "/metrics", &self.token).await.context("asking for /metrics")?;
        ensure!(status == 200, "/metrics answered {status}");
        let text = String::from_utf8_lossy(&body);
        let line = text.lines().find(|line| line.starts_with("tallyhook_outbox_pending"));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        let value = value.context("/metrics has no tallyhook_outbox_pending")?;
        ensure!(value >= 0.0, "tallyhook_outbox_pending is {value}");
        // Whole and never near 2^53.
        format!("{value:.0}").parse().context("tallyhook_outbox_pending is no number")
    }

    /// Waits until everything is published; returns how long it took.
    pub(crate) async fn wait_published(&mut self, limit: Duration) -> Result<Duration> {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            self.child.check()?;
            if self.pending().await? == 0 {
                return Ok(begun.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{} events were still waiting after {limit:?}", self.pending().await?)
    }

    pub(crate) async fn stop(self) -> Result<ExitStatus> {
        self.child.stop().await
    }
}

pub(crate) fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let tail = text.len().saturating_sub(2000);
    String::from_utf8_lossy(text.get(tail..).unwrap_or_default()).into_owned()
}
