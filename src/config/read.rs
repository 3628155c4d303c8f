//! From texts to typed settings. Every value is looked at, whatever is wrong with the others; a value at fault is
//! replaced by a harmless one that nobody will see, because its fault stops the start.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use secrecy::{ExposeSecret, SecretString};

use super::layers::Given;
use super::table::{self, Secrecy};
use super::{
    Alphapo, Broker, Checks, Database, Limits, Log, LogFormat, Merchant, Outbound, Page, Reconcile, Role,
    SECRET_CHARS_MIN, Settings, Token,
};
use super::{admin, csv, gateway};
use crate::domain::amount::Amount;
use crate::domain::decide::{Credit, Policy, UnknownCustomer};
use crate::domain::verify::Verify;

const DATABASE_SCHEMES: [&str; 3] = ["sqlite", "postgres", "postgresql"];
const BROKER_SCHEMES: [&str; 2] = ["amqp", "amqps"];
const PROXY_SCHEMES: [&str; 2] = ["http", "https"];

pub(super) struct Reader<'a> {
    pub(super) given: &'a BTreeMap<String, Given>,
    pub(super) faults: &'a mut Vec<String>,
}

pub(super) fn settings(given: &BTreeMap<String, Given>, faults: &mut Vec<String>) -> Settings {
    let reader = &mut Reader { given, faults };
    let settings = Settings {
        merchants: names(given, "merchants").into_iter().map(|name| merchant(reader, name)).collect(),
        tokens: names(given, "tokens").into_iter().map(|name| token(reader, name)).collect(),
        listen: address(reader, "listen"),
        admin_listen: address(reader, "admin_listen"),
        database: Database {
            url: url(reader, "database.url"),
            max_connections: reader.number("database.max_connections", 1..=1000),
            connect_timeout_s: reader.number("database.connect_timeout_s", 0..=3600),
        },
        broker: broker(reader),
        alphapo: Alphapo {
            base_url: base_url(reader, "alphapo.base_url"),
            connect_timeout_ms: reader.number("alphapo.connect_timeout_ms", 100..=60_000),
            timeout_ms: reader.number("alphapo.timeout_ms", 100..=300_000),
            proxy: proxy(reader, "alphapo.proxy"),
        },
        gateway: gateway::read(reader),
        reconcile: Reconcile {
            every_s: reader.number("reconcile.every_s", 0..=604_800),
            patience_s: reader.number("reconcile.patience_s", 0..=604_800),
            settle_s: reader.number("reconcile.settle_s", 0..=300),
            csv: csv::read(reader),
            withdrawal_age_s: reader.number("reconcile.withdrawal_age_s", 0..=31_536_000),
            invoice_age_s: reader.number("reconcile.invoice_age_s", 0..=31_536_000),
            deposit_age_s: reader.number("reconcile.deposit_age_s", 0..=31_536_000),
            exchange_age_s: reader.number("reconcile.exchange_age_s", 0..=31_536_000),
            asks_a_minute: reader.number("reconcile.asks_a_minute", 1..=60_000),
            misses: reader.number("reconcile.misses", 1..=1_000),
            heartbeat_s: reader.number("reconcile.heartbeat_s", 1..=600),
            outage_s: reader.number("reconcile.outage_s", 1..=86_400),
        },
        checks: Checks {
            every_s: reader.number("checks.every_s", 1..=86_400),
            hold_s: reader.number("checks.hold_s", 1..=31_536_000),
            outbox_s: reader.number("checks.outbox_s", 1..=31_536_000),
        },
        admin: admin::read(reader),
        outbound: Outbound {
            enabled: reader.choice("outbound.enabled", &[("true", true), ("false", false)], false),
            stuck_s: reader.number("outbound.stuck_s", 1..=86_400),
            missing_s: reader.number("outbound.missing_s", 1..=31_536_000),
        },
        limits: Limits {
            body_bytes: reader.number("limits.body_bytes", 1024..=1_048_576),
            head_timeout_ms: reader.number("limits.head_timeout_ms", 100..=60_000),
            body_timeout_ms: reader.number("limits.body_timeout_ms", 100..=120_000),
            queue: reader.number("limits.queue", 1..=1_000_000),
            batch: reader.number("limits.batch", 1..=10_000),
            shutdown_s: reader.number("limits.shutdown_s", 1..=600),
            http_workers: reader.number("limits.http_workers", 1..=256),
            replay_batch: reader.number("limits.replay_batch", 1..=10_000),
        },
        page: Page {
            is_cookie_secure: reader.choice("page.secure_cookie", &[("true", true), ("false", false)], true),
            idle_minutes: reader.number("page.idle_minutes", 1..=1440),
            hides_references: reader.choice("page.hide_references", &[("true", true), ("false", false)], true),
            session_hours: reader.number("page.session_hours", 1..=168),
        },
        log: log(reader),
    };
    clashes(&settings, faults);
    settings
}

