//! Every setting there is: key, default, secrecy and one line of explanation. `.env.example`, the refusal of unknown
//! keys and `config show` follow this table. It never reads a value.

/// The prefix of environment variables.
pub const PREFIX: &str = "TALLYHOOK_";
/// Second names, for the variables that every platform sets.
pub const ALIASES: [(&str, &str); 2] = [("DATABASE_URL", "database.url"), ("AMQP_URL", "broker.url")];

/// How much of a value may be shown, and whether it may stand in a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    Open,
    /// A URL: its password is a secret. Also as `…_FILE`.
    Url,
    /// Never shown. Also as `…_FILE`.
    Secret,
}

/// One line of the table. `<name>` in a key stands for a name that the deployment chooses.
#[derive(Debug)]
pub struct Setting {
    pub key: &'static str,
    /// `None`: nothing, unless it is given.
    pub default: Option<&'static str>,
    pub secrecy: Secrecy,
    pub doc: &'static str,
}

const fn setting(key: &'static str, default: &'static str, doc: &'static str) -> Setting {
    Setting { key, default: Some(default), secrecy: Secrecy::Open, doc }
}

const fn url(key: &'static str, default: &'static str, doc: &'static str) -> Setting {
    Setting { key, default: Some(default), secrecy: Secrecy::Url, doc }
}

const fn secret(key: &'static str, doc: &'static str) -> Setting {
    Setting { key, default: None, secrecy: Secrecy::Secret, doc }
}

const fn optional(key: &'static str, doc: &'static str) -> Setting {
    Setting { key, default: None, secrecy: Secrecy::Open, doc }
}

/// The processor's codes and the contracts of the tokens, for (currency, network) as clients of `/v1` name them.
const NETWORKS: &str = "BTC/BTC=BTC,LTC/LTC=LTC,BCH/BCH=BCH,DOGE/DOGE=DOGE,XRP/XRP=XRP,ADA/ADA=ADA,TRX/TRX=TRX,\
    ETH/ETH=ETH,USDT/ETH=USDTE@0xdac17f958d2ee523a2206206994597c13d831ec7,\
    USDC/ETH=USDC@0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48,\
    EURS/ETH=EURS@0xdb25f211ab05b1c97d595516f45794528a807ad8,USDT/TRX=USDTT@TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t,\
    BNB/BSC=BNB-BSC,USDT/BSC=USDTB@0x55d398326f99059ff775485246999027b3197955";

