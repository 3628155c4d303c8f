//! `sandbox`: the simulated processor on a listener of its own, until it is stopped. Everything is in memory.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::output::{Usage, say};
use super::serve::random_secret;
use super::sign::Signer;
use crate::app::{Tasks, now_us};
use crate::config::{Settings, Sources, pair};
use crate::domain::amount::Amount;
use crate::processor::sandbox::faults::{Faults, Plan};
use crate::processor::sandbox::world::Merchant;
use crate::processor::sandbox::{self, Options, currencies};
use crate::telemetry;

#[derive(clap::Args)]
pub struct Args {
    /// Where it listens: the API below /api/v2, its controls below /control
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    pub listen: String,
    /// Where callbacks go; nothing else is ever called
    #[arg(long, default_value = "http://127.0.0.1:8080/callbacks/alphapo", value_name = "URL")]
    pub callback_url: String,
    /// The same seed tells the same story
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Seconds of the sandbox in a second; at 0 its time only moves when it is told to
    #[arg(long, default_value_t = 1, value_name = "FACTOR")]
    pub time_scale: u32,
    /// What new operations do, as in deposit=slow or random; may be repeated
    #[arg(long, value_name = "[KIND=]NAME")]
    pub scenario: Vec<String>,
    /// How many times in a hundred something goes wrong, as in duplicate=10 or all=5; may be repeated
    #[arg(long, value_name = "NAME=PERCENT", value_parser = pair)]
    pub fault: Vec<(String, String)>,
    /// What each merchant has at the start, as in BTC=1.5; may be repeated
    #[arg(long, value_name = "CURRENCY=AMOUNT", value_parser = pair)]
    pub balance: Vec<(String, String)>,
    /// Withdrawals worth more wait for a person
    #[arg(long, value_name = "EUR")]
    pub withdrawal_limit: Option<String>,
    #[command(flatten)]
    pub signer: Signer,
}

pub async fn run(args: Args, sources: Sources) -> anyhow::Result<u8> {
    let settings = Settings::load(&sources)?;
    telemetry::init(&settings.log)?;
    let is_made = settings.merchants.is_empty() && !is_named(&args.signer);
    let options = options(&args, &settings, &sources).await?;
    let merchants = options.merchants.clone();
    let (sandbox, served) = sandbox::start(options)?;
    let mut tasks = Tasks::default();
    tasks.spawn("sandbox", served);
    introduce(&sandbox.url, &args, &merchants, is_made)?;
    let ended = tasks.until_stopped().await;
    sandbox.stop();
    let drained = tasks.drain(Duration::from_secs(10)).await;
    ended.and(drained).map(|()| 0)
}

async fn options(args: &Args, settings: &Settings, sources: &Sources) -> anyhow::Result<Options> {
    let usage = |what: String| anyhow::Error::from(Usage(what));
    let url = reqwest::Url::parse(&args.callback_url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| usage(format!("`{}` must be http://HOST:PORT/PATH or https://HOST/PATH.", args.callback_url)))?;
    let (mut faults, mut plan) = (Faults { slow_ms: 2_000, ..Faults::default() }, Plan::default());
    for (name, rate) in &args.fault {
        let rate = rate.parse().map_err(|_not_a_number| usage(format!("--fault {name} wants a whole number.")))?;
        faults.set(name, rate).map_err(|what| usage(format!("{what}.")))?;
    }
    for name in &args.scenario {
        plan.choose(name).map_err(|what| usage(format!("{what}.")))?;
    }
    let withdrawal_limit = args.withdrawal_limit.as_deref().map(Amount::parse).transpose();
    let withdrawal_limit = withdrawal_limit.map_err(|error| usage(format!("--withdrawal-limit: {error}.")))?;
    let mut merchants = merchants(args, settings, sources).await?;
    for (code, balance) in &args.balance {
        let currency = currencies::find(code).ok_or_else(|| usage(format!("there is no currency {code}.")))?;
        let balance = Amount::parse(balance).map_err(|error| usage(format!("--balance {code}: {error}.")))?;
        merchants = merchants.into_iter().map(|merchant| merchant.with_balance(currency.code, balance)).collect();
    }
    let (listen, seed, time_scale, clock) = (args.listen.clone(), args.seed, args.time_scale, now_us);
    Ok(Options { listen, merchants, seed, time_scale, faults, plan, withdrawal_limit, clock })
}

/// Whether the command line says whose keys these are.
const fn is_named(signer: &Signer) -> bool {
    signer.secret.is_some() || signer.secret_file.is_some() || signer.merchant.is_some() || signer.key.is_some()
}

/// The one on the command line; else those of the settings; else one that is made for this run.
async fn merchants(args: &Args, settings: &Settings, sources: &Sources) -> anyhow::Result<Vec<Merchant>> {
    if is_named(&args.signer) {
        let (key, secret) = args.signer.resolve(sources).await?;
        let key = key.ok_or_else(|| Usage("a secret needs its --key.".to_owned()))?;
        return Ok(vec![Merchant::new(&key, secret.expose_secret(), &args.callback_url)]);
    }
    if settings.merchants.is_empty() {
        return Ok(vec![Merchant::new(&random_secret(), &random_secret(), &args.callback_url)]);
    }
    let merchants = settings.merchants.iter();
    Ok(merchants.map(|one| Merchant::new(&one.key, one.secret.expose_secret(), &args.callback_url)).collect())
}

fn introduce(url: &str, args: &Args, merchants: &[Merchant], is_made: bool) -> anyhow::Result<()> {
    let mut lines = String::new();
    for merchant in merchants {
        lines.push_str(&format!("\n  key         {}", merchant.key));
        if is_made {
            lines.push_str(&format!("\n  secret      {} (made for this run)", merchant.secret.expose_secret()));
        }
    }
    let callbacks = &args.callback_url;
    say(&format!(
        "Sandbox of AlphaPo: no real money, and gone when it ends. Ctrl-C ends it.

  API         {url}/api/v2
  controls    {url}/control/state
  callbacks   {callbacks}{lines}"
    ))
}