/// `merchants.main` of `merchants.main.key`, `None` for a key without a chosen name.
pub(super) fn name_of(key: &str) -> Option<&str> {
    let (name, _) = key.rsplit_once('.')?;
    table::find(key).filter(|setting| setting.key.contains("<name>")).map(|_| name)
}

pub(super) fn is_url_scheme(scheme: &str) -> bool {
    DATABASE_SCHEMES.contains(&scheme) || BROKER_SCHEMES.contains(&scheme) || PROXY_SCHEMES.contains(&scheme)
}

pub(super) fn names<'a>(given: &'a BTreeMap<String, Given>, group: &str) -> Vec<&'a str> {
    let ours = given.keys().filter_map(|key| name_of(key)?.strip_prefix(group)?.strip_prefix('.'));
    let mut names: Vec<&str> = ours.collect();
    names.sort_unstable();
    names.dedup();
    names
}

impl Reader<'_> {
    /// What was given for a key, else its default, else nothing.
    pub(super) fn text(&self, key: &str) -> &str {
        let default = || table::find(key).and_then(|setting| setting.default);
        self.given.get(key).map(|given| given.value.as_str()).or_else(default).unwrap_or_default()
    }

    pub(super) fn is_given(&self, key: &str) -> bool {
        self.given.contains_key(key)
    }

    /// One sentence: the setting, where it was given, what it must be.
    pub(super) fn fault(&mut self, key: &str, must: &str) {
        let secrecy = table::find(key).map(|setting| setting.secrecy);
        let value = match secrecy {
            Some(Secrecy::Open) => format!(" is `{}`: it", self.text(key)),
            Some(Secrecy::Url | Secrecy::Secret) | None => String::new(),
        };
        let fault = match self.given.get(key) {
            Some(given) => format!("{key} ({}){value} must {must}.", given.origin),
            None => format!("{key} is missing: set {} to {must}.", table::variable(key)).replace(" to be ", " to "),
        };
        self.faults.push(fault);
    }

    pub(super) fn number<T: TryFrom<u64> + Default>(&mut self, key: &str, bounds: RangeInclusive<u64>) -> T {
        let number = self.text(key).trim().parse().ok().filter(|number| bounds.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            self.fault(key, &format!("be a whole number from {} to {}", bounds.start(), bounds.end()));
        }
        number.unwrap_or_default()
    }

    pub(super) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)], otherwise: T) -> T {
        let text = self.text(key).trim().to_lowercase();
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return *choice;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.fault(key, &format!("be one of {}", names.join(", ")));
        otherwise
    }

    pub(super) fn secret(&mut self, key: &str) -> SecretString {
        let secret = SecretString::from(self.text(key));
        let length = secret.expose_secret().chars().count();
        if length == 0 && self.is_given(key) {
            self.fault(key, &format!("not be empty: anyone could sign; it has at least {SECRET_CHARS_MIN} characters"));
        } else if length < SECRET_CHARS_MIN {
            self.fault(key, &format!("be a secret of at least {SECRET_CHARS_MIN} characters"));
        }
        secret
    }

    pub(super) fn name(&mut self, group: &str, name: &str) {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
        if !name.bytes().all(is_plain) || !(1..=32).contains(&name.len()) {
            self.faults.push(format!("{group}.{name} is no name: use 1 to 32 letters, digits, `-` and `_`."));
        }
    }
}

