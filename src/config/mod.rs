//! Settings: defaults < `tallyhook.toml` < `.env` < environment < flags, read once, checked as a whole. The only reader
//! of the process environment. It never writes the environment, never guesses, and no fault repeats a secret.

pub mod admin;
pub mod csv;
pub mod gateway;
mod layers;
mod read;
pub mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::domain::decide::Policy;
use crate::domain::verify::Verify;
use table::Secrecy;

/// Shorter secrets can be found by trying.
pub const SECRET_CHARS_MIN: usize = 12;

#[derive(Debug, Clone)]
pub struct Settings {
    pub database: Database,
    pub broker: Broker,
    pub listen: String,
    pub admin_listen: String,
    pub merchants: Vec<Merchant>,
    pub tokens: Vec<Token>,
    pub alphapo: Alphapo,
    pub gateway: gateway::Gateway,
    pub reconcile: Reconcile,
    pub checks: Checks,
    pub admin: admin::Admin,
    pub outbound: Outbound,
    pub limits: Limits,
    pub page: Page,
    pub log: Log,
}

#[derive(Debug, Clone)]
pub struct Database {
    pub url: SecretString,
    pub max_connections: u32,
    /// How long the start keeps trying.
    pub connect_timeout_s: u64,
}

#[derive(Debug, Clone)]
pub struct Broker {
    /// Empty: no broker, events only over HTTP.
    pub urls: Vec<SecretString>,
    pub declare: bool,
    /// Routing-key patterns of events that a queue must take.
    pub mandatory: Vec<String>,
    pub window: usize,
    pub delivery_limit: u32,
}

#[derive(Debug, Clone)]
pub struct Merchant {
    pub name: String,
    pub key: String,
    pub secret: SecretString,
    pub previous_secret: Option<SecretString>,
    pub policy: Policy,
    /// Which deposits are compared with the processor's answer first.
    pub verify: Verify,
    /// Customers that are the merchant itself: what they send needs nothing set aside.
    pub treasury: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Token {
    pub name: String,
    pub secret: SecretString,
    pub role: Role,
}

/// What a token may do; each also what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Consumer,
    Viewer,
    Operator,
    Approver,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Consumer, Self::Viewer, Self::Operator, Self::Approver];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Alphapo {
    /// Without a slash at its end.
    pub base_url: String,
    pub connect_timeout_ms: u64,
    pub timeout_ms: u64,
    /// Empty: what the system's variables say.
    pub proxy: SecretString,
}

/// How often the processor's balances are compared with ours, how long a difference may be a callback on its way, and
/// what the processor is asked about when.
#[derive(Debug, Clone)]
pub struct Reconcile {
    /// 0: never by itself.
    pub every_s: i64,
    pub patience_s: i64,
    pub settle_s: u64,
    /// The dashboard's export.
    pub csv: csv::Csv,
    /// After how long something is asked about; 0: never.
    pub withdrawal_age_s: i64,
    pub invoice_age_s: i64,
    pub deposit_age_s: i64,
    pub exchange_age_s: i64,
    pub asks_a_minute: i64,
    pub misses: i32,
    pub heartbeat_s: u64,
    pub outage_s: i64,
}

/// What the ledger is checked for by itself.
#[derive(Debug, Clone)]
pub struct Checks {
    pub every_s: i64,
    pub hold_s: i64,
    pub outbox_s: i64,
}

/// Money that goes out.
#[derive(Debug, Clone)]
pub struct Outbound {
    pub enabled: bool,
    pub stuck_s: u64,
    pub missing_s: u64,
}

impl Outbound {
    /// For how long the processor must have known nothing of a withdrawal that was sent, until it is missing.
    pub fn missing_us(&self) -> i64 {
        i64::try_from(self.missing_s).unwrap_or(i64::MAX).saturating_mul(1_000_000)
    }
}

#[derive(Debug, Clone)]
pub struct Limits {
    pub body_bytes: usize,
    pub head_timeout_ms: u64,
    pub body_timeout_ms: u64,
    pub queue: usize,
    pub batch: usize,
    pub shutdown_s: u64,
    pub http_workers: usize,
    /// Callbacks that a replay in the background decides at once.
    pub replay_batch: u64,
}

/// The page and its sessions.
#[derive(Debug, Clone)]
pub struct Page {
    /// Browsers send the cookie over https only.
    pub is_cookie_secure: bool,
    pub idle_minutes: i64,
    /// Pages show only the ends of customers' references, and no bodies.
    pub hides_references: bool,
    pub session_hours: i64,
}

