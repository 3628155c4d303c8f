//! `serve`: starts everything in order, and stops it in order: readiness off, HTTP drained, the last batch booked,
//! publishing stopped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use rand::distr::{Alphanumeric, SampleString};
use secrecy::SecretString;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::output::{Usage, tell};
use crate::app::{App, Tasks};
use crate::config::{Role, Settings, Sources, Token};
use crate::store::Db;
use crate::worker::asks::Asker;
use crate::worker::checks::Checker;
use crate::worker::heart::Heart;
use crate::worker::index::Index;
use crate::worker::publish::{self, Publisher};
use crate::worker::reconcile::Reconcile;
use crate::worker::replays::Replays;
use crate::worker::resolve::Resolver;
use crate::worker::retry::Retry;
use crate::worker::sample::Sampler;
use crate::worker::watch::Watch;
use crate::worker::windows::Windows;
use crate::worker::{self};
use crate::{http, telemetry};

#[derive(clap::Args)]
pub struct Args {
    /// Which part of the work this process does
    #[arg(long, value_enum, default_value_t = Part::All)]
    pub role: Part,
    /// Address for callbacks, instead of `TALLYHOOK_LISTEN`
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Address for the admin side, instead of `TALLYHOOK_ADMIN_LISTEN`
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
    /// Where it really listens: the port is the system's choice where the settings say 0.
    pub public: Option<SocketAddr>,
    pub admin: SocketAddr,
    tasks: Tasks,
    /// Cancelled when no more callbacks come, so that the last ones are still published.
    working: CancellationToken,
    handles: Vec<actix_web::dev::ServerHandle>,
}

impl Running {
    /// Starts the parts of `part`: listeners last, so that nobody is answered before everything stands.
    pub async fn start(settings: Settings, tokens: Vec<Token>, part: Part) -> anyhow::Result<Self> {
        let mut tasks = Tasks::default();
        let app = App::start(settings, tokens, &mut tasks).await?;
        // Whoever sees an answer may stop it in good order.
        tasks.take_signals()?;
        let mut handles = Vec::new();
        let admin_listener = http::bind(&app.settings.admin_listen, "TALLYHOOK_ADMIN_LISTEN")?;
        let admin = admin_listener.local_addr()?;
        let mut public = None;
        if part != Part::Work {
            let listener = http::bind(&app.settings.listen, "TALLYHOOK_LISTEN")?;
            public = Some(listener.local_addr()?);
            let workers = app.settings.limits.http_workers;
            let (server, handle) = http::server(&app, listener, workers, http::public_routes)?;
            tasks.spawn("callback listener", async { server.await.context("listening failed") });
            handles.push(handle);
        }
        let (server, handle) = http::server(&app, admin_listener, 1, http::admin_routes)?;
        tasks.spawn("admin listener", async { server.await.context("listening failed") });
        handles.push(handle);
        let working = CancellationToken::new();
        let (sampler, stop) = (Sampler { metrics: Arc::clone(&app.metrics), clock: app.clock }, working.clone());
        tasks.spawn("sampler", async {
            let _: () = worker::run(sampler, stop).await;
            Ok(())
        });
        let (watch, stop) = (Watch { app: Arc::clone(&app) }, working.clone());
        tasks.spawn("watch", async {
            let _: () = worker::run(watch, stop).await;
            Ok(())
        });
        if part != Part::Work {
            let (heart, stop) = (Heart::new(Arc::clone(&app)), working.clone());
            tasks.spawn("clock of reception", async {
                let _: () = worker::run(heart, stop).await;
                Ok(())
            });
        }
        if part != Part::Receive {
            let (index, outbox) = (index(&app).await?, app.db.paging().await?);
            spawn_workers(&app, (index, outbox), &mut tasks, &working);
        }
        let merchants = app.settings.merchants.len();
        info!(?public, %admin, merchants, version = env!("CARGO_PKG_VERSION"), "Ready");
        Ok(Self { app, public, admin, tasks, working, handles })
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
        if tokio::time::timeout(patience, self.app.wind_up()).await.is_err() {
            tracing::warn!(
                "Stopping while calls to the processor are under way: what they leave unknown is asked about"
            );
        }
        self.working.cancel();
        drop(self.app);
        let drained = self.tasks.drain(patience).await;
        info!("Stopped");
        ended.and(drained).map(|()| 0)
    }
}

async fn index(app: &App) -> anyhow::Result<Index> {
    let (metrics, position) = (Arc::clone(&app.metrics), app.booker.position());
    Ok(Index::new(app.db.hasty().await?, metrics, position))
}

fn spawn_workers(app: &Arc<App>, (index, outbox): (Index, Db), tasks: &mut Tasks, working: &CancellationToken) {
    let (db, metrics, clock) = (app.db.clone(), Arc::clone(&app.metrics), app.clock);
    let merchants = app.merchants().map(|(id, _)| id).collect();
    let retry = Retry { db: db.clone(), booker: app.booker.clone(), merchants, clock };
    let stop = working.clone();
    tasks.spawn("retry worker", async {
        let _: () = worker::run(retry, stop).await;
        Ok(())
    });
    let stop = working.clone();
    tasks.spawn("index worker", async {
        let _: () = worker::run(index, stop).await;
        Ok(())
    });
    let replays = Replays::new(app.booker.clone(), app.booker_parts(), app.settings.limits.replay_batch);
    let stop = working.clone();
    tasks.spawn("replay worker", async {
        let _: () = worker::run(replays, stop).await;
        Ok(())
    });
    let owner = format!("{:016x}", rand::random::<u64>());
    let reconcile = Reconcile { app: Arc::clone(app), owner, began: Instant::now() };
    let stop = working.clone();
    tasks.spawn("reconciliation", async {
        let _: () = worker::run(reconcile, stop).await;
        Ok(())
    });
    let (asker, stop) = (Asker::new(Arc::clone(app)), working.clone());
    tasks.spawn("asker", async {
        let _: () = worker::run(asker, stop).await;
        Ok(())
    });
    let owner = format!("{:016x}", rand::random::<u64>());
    let (checker, stop) = (Checker::new(Arc::clone(app), owner), working.clone());
    tasks.spawn("checker", async {
        let _: () = worker::run(checker, stop).await;
        Ok(())
    });
    let windows = Windows { db, clock };
    let stop = working.clone();
    tasks.spawn("windows worker", async {
        let _: () = worker::run(windows, stop).await;
        Ok(())
    });
    let (resolver, stop) = (Resolver::new(Arc::clone(app)), working.clone());
    tasks.spawn("resolver", async {
        let _: () = worker::run(resolver, stop).await;
        Ok(())
    });
    if app.settings.broker.urls.is_empty() {
        return;
    }
    let broker = app.settings.broker.clone();
    let position = app.booker.position();
    let publisher = Publisher::new(publish::Parts { db: outbox, broker, metrics, position, clock });
    let stop = working.clone();
    tasks.spawn("publisher", async {
        let _: () = worker::run(publisher, stop).await;
        Ok(())
    });
}