fn merchant(reader: &mut Reader<'_>, name: &str) -> Merchant {
    reader.name("merchants", name);
    let of = |part: &str| format!("merchants.{name}.{part}");
    let key = reader.text(&of("key")).to_owned();
    if key.is_empty() || key.len() > 255 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        reader.fault(&of("key"), "be the key id from AlphaPo's dashboard, 1 to 255 letters, digits and signs");
    }
    let previous = of("previous_secret");
    let credits = [("gross", Credit::Gross), ("net", Credit::Net)];
    let unknowns = [("open", UnknownCustomer::Open), ("suspense", UnknownCustomer::Suspense)];
    Merchant {
        key,
        secret: reader.secret(&of("secret")),
        previous_secret: reader.is_given(&previous).then(|| reader.secret(&previous)),
        policy: Policy {
            credit: reader.choice(&of("credit"), &credits, Credit::Gross),
            unknown_customer: reader.choice(&of("unknown_customer"), &unknowns, UnknownCustomer::Suspense),
            risk_limit: risk_limit(reader, &of("risk_limit")),
            waived: crate::domain::policy::Waived::default(),
        },
        verify: Verify {
            above: admin::amounts(reader, &of("verify_above")),
            risk: risk_limit(reader, &of("verify_risk")),
        },
        treasury: list(reader.text(&of("treasury"))).map(str::to_owned).collect(),
        name: name.to_owned(),
    }
}

fn risk_limit(reader: &mut Reader<'_>, key: &str) -> Option<Amount> {
    if !reader.is_given(key) {
        return None;
    }
    let limit = Amount::parse(reader.text(key).trim()).ok().filter(|limit| *limit >= Amount::ZERO);
    if limit.is_none() {
        reader.fault(key, "be a decimal number such as 7.5, or be left out");
    }
    limit
}

fn token(reader: &mut Reader<'_>, name: &str) -> Token {
    reader.name("tokens", name);
    let roles = Role::ALL.map(|role| (role.word(), role));
    Token {
        secret: reader.secret(&format!("tokens.{name}.secret")),
        role: reader.choice(&format!("tokens.{name}.role"), &roles, Role::Consumer),
        name: name.to_owned(),
    }
}

fn address(reader: &mut Reader<'_>, key: &str) -> String {
    let address = reader.text(key).trim().to_owned();
    let is_host = |host: &str| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
    };
    let named = address.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok());
    if !named && address.parse::<std::net::SocketAddr>().is_err() {
        reader.fault(key, "be host:port, such as 127.0.0.1:8080 or [::1]:8080");
    }
    address
}

fn has_scheme(url: &str, schemes: &[&str]) -> bool {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    let is_memory = scheme == "sqlite" && rest == ":memory:";
    schemes.contains(&scheme) && (is_memory || rest.strip_prefix("//").is_some_and(|rest| !rest.is_empty()))
}

fn url(reader: &mut Reader<'_>, key: &str) -> SecretString {
    let url = SecretString::from(reader.text(key).trim());
    if !has_scheme(url.expose_secret(), &DATABASE_SCHEMES) {
        reader.fault(key, "be sqlite://FILE?mode=rwc or postgres://USER:PASSWORD@HOST/DATABASE");
    }
    url
}

pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn broker(reader: &mut Reader<'_>) -> Broker {
    let urls: Vec<SecretString> = list(reader.text("broker.url")).map(SecretString::from).collect();
    if !urls.iter().all(|url| has_scheme(url.expose_secret(), &BROKER_SCHEMES)) {
        reader
            .fault("broker.url", "be amqp://USER:PASSWORD@HOST:5672/VHOST or amqps://…, several with commas, or empty");
    }
    let mandatory: Vec<String> = list(reader.text("broker.mandatory")).map(str::to_owned).collect();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-*#".contains(&byte);
    if !mandatory.iter().all(|pattern| pattern.bytes().all(is_plain)) {
        reader.fault("broker.mandatory", "be routing keys such as *.credited.*, several with commas");
    }
    Broker {
        urls,
        mandatory,
        declare: reader.choice("broker.declare", &[("true", true), ("false", false)], false),
        window: reader.number("broker.window", 1..=100_000),
        delivery_limit: reader.number("broker.delivery_limit", 1..=1_000_000),
    }
}

fn base_url(reader: &mut Reader<'_>, key: &str) -> String {
    let url = reader.text(key).trim().trim_end_matches('/').to_owned();
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.contains([' ', '?', '#', '@'])) {
        reader.fault(key, "be https://HOST/PATH or http://HOST/PATH");
    }
    url
}

fn proxy(reader: &mut Reader<'_>, key: &str) -> SecretString {
    let url = SecretString::from(reader.text(key).trim());
    if !url.expose_secret().is_empty() && !has_scheme(url.expose_secret(), &PROXY_SCHEMES) {
        reader.fault(key, "be http://USER:PASSWORD@HOST:PORT or https://…, or empty");
    }
    url
}

fn log(reader: &mut Reader<'_>) -> Log {
    let filter = reader.text("log.filter").trim().to_owned();
    if tracing_subscriber::EnvFilter::try_new(&filter).is_err() {
        reader.fault("log.filter", "be a level such as info, or a list such as warn,tallyhook=debug");
    }
    let formats = [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)];
    Log { format: reader.choice("log.format", &formats, LogFormat::Auto), filter }
}

/// What is fine alone and not together.
fn clashes(settings: &Settings, faults: &mut Vec<String>) {
    let is_free = settings.listen.ends_with(":0") || settings.listen.is_empty();
    if settings.listen == settings.admin_listen && !is_free {
        faults.push("listen and admin_listen are the same address: give each its own port.".to_owned());
    }
    let same = |one: &SecretString, other: &SecretString| one.expose_secret() == other.expose_secret();
    for (at, merchant) in settings.merchants.iter().enumerate() {
        let name = &merchant.name;
        let is_previous = |previous: &SecretString| same(previous, &merchant.secret);
        if !merchant.secret.expose_secret().is_empty() && merchant.previous_secret.as_ref().is_some_and(is_previous) {
            faults.push(format!("merchants.{name}.previous_secret is the same as its secret: remove it."));
        }
        let mut later = settings.merchants.iter().skip(at.saturating_add(1));
        if let Some(other) = later.find(|other| other.key == merchant.key && !other.key.is_empty()) {
            let other = &other.name;
            faults.push(format!(
                "merchants.{name}.key and merchants.{other}.key are the same: each merchant has its own."
            ));
        }
    }
    let (beat_s, outage_s) = (settings.reconcile.heartbeat_s, settings.reconcile.outage_s);
    if i64::try_from(beat_s).is_ok_and(|beat_s| beat_s >= outage_s) {
        faults.push(
            "reconcile.outage_s must be longer than reconcile.heartbeat_s, or every beat is an outage.".to_owned(),
        );
    }
    gateway::clashes(settings, faults);
    for (at, token) in settings.tokens.iter().enumerate() {
        let mut later = settings.tokens.iter().skip(at.saturating_add(1));
        if let Some(other) = later.find(|other| same(&other.secret, &token.secret)) {
            let (name, other) = (&token.name, &other.name);
            let advice = "the same: a token has one role";
            faults.push(format!("tokens.{name}.secret and tokens.{other}.secret are {advice}."));
        }
    }
}
