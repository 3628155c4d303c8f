//! `demo`: a whole deployment in one command, for a newcomer: SQLite in a temporary folder, keys made on the spot,
//! a sandbox for a processor with steady sample traffic, and ready commands to look at it. Everything is gone when it
//! ends.

mod traffic;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::output::say;
use super::serve::{Part, Running, random_secret};
use crate::app::Tasks;
use crate::config::{Merchant, Role, Settings, Sources, Token};
use crate::domain::amount::Amount;
use crate::domain::decide::{Credit, Policy, UnknownCustomer};
use crate::processor::sandbox::faults::{Faults, Plan};
use crate::processor::sandbox::{self, Options, Sandbox};
use crate::store::{Db, schema};
use crate::{app, http, processor, telemetry};
use traffic::Shop;

/// A deposit takes a second, and the day of retries less than half an hour.
const TIME_SCALE: u32 = 60;
const RISK_LIMIT: &str = "0.58";
/// Between two comparisons with the processor's balances, unless they are asked for more often.
const RECONCILE_S: i64 = 20;

#[derive(clap::Args)]
pub struct Args {
    /// Ends by itself after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
    /// Sample payments a second
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub rate: u64,
}

/// Removes the folder when the demo ends, however it ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(%error, "The demo's folder stays");
        }
    }
}

pub async fn run(args: Args, sources: Sources) -> anyhow::Result<u8> {
    let folder = Folder(std::env::temp_dir().join(format!("tallyhook-demo-{}", random_secret())));
    std::fs::create_dir_all(&folder.0)?;
    let (mut settings, tokens) = settings(&sources, &folder)?;
    telemetry::init(&settings.log)?;
    let db = Db::lazy(secrecy::ExposeSecret::expose_secret(&settings.database.url), 1).await?;
    schema::migrate(&db).await?;
    drop(db);
    let mut side = Tasks::default();
    let sandbox = sandbox(&mut settings, &mut side)?;
    let running = Running::start(settings, tokens, Part::All).await?;
    introduce(&running, &sandbox)?;
    if let Some(merchant) = running.app.settings.merchants.first().cloned() {
        let callbacks = callback_url(&running.app.settings);
        let api = format!("http://{}/api/v2", running.app.settings.listen);
        let shop = Shop { sandbox: sandbox.clone(), api, callbacks, merchant, rate: args.rate };
        side.spawn("sample traffic", traffic::run(shop, running.app.stop.clone()));
    }
    if let Some(seconds) = args.seconds {
        let stop = running.app.stop.clone();
        side.spawn("timer", async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            stop.cancel();
            Ok(())
        });
    }
    let code = running.until_stopped().await?;
    sandbox.stop();
    say("The demo has ended; its folder is removed.")?;
    Ok(code)
}

/// The settings of the demo: those of the process where they can't do harm, with everything else its own.
fn settings(sources: &Sources, folder: &Folder) -> anyhow::Result<(Settings, Vec<Token>)> {
    let mut settings = Settings::load(&Sources { flags: sources.flags.clone(), ..Sources::default() })?;
    let file = folder.0.join("demo.db");
    settings.database.url = SecretString::from(format!("sqlite://{}?mode=rwc", file.display()));
    settings.broker.urls.clear();
    settings.listen = free(&settings.listen)?;
    settings.admin_listen = free(&settings.admin_listen)?;
    settings.log.filter = "warn".to_owned();
    settings.reconcile.every_s = settings.reconcile.every_s.min(RECONCILE_S);
    settings.merchants = vec![Merchant {
        name: "demo".to_owned(),
        key: random_secret(),
        secret: SecretString::from(random_secret()),
        previous_secret: None,
        treasury: Vec::new(),
        policy: Policy {
            credit: Credit::Gross,
            unknown_customer: UnknownCustomer::Open,
            // One deposit in fifty is too hot for the merchant, and somebody must look at it.
            risk_limit: Amount::parse(RISK_LIMIT).ok(),
            waived: crate::domain::policy::Waived::default(),
        },
        verify: crate::domain::verify::Verify::default(),
    }];
    let token = Token { name: "demo".to_owned(), secret: SecretString::from(random_secret()), role: Role::Operator };
    Ok((settings, vec![token]))
}

/// A processor to trade with, in a hurry and not without faults; from then on it is the one of the settings.
fn sandbox(settings: &mut Settings, tasks: &mut Tasks) -> anyhow::Result<Sandbox> {
    use secrecy::ExposeSecret;
    let url = callback_url(settings);
    let merchants = settings
        .merchants
        .iter()
        .map(|merchant| sandbox::world::Merchant::new(&merchant.key, merchant.secret.expose_secret(), &url));
    let faults = Faults { duplicate: 20, reorder: 5, unheard: 5, drift: 20, early: 20, ..Faults::default() };
    let (sandbox, served) = sandbox::start(Options {
        listen: free("127.0.0.1:8090")?,
        merchants: merchants.collect(),
        seed: rand::random(),
        time_scale: TIME_SCALE,
        faults,
        plan: Plan::default(),
        withdrawal_limit: None,
        clock: app::now_us,
    })?;
    tasks.spawn("sandbox", served);
    settings.alphapo.base_url = sandbox.api();
    Ok(sandbox)
}

fn callback_url(settings: &Settings) -> String {
    format!("http://{}/callbacks/alphapo", settings.listen)
}

/// The address, or a free port beside it when another program has it.
fn free(address: &str) -> anyhow::Result<String> {
    if http::bind(address, "listen").is_ok() {
        return Ok(address.to_owned());
    }
    Ok(http::bind("127.0.0.1:0", "listen")?.local_addr()?.to_string())
}

fn introduce(running: &Running, sandbox: &Sandbox) -> anyhow::Result<()> {
    use secrecy::ExposeSecret;
    let settings = &running.app.settings;
    let (public, admin) = (&settings.listen, &settings.admin_listen);
    let Some(merchant) = settings.merchants.first() else { return Ok(()) };
    let token = running.app.tokens.first().map(|token| token.secret.expose_secret()).unwrap_or_default();
    let body = traffic::hello();
    let signature = processor::signature::sign(&merchant.secret, body.as_bytes());
    let (key, processor) = (&merchant.key, &sandbox.url);
    say(&format!(
        "Tallyhook demo: a merchant, a ledger, and sample callbacks arriving. Ctrl-C ends it and removes everything.

  callbacks   http://{public}/callbacks/alphapo
  page        http://{admin}/   (log in with the token below)
  admin API   http://{admin}/api   (token {token})
  sandbox     {processor}/control/state   (docs/sandbox.md)

Look at the balances:
  curl -s -H 'Authorization: Bearer {token}' http://{admin}/api/balances

Follow the events:
  curl -sN -H 'Authorization: Bearer {token}' http://{admin}/api/events/stream

See what was held, and why:
  curl -s -H 'Authorization: Bearer {token}' 'http://{admin}/api/callbacks?state=held'

Send a deposit yourself, as often as you like (it is credited once):
  curl -i http://{public}/callbacks/alphapo -H 'X-Processing-Key: {key}' \\
    -H 'X-Processing-Signature: {signature}' \\
    -d '{body}'
"
    ))
}
