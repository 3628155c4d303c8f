//! The PostgreSQL and RabbitMQ of a run: private ones through `tests/servers.sh`, or those named on
//! the command line. Each row gets a database and a virtual host of its own, dropped afterwards.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection};

use crate::{broker, procfs};

pub(crate) struct Servers {
    /// The folder of private servers.
    owned: Option<(PathBuf, PathBuf)>,
    /// Without a database's name.
    postgres: String,
    /// Without a virtual host, unless it was given with one.
    amqp: String,
    admin: DatabaseConnection,
    pub(crate) postgres_pid: Option<u32>,
    pub(crate) beam_pid: Option<u32>,
}

/// Stops private servers, also when starting them fails halfway.
struct Stop<'a>(Option<(&'a Path, &'a Path)>);

impl Servers {
    pub(crate) async fn start(script: &Path, dir: &Path) -> Result<Self> {
        let mut undo = Stop(Some((script, dir)));
        let (program, folder) = (script.to_owned(), dir.to_owned());
        let started =
            tokio::task::spawn_blocking(move || run(&program, &["start".as_ref(), folder.as_os_str()])).await?;
        let printed = started?;
        let value = |name: &str| {
            let line = printed
                .lines()
                .find_map(|line| line.trim_start_matches("export ").strip_prefix(name)?.strip_prefix('='));
            line.map(|text| text.replace(['\\', '\''], ""))
                .with_context(|| format!("tests/servers.sh did not print {name}"))
        };
        let (postgres, amqp) = (value("TALLYHOOK_TEST_POSTGRES")?, value("TALLYHOOK_TEST_AMQP")?);
        let servers = Self::connect(postgres, amqp, Some((script.to_owned(), dir.to_owned()))).await?;
        undo.0 = None;
        servers.fill_log().await?;
        Ok(servers)
    }

    /// Servers that are already there. The broker's virtual host is emptied for each row.
    pub(crate) async fn given(postgres: &str, amqp: &str) -> Result<Self> {
        Self::connect(postgres.trim_end_matches('/').to_owned(), amqp.to_owned(), None).await
    }

    async fn connect(postgres: String, amqp: String, owned: Option<(PathBuf, PathBuf)>) -> Result<Self> {
        for url in [&postgres, &amqp] {
            ensure!(url.contains("@127.0.0.1:"), "the benchmark uses servers on 127.0.0.1 only");
        }
        let mut options = ConnectOptions::new(format!("{postgres}/postgres"));
        options.max_connections(1).sqlx_logging(false).connect_timeout(Duration::from_secs(10));
        let admin = Database::connect(options).await.context("connecting to PostgreSQL")?;
        let pid = |url: &str| procfs::listener(url.split("@127.0.0.1:").nth(1)?.split('/').next()?.parse().ok()?);
        let (postgres_pid, beam_pid) = (pid(&postgres), pid(&amqp));
        Ok(Self { owned, postgres, amqp, admin, postgres_pid, beam_pid })
    }

    /// A new, empty database, after a checkpoint: no row pays for the pages of the one before it.
    pub(crate) async fn new_database(&self, name: &str) -> Result<String> {
        self.sql(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        self.sql(&format!("CREATE DATABASE {name}")).await?;
        self.sql("CHECKPOINT").await?;
        Ok(format!("{}/{name}", self.postgres))
    }

    pub(crate) async fn drop_database(&self, name: &str) -> Result<()> {
        self.sql(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
    }

    pub(crate) async fn checkpoint(&self) -> Result<()> {
        self.sql("CHECKPOINT").await
    }

    /// Files for a gigabyte of log, as a server has that has run for a while: a new one makes each of them, 16 MB of
    /// zeros and a flush, while commits wait.
    async fn fill_log(&self) -> Result<()> {
        let megabyte = "pg_logical_emit_message(false, 'bench', repeat('x', 1000000))";
        self.sql(&format!("SELECT count({megabyte}) FROM generate_series(1, 1000)")).await?;
        self.checkpoint().await
    }

    async fn sql(&self, text: &str) -> Result<()> {
        self.admin.execute_unprepared(text).await.with_context(|| format!("running {text}"))?;
        Ok(())
    }

    /// The URL of an empty virtual host.
    pub(crate) async fn new_vhost(&self, name: &str) -> Result<String> {
        let Some((script, dir)) = self.owned.clone() else {
            broker::empty(&self.amqp).await?;
            return Ok(self.amqp.clone());
        };
        let vhost = name.to_owned();
        tokio::task::spawn_blocking(move || run(&script, &["rabbit-vhost".as_ref(), dir.as_os_str(), vhost.as_ref()]))
            .await??;
        Ok(format!("{}/{name}", self.amqp))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(Stop(self.owned.as_ref().map(|(script, dir)| (script.as_path(), dir.as_path()))));
    }
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        if let Some((script, dir)) = self.0 {
            // The data is thrown away with the folder: no need to write it out first.
            run(script, &["stop".as_ref(), dir.as_os_str(), "--immediate".as_ref()]).ok();
        }
    }
}

fn run(script: &Path, args: &[&std::ffi::OsStr]) -> Result<String> {
    let mut command = Command::new(script);
    // RabbitMQ as its package starts it.
    command.args(args).env("TALLYHOOK_TEST_RABBIT_ERL_ARGS", "").stdin(Stdio::null());
    let output = command.output().with_context(|| format!("running {}", script.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} {args:?} failed: {said}", script.display());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