/// All of them, grouped as in `.env.example`.
pub static SETTINGS: &[Setting] = &[
    optional("merchants.<name>.key", "the key id that AlphaPo sends in X-Processing-Key"),
    secret("merchants.<name>.secret", "the secret that belongs to the key, at least 12 characters"),
    secret("merchants.<name>.previous_secret", "the secret before a rotation, accepted until this line is removed"),
    setting("merchants.<name>.credit", "gross", "gross: the merchant bears the fees; net: the customer does"),
    setting(
        "merchants.<name>.unknown_customer",
        "open",
        "open: a first deposit opens the customer; suspense: it waits",
    ),
    optional("merchants.<name>.risk_limit", "deposits with a higher risk score go to suspense; a decimal number"),
    setting(
        "merchants.<name>.verify_above",
        "",
        "CURRENCY=AMOUNT, with commas: above it AlphaPo is asked before a deposit is booked",
    ),
    optional("merchants.<name>.verify_risk", "with a higher risk score too; a decimal number"),
    setting(
        "merchants.<name>.treasury",
        "",
        "end_user_references, with commas, that are the merchant itself: they may send what they do not have",
    ),
    secret("tokens.<name>.secret", "the bearer token, at least 12 characters"),
    optional("tokens.<name>.role", "consumer, viewer, operator or approver; each may do what those before it may"),
    setting("listen", "127.0.0.1:8080", "host:port for callbacks, /v1, /api/v2, /livez and /readyz"),
    setting("admin_listen", "127.0.0.1:8081", "host:port for the admin page, /api, /metrics and /docs"),
    url("database.url", "sqlite://tallyhook.db?mode=rwc", "sqlite://… or postgres://…; also as DATABASE_URL"),
    setting("database.max_connections", "10", "connections of the pool, at most; up to five more beside it"),
    setting("database.connect_timeout_s", "30", "seconds for which the start keeps trying to reach the database"),
    url("broker.url", "", "amqp:// or amqps://, several with commas; empty: events only over HTTP; also as AMQP_URL"),
    setting("broker.declare", "true", "true: declare exchanges and queues at the start; false: they exist"),
    setting("broker.mandatory", "*.credited.*", "routing keys, with commas, of events that a queue must take"),
    setting("broker.window", "250", "events sent ahead of the broker's confirms"),
    setting("broker.delivery_limit", "20", "deliveries of a message before it goes to the dead-letter queue"),
    setting("alphapo.base_url", "https://app.alphapo.net/api/v2", "where the processor's API is"),
    setting("alphapo.connect_timeout_ms", "5000", "milliseconds for a connection to the processor"),
    setting("alphapo.timeout_ms", "30000", "milliseconds for a whole call; afterwards its outcome is unknown"),
    url("alphapo.proxy", "", "http://USER:PASSWORD@HOST:PORT; empty: as HTTPS_PROXY and NO_PROXY say"),
    optional("gateway.<name>.key", "the key id that a client of /v1 sends in X-CPG-Key"),
    secret("gateway.<name>.secret", "the secret that it signs with, at least 12 characters"),
    optional("gateway.<name>.merchant", "the merchant it acts for; may be left out when there is only one"),
    optional("gateway.<name>.permissions", "what it may do, with commas, or all; without any it may only ping"),
    setting("gateway.<name>.rate_limit", "6000", "requests a minute, at most, on each replica"),
    setting("gateway.<name>.ips", "", "addresses and networks it may come from, with commas; empty: any"),
    setting("gateway.<name>.currencies", "*", "deposits: CURRENCY or CURRENCY/NETWORK, with commas; *: all"),
    setting("gateway.tolerance_s", "300", "seconds by which a client's timestamp may differ from our clock"),
    setting("gateway.proxies", "", "addresses and networks of proxies whose X-Forwarded-For is believed"),
    setting("gateway.display_s", "10800", "seconds for which an address is shown to its payer"),
    setting(
        "gateway.monitoring_s",
        "604800",
        "seconds after a request for which a deposit to a pool address is its own",
    ),
    setting("gateway.reuse_s", "604800", "seconds after a request until its pool address may be given out again"),
    setting("gateway.delay_s", "87660", "seconds for which a callback may come late; a pool address rests for as long"),
    setting("gateway.strict_idempotency", "false", "true: a repeat that differs gets 409; false: the first answer"),
    setting("gateway.networks", NETWORKS, "CURRENCY/NETWORK=CODE@CONTRACT, with commas: the processor's codes"),
    setting("reconcile.every_s", "900", "seconds between two comparisons with the processor's balances; 0: never"),
    setting("reconcile.patience_s", "900", "seconds for which a difference may be a callback on its way"),
    setting(
        "reconcile.settle_s",
        "5",
        "seconds for which a surplus is looked at again, as a callback on its way makes one",
    ),
    setting("reconcile.csv.columns.id", "id", "what the dashboard's export calls this column"),
    setting("reconcile.csv.columns.foreign_id", "foreign_id", "what the dashboard's export calls this column"),
    setting("reconcile.csv.columns.type", "type", "what the dashboard's export calls this column"),
    setting("reconcile.csv.columns.status", "status", "what the dashboard's export calls this column"),
    setting("reconcile.csv.columns.currency", "currency", "what the dashboard's export calls this column"),
    setting("reconcile.csv.columns.amount", "amount", "what the dashboard's export calls this column"),
    setting("reconcile.csv.columns.fee", "fee", "what the dashboard's export calls this column"),
    setting("reconcile.csv.columns.txid", "txid", "what the dashboard's export calls this column"),
    setting("reconcile.csv.columns.address", "address", "what the dashboard's export calls this column"),
    setting(
        "reconcile.csv.columns.end_user_reference",
        "end_user_reference",
        "what the dashboard's export calls this column",
    ),
    setting("reconcile.csv.columns.created_at", "created_at", "what the dashboard's export calls this column"),
    setting("reconcile.csv.columns.updated_at", "updated_at", "what the dashboard's export calls this column"),
    setting("reconcile.csv.delimiter", ",", "what separates its columns: a comma, a semicolon, | or tab"),
    setting(
        "reconcile.csv.time_format",
        "[year]-[month]-[day] [hour]:[minute]:[second]",
        "how it writes a time, which is UTC",
    ),
    setting("reconcile.csv.amount_tolerance", "0.00000001", "by how much amounts may differ where no id matches"),
    setting("reconcile.csv.time_tolerance_s", "87660", "seconds by which times may differ where no id matches"),
    setting("reconcile.csv.asks_per_minute", "300", "questions a minute to the processor about what is missing here"),
    setting("reconcile.withdrawal_age_s", "3600", "seconds until a withdrawal under way is asked about; 0: never"),
    setting("reconcile.invoice_age_s", "7200", "seconds until an open invoice is asked about; 0: never"),
    setting("reconcile.deposit_age_s", "10800", "seconds until a deposit that is not final is asked about; 0: never"),
    setting("reconcile.exchange_age_s", "900", "seconds until an exchange under way is asked about; 0: never"),
    setting("reconcile.asks_a_minute", "120", "questions to the processor a minute, at most, of all replicas together"),
    setting("reconcile.misses", "3", "answers of `not found` in a row after which someone is told"),
    setting("reconcile.heartbeat_s", "5", "seconds between two signs of life of reception"),
    setting("reconcile.outage_s", "60", "seconds without one after which that was an outage"),
    setting("checks.every_s", "60", "seconds between two checks of the ledger"),
    setting("checks.hold_s", "259200", "seconds for which a discrepancy may be open before that is an alarm"),
    setting("checks.outbox_s", "300", "seconds for which an event may wait for the broker before that is an alarm"),
    setting("admin.alone", "", "CURRENCY=AMOUNT, with commas: up to which one person may resolve alone; else two"),
    setting("outbound.enabled", "true", "false: no money goes out, whatever the switch of the admin side says"),
    setting("outbound.stuck_s", "180", "seconds after which a withdrawal on its way counts as unknown"),
    setting("outbound.missing_s", "86400", "seconds of `not found` after which an unknown withdrawal needs a person"),
    setting("limits.body_bytes", "65536", "bytes of a request's body, at most"),
    setting("limits.head_timeout_ms", "5000", "milliseconds for a request's head to arrive"),
    setting("limits.body_timeout_ms", "10000", "milliseconds for a request's body to arrive"),
    setting("limits.queue", "4096", "callbacks that may wait for the booker; beyond it the answer is 503"),
    setting("limits.batch", "512", "callbacks booked in one transaction, at most"),
    setting("limits.shutdown_s", "25", "seconds for a graceful stop"),
    setting("limits.http_workers", "1", "threads that serve callbacks; one takes tens of thousands a second"),
    setting("limits.replay_batch", "1000", "callbacks that a replay in the background decides at once, at most"),
    setting("page.secure_cookie", "false", "true: browsers send the session's cookie over https only; needs https"),
    setting("page.idle_minutes", "30", "minutes without a click after which a session of the page ends"),
    setting("page.session_hours", "12", "hours after which a session of the page ends, whatever happens"),
    setting("page.hide_references", "false", "true: pages show only the ends of customers' references, and no bodies"),
    setting("log.format", "auto", "json, text, or auto: text on a terminal, json elsewhere"),
    setting("log.filter", "info", "what is logged, such as `info` or `warn,tallyhook=debug`"),
];

