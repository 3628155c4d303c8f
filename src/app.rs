//! What lives as long as the process: the handles that handlers and workers share, the clock, and the tasks. The only
//! place that asks what time it is or spawns; it knows no route and no worker, they are handed to it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, anyhow};
use futures_util::future::{Either, select};
use secrecy::ExposeSecret;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::booker::{self, Booker};
use crate::config::{Settings, Token};
use crate::domain::ids::MerchantId;
use crate::domain::rate::Buckets;
use crate::metrics::Metrics;
use crate::processor::client::{Client, Credentials};
use crate::processor::signature::{Keyring, MerchantKeys};
use crate::store::events::MerchantNames;
use crate::store::signatures::{Signatures, signatures};
use crate::store::{self, Db, micros, schema};

/// Of clients of the drop-in, on their way to the processor at once.
const PINGS: usize = 4;
/// Refused requests that are remembered, newest last.
const REJECTIONS_KEPT: usize = 200;

/// The shared handles.
pub struct App {
    pub settings: Settings,
    pub tokens: Vec<Token>,
    pub db: Db,
    pub booker: Booker,
    /// Every merchant the database knows, also those no longer configured.
    pub names: MerchantNames,
    pub keyring: Arc<Keyring>,
    /// The processor's API, for all merchants.
    pub client: Client,
    credentials: HashMap<MerchantId, Credentials>,
    pub metrics: Arc<Metrics>,
    pub rejected: Rejected,
    /// Which requests of the gateway's clients came before.
    pub signatures: Signatures,
    pub rates: Buckets,
    /// Unsigned questions of clients that may be passed on at once.
    pub pings: Semaphore,
    pub clock: fn() -> i64,
    /// Work that goes on when its caller has gone, on the process's own runtime.
    under_way: TaskTracker,
    runtime: tokio::runtime::Handle,
    /// Cancelled when the process is asked to stop: readiness goes off and every wait ends.
    pub stop: CancellationToken,
}

/// Microseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the one clock; everything else is given the time")]
pub fn now_us() -> i64 {
    micros(std::time::SystemTime::now())
}

impl App {
    /// Connects to a migrated database and starts the booker in `tasks`.
    pub async fn start(settings: Settings, tokens: Vec<Token>, tasks: &mut Tasks) -> anyhow::Result<Arc<Self>> {
        // Reading the system's certificates takes about as long as asking the database.
        let alphapo = settings.alphapo.clone();
        let client = tokio::task::spawn_blocking(move || Client::try_new(&alphapo));
        let db = database(&settings).await?;
        agree_on_the_time(now_us(), store::cursor::database_now_us(&db).await?)?;
        let names: Vec<_> = settings.merchants.iter().map(|merchant| merchant.name.clone()).collect();
        let (ids, names) = store::merchants::ensure(&db, &names).await?;
        tell_of_strangers(&settings, &names);
        let keys = settings.merchants.iter().zip(&ids).map(|(merchant, id)| MerchantKeys {
            merchant: *id,
            key: merchant.key.clone(),
            secrets: std::iter::once(&merchant.secret).chain(&merchant.previous_secret).cloned().collect(),
        });
        let keyring = Arc::new(Keyring::try_new(keys)?);
        let credentials = ids.iter().copied().zip(settings.merchants.iter().map(Credentials::from)).collect();
        let client = client.await??;
        let metrics = Arc::new(Metrics::default());
        let (booker, desk) = booker::booker(booker_parts(&settings, &names, &db, (&metrics, &keyring)));
        tasks.spawn("booker", async {
            let _: () = desk.await;
            Ok(())
        });
        let (signatures, writing) = signatures(db.hasty().await?);
        tasks.spawn("gateway's signatures", async {
            let _: () = writing.await;
            Ok(())
        });
        Ok(Arc::new(Self {
            names,
            rejected: Rejected::default(),
            rates: Buckets::default(),
            pings: Semaphore::new(PINGS),
            clock: now_us,
            stop: tasks.stop.clone(),
            settings,
            tokens,
            db,
            booker,
            keyring,
            client,
            credentials,
            metrics,
            signatures,
            under_way: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
        }))
    }

    /// What a configured merchant signs with.
    pub fn credentials(&self, id: MerchantId) -> Option<&Credentials> {
        self.credentials.get(&id)
    }

    /// What a booker of this process is made of.
    pub fn booker_parts(&self) -> booker::Parts {
        booker_parts(&self.settings, &self.names, &self.db, (&self.metrics, &self.keyring))
    }

