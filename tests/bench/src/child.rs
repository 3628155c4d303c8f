//! Processes and folders that must not outlive the run: ended and removed when dropped, whatever
//! the reason. Ends only what it started, by its id.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::http;
use crate::merchants::random_hex;

pub(crate) struct Child {
    inner: std::process::Child,
    name: String,
    log: PathBuf,
}

impl Child {
    /// Starts it with its output in a file.
    pub(crate) fn start(mut command: Command, name: &str, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let program = command.get_program().to_owned();
        let inner = command.spawn().with_context(|| format!("starting {} as {name}", program.display()))?;
        Ok(Self { inner, name: name.to_owned(), log: log.to_owned() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.inner.id()
    }

    /// An error with the last lines of its log if it is no longer there.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.inner.try_wait()? {
            bail!("{} ended by itself ({status}). Its last lines:\n{}", self.name, self.last_lines());
        }
        Ok(())
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.inner.try_wait()?)
    }

    pub(crate) fn last_lines(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let tail = text.len().saturating_sub(2000);
        String::from_utf8_lossy(text.get(tail..).unwrap_or_default()).into_owned()
    }

    /// Waits until it answers 200.
    pub(crate) async fn wait_ready(&mut self, address: SocketAddr, path: &str, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            self.check()?;
            if let Ok((200, _)) = http::get(address, path, "").await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{} did not answer 200 on {path} within {limit:?}. Its last lines:\n{}", self.name, self.last_lines())
    }

    /// SIGTERM, and SIGKILL when it takes too long.
    pub(crate) async fn stop(mut self) -> Result<ExitStatus> {
        let asked = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status();
        asked.context("running kill")?;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(40) {
            if let Some(status) = self.inner.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("{} did not stop within 40 s of SIGTERM. Its last lines:\n{}", self.name, self.last_lines())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only when it has ended already, which is what is wanted.
        self.inner.kill().ok();
        self.inner.wait().ok();
    }
}

/// A folder of the run's own, removed at the end.
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
}

impl Scratch {
    /// Directly under the system's temporary folder, where the user `postgres` may enter.
    pub(crate) fn make() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("tallyhook-bench-{}", random_hex(6)?));
        std::fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).ok();
    }
}

/// A port nobody listens on, below the range that outgoing connections take theirs from.
pub(crate) fn free_address() -> Result<SocketAddr> {
    for _ in 0..200 {
        let number = u16::from_str_radix(&random_hex(2)?, 16)?;
        let address = SocketAddr::from(([127, 0, 0, 1], 10_000 + number % 22_000));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port between 10000 and 32000 on 127.0.0.1")
}