/// The line for a key such as `merchants.main.key`.
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| {
        let mut names = key.split('.');
        setting.key.split('.').all(|part| names.next().is_some_and(|name| part == "<name>" || part == name))
            && names.next().is_none()
    })
}

/// `limits.queue` as `TALLYHOOK_LIMITS__QUEUE`.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// The known key that was probably meant.
pub fn nearest(unknown: &str) -> Option<String> {
    let group = ["merchants", "tokens", "gateway"].into_iter().find(|group| unknown.starts_with(group));
    let name = unknown.split('.').nth(1).filter(|_| group.is_some() && unknown.split('.').count() == 3);
    let keys = SETTINGS.iter().map(|setting| setting.key.replace("<name>", name.unwrap_or("<name>")));
    let stem = unknown.strip_suffix("_file").unwrap_or(unknown);
    let (distance, key) = keys.map(|key| (distance(stem, &key), key)).min_by_key(|(distance, _)| *distance)?;
    let is_near = distance <= unknown.len().div_euclid(3).max(2);
    if is_near {
        return Some(key);
    }
    group.map(|group| format!("{group}.<name>.{}", if group == "tokens" { "role" } else { "key" }))
}

/// How many characters must change to make one of the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, left) in from.chars().enumerate() {
        let mut diagonal = line;
        let mut before = line.saturating_add(1);
        let mut cells = row.iter_mut();
        if let Some(first) = cells.next() {
            *first = before;
        }
        for (cell, right) in cells.zip(to.chars()) {
            let replaced = diagonal.saturating_add(usize::from(left != right));
            diagonal = *cell;
            before = replaced.min(before.min(diagonal).saturating_add(1));
            *cell = before;
        }
    }
    row.last().copied().unwrap_or_default()
}