    /// The configured merchants, with their names.
    pub fn merchants(&self) -> impl Iterator<Item = (MerchantId, &str)> {
        self.settings.merchants.iter().filter_map(|merchant| {
            let (id, name) = self.names.0.iter().find(|(_, name)| **name == merchant.name)?;
            Some((MerchantId(*id), name.as_str()))
        })
    }

    /// Brings a piece of work to its end, also when whoever waits for it has gone. `None`: the process ends.
    pub async fn see_through<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        self.under_way.spawn_on(work, &self.runtime).await.ok()
    }

    /// The same for work that can't leave the thread it is asked on.
    pub async fn see_through_here<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> Option<T> {
        self.under_way.spawn_local(work).await.ok()
    }

    /// Sets a piece of work going that nobody waits for, but the end of the process.
    pub fn set_going(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.under_way.spawn_on(work, &self.runtime));
    }

    /// Waits for all such work.
    pub async fn wind_up(&self) {
        self.under_way.close();
        self.under_way.wait().await;
    }

    /// The name a merchant is known by.
    pub fn merchant_name(&self, id: MerchantId) -> &str {
        self.names.0.get(&id.0).map_or("?", String::as_str)
    }
}

/// What a booker is made of, for every merchant of the settings that the database knows.
pub fn booker_parts(
    settings: &Settings,
    names: &MerchantNames,
    db: &Db,
    (metrics, keyring): (&Arc<Metrics>, &Arc<Keyring>),
) -> booker::Parts {
    let policy = |(id, name): (&i16, &String)| Some((MerchantId(*id), settings.merchant(name)?.policy));
    let verify = |(id, name): (&i16, &String)| Some((MerchantId(*id), settings.merchant(name)?.verify.clone()));
    booker::Parts {
        db: db.clone(),
        policies: names.0.iter().filter_map(policy).collect(),
        verify: names.0.iter().filter_map(verify).collect(),
        queue: settings.limits.queue,
        batch: settings.limits.batch,
        metrics: Arc::clone(metrics),
        keyring: Arc::clone(keyring),
        clock: now_us,
    }
}

/// Waits for the database as long as the settings allow, and refuses one whose schema is not this program's.
pub async fn database(settings: &Settings) -> anyhow::Result<Db> {
    if let Some(no_file) = store::no_file(settings.database.url.expose_secret()) {
        return Err(anyhow!(no_file));
    }
    let db = Db::lazy(settings.database.url.expose_secret(), settings.database.max_connections).await?;
    // The first question goes out beside the knock: where it is answered, nobody needs to be told why not.
    let (reaching, asking) = (Box::pin(knock(&db, settings)), Box::pin(schema::difference(&db)));
    let asked = match select(reaching, asking).await {
        Either::Left((reached, asking)) => {
            reached?;
            asking.await
        }
        Either::Right((Ok(difference), _reaching)) => Ok(difference),
        Either::Right((Err(error), reaching)) => {
            reaching.await?;
            Err(error)
        }
    };
    let schema::Difference { missing, is_newer } = match asked {
        Ok(difference) => difference,
        Err(_too_early) => schema::difference(&db).await?,
    };
    if missing > 0 {
        return Err(anyhow!(
            "the database lacks {missing} migrations of this version: run `tallyhook migrate up` first"
        ));
    }
    if is_newer {
        return Err(anyhow!("the database was migrated by a newer version of tallyhook: run that version instead"));
    }
    Ok(db)
}

/// A merchant is known by its name: under another one it begins with an empty ledger.
fn tell_of_strangers(settings: &Settings, names: &MerchantNames) {
    let strangers = names.0.values().filter(|name| settings.merchant(name).is_none());
    let strangers: Vec<_> = strangers.map(String::as_str).collect();
    if !strangers.is_empty() {
        warn!(
            merchants = strangers.join(", "),
            "The ledger has merchants that are not configured here: nothing is decided for them. If one was renamed, \
             give it back its name"
        );
    }
}

/// Much that is stored says when it is to be looked at again: a clock that is far ahead would put that off for as long.
fn agree_on_the_time(ours_us: i64, theirs_us: i64) -> anyhow::Result<()> {
    const FAR_US: u64 = 3_600_000_000;
    let apart_us = ours_us.abs_diff(theirs_us);
    if apart_us < FAR_US {
        return Ok(());
    }
    let seconds = apart_us.div_euclid(1_000_000);
    let way = if ours_us > theirs_us { "ahead of" } else { "behind" };
    Err(anyhow!("the clock of this machine is {seconds} s {way} the database's: set the one that is wrong, by NTP"))
}

/// Waits for the database as long as the settings allow.
pub async fn reach(settings: &Settings) -> anyhow::Result<Db> {
    let db = Db::lazy(settings.database.url.expose_secret(), settings.database.max_connections).await?;
    knock(&db, settings).await?;
    Ok(db)
}

