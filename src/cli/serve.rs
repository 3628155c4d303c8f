//! `serve`: starts everything in order, and stops it in order: readiness off, HTTP drained, the last batch booked,
//! publishing stopped.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use rand::distr::{Alphanumeric, SampleString};
use secrecy::SecretString;
use tracing::info;

use super::output::{Usage, tell};
use crate::app::{App, Tasks};
use crate::config::{Role, Settings, Sources, Token};
use crate::{http, telemetry};

#[derive(clap::Args)]
pub struct Args {
    /// Which part of the work this process does
    #[arg(long, value_enum, default_value_t = Part::All)]
    pub role: Part,
    /// Address for callbacks, instead of TALLYHOOK_LISTEN
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Address for the admin side, instead of TALLYHOOK_ADMIN_LISTEN
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
}

/// What a process of a split deployment does. Every one has the admin side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Everything
    All,
    /// Takes callbacks, publishes nothing
    Receive,
    /// Publishes and retries, takes no callbacks
    Work,
}

pub async fn run(args: Args, mut sources: Sources) -> anyhow::Result<u8> {
    sources.flags.extend(args.listen.map(|address| ("listen".to_owned(), address)));
    sources.flags.extend(args.admin_listen.map(|address| ("admin_listen".to_owned(), address)));
    let settings = Settings::load(&sources)?;
    telemetry::init(&settings.log)?;
    if settings.merchants.is_empty() {
        let how = "no merchant is set, so every callback would be refused: set TALLYHOOK_MERCHANTS__MAIN__KEY and \
                   TALLYHOOK_MERCHANTS__MAIN__SECRET to your AlphaPo key and secret, or try `tallyhook demo`";
        return Err(Usage(how.to_owned()).into());
    }
    let tokens = tokens(&settings);
    let running = Running::start(settings, tokens, args.role).await?;
    running.until_stopped().await
}

/// The tokens of the settings; without any, one operator token for this run, printed once.
fn tokens(settings: &Settings) -> Vec<Token> {
    if !settings.tokens.is_empty() {
        return settings.tokens.clone();
    }
    let secret = random_secret();
    tell(&format!("No admin token is set; for this run: {secret} (role operator)"));
    vec![Token { name: "this-run".to_owned(), secret: SecretString::from(secret), role: Role::Operator }]
}

/// 190 bits from the system's generator.
pub fn random_secret() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 32)
}

/// A process at work.
pub struct Running {
    pub app: Arc<App>,
    tasks: Tasks,
    handles: Vec<actix_web::dev::ServerHandle>,
}

impl Running {
    /// Starts the parts of `part`: listeners last, so that nobody is answered before everything stands.
    pub async fn start(settings: Settings, tokens: Vec<Token>, part: Part) -> anyhow::Result<Self> {
        let mut tasks = Tasks::default();
        let app = App::start(settings, tokens, &mut tasks).await?;
        let mut handles = Vec::new();
        let admin = http::bind(&app.settings.admin_listen, "TALLYHOOK_ADMIN_LISTEN")?;
        if part != Part::Work {
            let public = http::bind(&app.settings.listen, "TALLYHOOK_LISTEN")?;
            let (server, handle) = http::server(&app, public, app.settings.limits.http_workers, http::public_routes)?;
            tasks.spawn("callback listener", async { server.await.context("listening failed") });
            handles.push(handle);
        }
        let (server, handle) = http::server(&app, admin, 1, http::admin_routes)?;
        tasks.spawn("admin listener", async { server.await.context("listening failed") });
        handles.push(handle);
        if part != Part::Receive {

        }
        let (listen, admin) = (&app.settings.listen, &app.settings.admin_listen);
        info!(listen, admin, merchants = app.settings.merchants.len(), version = env!("CARGO_PKG_VERSION"), "Ready");
        Ok(Self { app, tasks, handles })
    }

    /// Waits for a signal or for a task to die, then stops everything in order.
    pub async fn until_stopped(mut self) -> anyhow::Result<u8> {
        let ended = self.tasks.until_stopped().await;
        if let Err(error) = &ended {
            tracing::error!(error = format!("{error:#}"), "Stopping, because a part of the process died");
        }
        // Readiness goes off and waits end; requests in flight are answered; then the booker's queue runs dry.
        self.app.stop.cancel();
        futures_util::future::join_all(self.handles.iter().map(|handle| handle.stop(true))).await;
        let patience = Duration::from_secs(self.app.settings.limits.shutdown_s.saturating_add(5));
        drop(self.app);
        let drained = self.tasks.drain(patience).await;
        info!("Stopped");
        ended.and(drained).map(|()| 0)
    }
}