#[derive(Debug, Clone)]
pub struct Log {
    pub format: LogFormat,
    pub filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text when stderr is a terminal, else JSON.
    Auto,
    Json,
    Text,
}

/// Where settings come from. It holds secrets as plain text, so it has no `Debug`.
#[derive(Clone, Default)]
pub struct Sources {
    pub env: BTreeMap<String, String>,
    pub dotenv: Option<PathBuf>,
    /// Must exist, if there is one.
    pub file: Option<PathBuf>,
    /// Pairs of `--set key=value`.
    pub flags: Vec<(String, String)>,
}

/// All that is wrong with the settings: one sentence each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

impl std::fmt::Display for Faults {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{} wrong with the settings:",
            if self.0.len() == 1 { "one thing is" } else { "these things are" }
        )?;
        self.0.iter().try_for_each(|fault| write!(out, "\n  - {fault}"))
    }
}

impl std::error::Error for Faults {}

/// One effective setting, fit to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub key: String,
    pub value: String,
    pub source: String,
}

impl Sources {
    /// What this process was given: its environment, `.env` and `tallyhook.toml` of the working directory, if they
    /// are there, and the command line's own file and pairs.
    pub fn from_process(config_file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let present = |name: &str| Some(PathBuf::from(name)).filter(|path| Path::exists(path));
        Self {
            env: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
            dotenv: present(".env"),
            file: config_file.or_else(|| present("tallyhook.toml")),
            flags,
        }
    }
}

impl Settings {
    /// All settings, or all faults.
    pub fn load(sources: &Sources) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let given = layers::gather(sources, &mut faults);
        let settings = read::settings(&given, &mut faults);
        if faults.is_empty() { Ok(settings) } else { Err(Faults(faults)) }
    }

    /// The merchant of that name.
    pub fn merchant(&self, name: &str) -> Option<&Merchant> {
        self.merchants.iter().find(|merchant| merchant.name == name)
    }
}

/// A pair of the command line, for `--set`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it must be key=value, such as limits.queue=8192")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// Every effective setting with its source, secrets redacted; also when some are at fault.
pub fn show(sources: &Sources) -> Vec<Shown> {
    let given = layers::gather(sources, &mut Vec::new());
    let mut names: Vec<String> = given.keys().filter_map(|key| read::name_of(key)).map(str::to_owned).collect();
    names.dedup();
    let mut shown = Vec::new();
    for name in &names {
        let group = name.split('.').next().unwrap_or_default();
        let parts = table::SETTINGS.iter().filter_map(|setting| Some((setting, setting.key.split_once(".<name>")?)));
        let parts = parts.filter(|(_, (of, _))| *of == group);
        shown.extend(parts.filter_map(|(setting, (_, part))| shown_one(format!("{name}{part}"), setting, &given)));
    }
    let fixed = table::SETTINGS.iter().filter(|setting| !setting.key.contains("<name>"));
    shown.extend(fixed.filter_map(|setting| shown_one(setting.key.to_owned(), setting, &given)));
    shown
}

fn shown_one(key: String, setting: &table::Setting, given: &BTreeMap<String, layers::Given>) -> Option<Shown> {
    let (value, source) = match given.get(&key) {
        Some(given) => (given.value.as_str(), given.origin.clone()),
        None => (setting.default?, layers::DEFAULT.to_owned()),
    };
    let value = match setting.secrecy {
        Secrecy::Open => value.to_owned(),
        Secrecy::Url => value.split(',').map(redact_url).collect::<Vec<_>>().join(","),
        Secrecy::Secret if value.is_empty() => String::new(),
        Secrecy::Secret => "[redacted]".to_owned(),
    };
    Some(Shown { key, value, source })
}

/// A URL without its password. Rather too little of it than too much.
pub fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once(':').filter(|(scheme, _)| read::is_url_scheme(scheme)) else {
        return if url.trim().is_empty() { String::new() } else { "[redacted]".to_owned() };
    };
    let (slashes, rest) = rest.strip_prefix("//").map_or(("", rest), |rest| ("//", rest));
    let rest = match rest.rsplit_once('@') {
        Some((login, place)) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:[redacted]@{place}"),
            None => rest.to_owned(),
        },
        None => rest.to_owned(),
    };
    let (place, query) = rest.split_once('?').map_or((rest.as_str(), None), |(place, query)| (place, Some(query)));
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if name.to_lowercase().contains("pass") => format!("{name}=[redacted]"),
        Some(_) | None => pair.to_owned(),
    };
    let query = query.map(|query| format!("?{}", query.split('&').map(pair).collect::<Vec<_>>().join("&")));
    format!("{scheme}:{slashes}{place}{}", query.unwrap_or_default())
}