async fn knock(db: &Db, settings: &Settings) -> anyhow::Result<()> {
    let patience = std::time::Duration::from_secs(settings.database.connect_timeout_s);
    let started = std::time::Instant::now();
    let mut pause = std::time::Duration::from_millis(200);
    loop {
        // A connection of its own says why it can't be made; the pool would only say that its patience ran out.
        let attempt = tokio::time::timeout(patience.min(std::time::Duration::from_secs(3)), db.knock());
        let error = match attempt.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => anyhow::Error::new(error),
            Err(_elapsed) => anyhow!("no answer"),
        };
        if started.elapsed() >= patience {
            let waited_s = patience.as_secs();
            return Err(error.context(format!(
                "the database did not answer within {waited_s} s: is it running, and is DATABASE_URL right?"
            )));
        }
        tracing::warn!(error = format!("{error:#}"), "Waiting for the database");
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(std::time::Duration::from_secs(2));
    }
}

/// The tasks of the process. When one ends before it was told to, all stop, and the process says so.
pub struct Tasks {
    set: JoinSet<(&'static str, anyhow::Result<()>)>,
    pub stop: CancellationToken,
    /// SIGTERM and SIGINT, once they are ours to answer.
    signals: Option<(Signal, Signal)>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self { set: JoinSet::new(), stop: CancellationToken::new(), signals: None }
    }
}

impl Tasks {
    /// Runs a task until it ends; by itself it should only do so once `stop` is cancelled.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.set.spawn(async move { (name, task.await) });
    }

    /// From here on SIGTERM and SIGINT don't end the process, they are waited for.
    pub fn take_signals(&mut self) -> std::io::Result<()> {
        self.signals = Some((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?));
        Ok(())
    }

    /// Waits for SIGTERM, SIGINT or the end of any task.
    pub async fn until_stopped(&mut self) -> anyhow::Result<()> {
        if self.signals.is_none() {
            self.take_signals()?;
        }
        tokio::select! {
            () = self.stop.cancelled() => Ok(()),
            signal = signalled(self.signals.as_mut()) => {
                info!("Stopping on {signal}");
                Ok(())
            }
            Some(ended) = self.set.join_next() => {
                let (name, result) = ended.map_err(|panic| anyhow!(panic).context("a task panicked"))?;
                Err(result.err().unwrap_or_else(|| anyhow!("it ended by itself")).context(format!("the {name} stopped")))
            }
        }
    }

    /// Waits for what is left to end, no longer than `patience`.
    pub async fn drain(mut self, patience: std::time::Duration) -> anyhow::Result<()> {
        let all = async {
            let mut first = Ok(());
            while let Some(ended) = self.set.join_next().await {
                let result = ended.map_err(anyhow::Error::from).and_then(|(name, result)| result.context(name));
                if let Err(error) = &result {
                    error!(error = format!("{error:#}"), "A task did not end well");
                }
                first = first.and(result);
            }
            first
        };
        tokio::time::timeout(patience, all).await.context("the tasks did not end in time")?
    }
}

async fn signalled(signals: Option<&mut (Signal, Signal)>) -> &'static str {
    let Some((terminate, interrupt)) = signals else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// One request that was refused, for the operator's eyes: never its body, never a secret, never the signature.
#[derive(Debug, Clone)]
pub struct Rejection {
    pub at_us: i64,
    pub reason: &'static str,
    /// The likely cause, where it was looked for.
    pub cause: Option<&'static str>,
    pub advice: Option<&'static str>,
    pub peer: Option<String>,
    pub bytes: usize,
}

/// The last refused requests of this process. Capped, in memory: refusing must never cost more than accepting.
#[derive(Default)]
pub struct Rejected {
    last: Mutex<VecDeque<Rejection>>,
    diagnosed: Mutex<(i64, u32)>,
}

impl Rejected {
    /// Remembers a refusal and forgets the oldest.
    pub fn add(&self, rejection: Rejection) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= REJECTIONS_KEPT {
            last.pop_front();
        }
        last.push_back(rejection);
    }

    /// Newest first.
    pub fn entries(&self) -> Vec<Rejection> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }

    /// Whether there is time to look for the likely cause: it costs dozens of HMACs, so at most 20 times a second.
    pub fn may_diagnose(&self, now_us: i64) -> bool {
        let mut diagnosed = self.diagnosed.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now_us.div_euclid(1_000_000);
        if diagnosed.0 != second {
            *diagnosed = (second, 0);
        }
        diagnosed.1 = diagnosed.1.saturating_add(1);
        diagnosed.1 <= 20
    }
}
