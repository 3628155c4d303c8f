//! Settings: layers, names, refusals. Everything comes in through [`Sources`]; the process environment is not touched.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;
use tallyhook::config::table::{SETTINGS, Secrecy, variable};
use tallyhook::config::{Faults, Role, Settings, Sources, redact_url, show};
use tallyhook::domain::decide::{Credit, UnknownCustomer};

/// Long enough, and plainly no secret.
const SECRET: &str = "0012345-not-a-secret";
const OLD: &str = "before-not-a-secret";

fn env(pairs: &[(&str, &str)]) -> Sources {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Sources { env: pairs.collect(), ..Sources::default() }
}

fn merchant() -> Sources {
    env(&[("TALLYHOOK_MERCHANTS__MAIN__KEY", "main-key"), ("TALLYHOOK_MERCHANTS__MAIN__SECRET", SECRET)])
}

fn with(mut sources: Sources, pairs: &[(&str, &str)]) -> Sources {
    sources.env.extend(env(pairs).env);
    sources
}

fn faults(sources: &Sources) -> Vec<String> {
    Settings::load(sources).map(|_| ()).expect_err("must be refused").0
}

/// One fault, which has all of these words.
fn refused(sources: &Sources, words: &[&str]) {
    let faults = faults(sources);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    let fault = faults.concat();
    assert!(words.iter().all(|word| fault.contains(word)), "{fault} should have {words:?}");
}

/// A file in a folder of its own, removed at the end.
struct Scrap(PathBuf);

impl Scrap {
    fn new(name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tallyhook-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a temporary file");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a plain path")
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(self.0.parent().expect("its folder")));
    }
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let settings = Settings::load(&Sources::default()).expect("the defaults are fine");
    assert_eq!(settings.database.url.expose_secret(), "sqlite://tallyhook.db?mode=rwc");
    assert_eq!((settings.listen.as_str(), settings.admin_listen.as_str()), ("127.0.0.1:8080", "127.0.0.1:8081"));
    assert_eq!(settings.alphapo.base_url, "https://app.alphapo.net/api/v2");
    assert!(settings.broker.urls.is_empty() && settings.merchants.is_empty() && settings.tokens.is_empty());
    assert_eq!(settings.broker.mandatory, ["*.credited.*"]);
    assert_eq!((settings.limits.body_bytes, settings.broker.window, settings.limits.batch), (65536, 250, 512));
}

#[test]
fn a_secret_of_digits_stays_as_it_is() {
    let secret = "001234500000";
    let settings = Settings::load(&with(merchant(), &[("TALLYHOOK_MERCHANTS__MAIN__SECRET", secret)])).expect("fine");
    let main = settings.merchant("main").expect("it was given");
    assert_eq!(main.secret.expose_secret(), secret);
    assert_eq!((main.policy.credit, main.policy.unknown_customer), (Credit::Gross, UnknownCustomer::Open));
    assert_eq!(main.policy.risk_limit, None);
}

#[test]
fn all_faults_are_listed_at_once_and_none_repeats_a_secret() {
    let sources = env(&[
        ("TALLYHOOK_LIMITS__QUEUE", "many"),
        ("TALLYHOOK_LISTEN", "nowhere"),
        ("TALLYHOOK_LOG__FORMAT", "xml"),
        ("TALLYHOOK_MERCHANTS__MAIN__KEY", "main-key"),
        ("TALLYHOOK_MERCHANTS__MAIN__SECRET", "tooshort"),
        ("TALLYHOOK_MERCHANTS__OTHER__SECRET", ""),
        ("TALLYHOOK_MERCHANTS__OTHER__CREDIT", "most"),
        ("TALLYHOOK_TOKENS__ADMIN__SECRET", SECRET),
        ("DATABASE_URL", "mysql://user:hidden@host/db"),
        ("AMQP_URL", "amqp://one,http://user:hidden@two"),
    ]);
    let faults = faults(&sources);
    let keys = [
        "merchants.main.secret",
        "merchants.other.key",
        "merchants.other.secret",
        "merchants.other.credit",
        "tokens.admin.role",
        "listen",
        "database.url",
        "broker.url",
        "limits.queue",
        "log.format",
    ];
    for key in keys {
        assert!(faults.iter().any(|fault| fault.starts_with(key)), "no fault of {key} in {faults:#?}");
    }
    assert_eq!(faults.len(), keys.len(), "{faults:#?}");
    let text = Faults(faults).to_string();
    assert!(!text.contains("tooshort") && !text.contains("hidden") && !text.contains(SECRET), "{text}");
    assert!(text.contains("limits.queue (environment: TALLYHOOK_LIMITS__QUEUE) is `many`"), "{text}");
}

#[test]
fn unknown_keys_are_refused_with_the_key_that_was_meant() {
    let unknown = |name: &str, meant: &str| refused(&env(&[(name, "x")]), &[name, "did you mean", meant]);
    unknown("TALLYHOOK_LISTN", "TALLYHOOK_LISTEN?");
    unknown("TALLYHOOK_DATABASE_URL", "TALLYHOOK_DATABASE__URL?");
    unknown("TALLYHOOK_MERCHANTS__MAIN__SECRETS", "TALLYHOOK_MERCHANTS__MAIN__SECRET?");
    unknown("TALLYHOOK_MERCHANTS_MAIN_KEY", "TALLYHOOK_MERCHANTS__");
    unknown("TALLYHOOK_TOKENS__ADMIN__ROLES", "TALLYHOOK_TOKENS__ADMIN__ROLE?");
    refused(&env(&[("TALLYHOOK_SOMETHING_ELSE", "x")]), &["TALLYHOOK_SOMETHING_ELSE", "remove it"]);
    refused(&env(&[("TALLYHOOK_LISTEN_FILE", "x")]), &["TALLYHOOK_LISTEN_FILE", "not a setting"]);

    let file = Scrap::new("unknown.toml", "[limits]\nqueues = 5\n");
    refused(&Sources { file: Some(file.0.clone()), ..Sources::default() }, &["limits.queues", "limits.queue?"]);
    refused(&Sources { flags: vec![("lissten".into(), "x".into())], ..Sources::default() }, &["lissten", "listen?"]);
}

#[test]
fn variables_that_are_not_for_us_are_left_alone() {
    let foreign = [
        ("TALLYHOOK_TEST_DATABASE_URL", "x"),
        ("TALLYHOOK_SAMPLES", "x"),
        ("TALLYHOOK_SERVICE_HOST", "10.0.0.1"),
        ("TALLYHOOK_SERVICE_PORT_HTTP", "8080"),
        ("TALLYHOOK_PORT", "tcp://10.0.0.1:8080"),
        ("TALLYHOOK_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("RUST_LOG", "trace"),
    ];
    assert!(Settings::load(&env(&foreign)).is_ok());
    refused(&env(&[("TALLYHOOK_PORT", "8080")]), &["TALLYHOOK_PORT"]);
}

#[test]
fn later_layers_win_and_each_value_names_its_source() {
    let file = Scrap::new(
        "layers.toml",
        "listen = '127.0.0.1:1'\n[limits]\nqueue = 1\nbatch = 1\nshutdown_s = 1\nhttp_workers = 1\n",
    );
    let dotenv = Scrap::new(
        "layers.env",
        "TALLYHOOK_LIMITS__QUEUE=2\nTALLYHOOK_LIMITS__BATCH=2\nTALLYHOOK_LIMITS__SHUTDOWN_S=2\nOTHER='x y'\n",
    );
    let mut sources = env(&[("TALLYHOOK_LIMITS__BATCH", "3"), ("tallyhook_limits__shutdown_s", "3")]);
    sources.file = Some(file.0.clone());
    sources.dotenv = Some(dotenv.0.clone());
    sources.flags = vec![("limits.shutdown_s".into(), "9".into()), ("Limits__Shutdown_S".into(), "4".into())];
    let limits = Settings::load(&sources).expect("fine").limits;
    assert_eq!((limits.http_workers, limits.queue, limits.batch, limits.shutdown_s), (1, 2, 3, 4));
    let source = |key: &str| show(&sources).into_iter().find(|shown| shown.key == key).expect("it is shown").source;
    assert_eq!(source("limits.http_workers"), format!("{}: limits.http_workers", file.path()));
    assert_eq!(source("limits.queue"), format!("{}: TALLYHOOK_LIMITS__QUEUE", dotenv.path()));
    assert_eq!(source("limits.batch"), "environment: TALLYHOOK_LIMITS__BATCH");
    assert_eq!(source("limits.shutdown_s"), "flag: Limits__Shutdown_S");
    assert_eq!(source("limits.body_bytes"), "default");
}

#[test]
fn our_own_name_beats_the_alias_in_its_layer_and_a_later_layer_beats_both() {
    let both = env(&[("DATABASE_URL", "sqlite://alias"), ("TALLYHOOK_DATABASE__URL", "sqlite://own")]);
    assert_eq!(Settings::load(&both).expect("fine").database.url.expose_secret(), "sqlite://own");
    let dotenv = Scrap::new("alias.env", "TALLYHOOK_DATABASE__URL=sqlite://own\nAMQP_URL=amqp://one,amqps://two\n");
    let mut later = env(&[("DATABASE_URL", "sqlite://alias")]);
    later.dotenv = Some(dotenv.0.clone());
    let settings = Settings::load(&later).expect("fine");
    assert_eq!(settings.database.url.expose_secret(), "sqlite://alias");
    assert_eq!(settings.broker.urls.len(), 2);
}

#[test]
fn a_secret_may_stand_in_a_file() {
    let file = Scrap::new("secret", &format!("{SECRET}\n"));
    let name = "TALLYHOOK_MERCHANTS__MAIN__SECRET_FILE";
    let key = ("TALLYHOOK_MERCHANTS__MAIN__KEY", "main-key");
    let settings = Settings::load(&env(&[key, (name, file.path())])).expect("fine");
    assert_eq!(settings.merchants.first().map(|main| main.secret.expose_secret()), Some(SECRET));

    refused(&with(merchant(), &[(name, file.path())]), &[name, "keep one"]);
    let missing = faults(&env(&[key, (name, "/nowhere/at-all")])).concat();
    assert!(missing.contains(name) && !missing.contains("/nowhere"), "{missing}");

    let url = Scrap::new("url", "postgres://user:hidden@host/db\r\n");
    let settings = Settings::load(&env(&[("DATABASE_URL_FILE", url.path())])).expect("fine");
    assert_eq!(settings.database.url.expose_secret(), "postgres://user:hidden@host/db");
}

#[test]
fn empty_short_and_shared_secrets_are_refused() {
    let secret = |value: &str| with(merchant(), &[("TALLYHOOK_MERCHANTS__MAIN__SECRET", value)]);
    refused(&secret(""), &["merchants.main.secret", "not be empty"]);
    refused(&secret("elevenchars"), &["merchants.main.secret", "at least 12"]);
    refused(&env(&[("TALLYHOOK_MERCHANTS__MAIN__KEY", "k")]), &["merchants.main.secret is missing"]);
    let second = [("TALLYHOOK_MERCHANTS__TWO__KEY", "main-key"), ("TALLYHOOK_MERCHANTS__TWO__SECRET", SECRET)];
    refused(&with(merchant(), &second), &["merchants.main.key", "merchants.two.key"]);
    let tokens = [
        ("TALLYHOOK_TOKENS__A__SECRET", SECRET),
        ("TALLYHOOK_TOKENS__A__ROLE", "viewer"),
        ("TALLYHOOK_TOKENS__B__SECRET", SECRET),
        ("TALLYHOOK_TOKENS__B__ROLE", "approver"),
    ];
    refused(&env(&tokens), &["tokens.a.secret", "tokens.b.secret"]);
    refused(&with(merchant(), &[("TALLYHOOK_MERCHANTS__MAIN__RISK_LIMIT", "1e3")]), &["risk_limit", "7.5"]);
    refused(&env(&[("TALLYHOOK_ADMIN_LISTEN", "127.0.0.1:8080")]), &["admin_listen", "same address"]);
}

#[test]
fn while_rotating_there_are_two_different_secrets() {
    let name = "TALLYHOOK_MERCHANTS__MAIN__PREVIOUS_SECRET";
    let settings = Settings::load(&with(merchant(), &[(name, OLD)])).expect("fine");
    let previous = settings.merchants.first().and_then(|main| main.previous_secret.as_ref());
    assert_eq!(previous.map(ExposeSecret::expose_secret), Some(OLD));
    refused(&with(merchant(), &[(name, SECRET)]), &["previous_secret", "same"]);
    refused(&with(merchant(), &[(name, "")]), &["previous_secret", "not be empty"]);
}

#[test]
fn secrets_are_neither_in_debug_nor_shown() {
    let sources = with(
        merchant(),
        &[
            ("TALLYHOOK_MERCHANTS__MAIN__PREVIOUS_SECRET", OLD),
            ("TALLYHOOK_TOKENS__ADMIN__SECRET", "admin-not-a-secret"),
            ("TALLYHOOK_TOKENS__ADMIN__ROLE", "operator"),
            ("DATABASE_URL", "postgres://user:hid/d@en@host/db?sslpassword=hidden"),
            ("AMQP_URL", "amqp://user:hidden@one:5672/%2f,amqp://user:hidden@two"),
        ],
    );
    let settings = Settings::load(&sources).expect("fine");
    assert_eq!(settings.tokens.first().map(|token| token.role), Some(Role::Operator));
    assert!(Role::Consumer < Role::Viewer && Role::Viewer < Role::Operator && Role::Operator < Role::Approver);
    let texts = format!("{settings:?} {:?}", show(&sources));
    for hidden in [SECRET, OLD, "admin-not-a-secret", "hidden", "d@en"] {
        assert!(!texts.contains(hidden), "{hidden} in {texts}");
    }
    let value = |key: &str| show(&sources).into_iter().find(|shown| shown.key == key).map(|shown| shown.value);
    assert_eq!(value("broker.url").as_deref(), Some("amqp://user:[redacted]@one:5672/%2f,amqp://user:[redacted]@two"));
    assert_eq!(value("merchants.main.key").as_deref(), Some("main-key"));
    assert_eq!(value("merchants.main.credit").as_deref(), Some("gross"));
    assert_eq!(redact_url("user:hidden@host"), "[redacted]");
}

#[test]
fn a_broken_file_is_named_without_its_text() {
    let toml = Scrap::new("broken.toml", "listen = 'x' hidden\n");
    let sources = Sources { file: Some(toml.0.clone()), ..Sources::default() };
    refused(&sources, &["broken.toml", "error at line"]);
    assert!(!faults(&sources).concat().contains("hidden"));
    let dotenv = Scrap::new("broken.env", "TALLYHOOK_MERCHANTS__MAIN__SECRET='hidden\n");
    let sources = Sources { dotenv: Some(dotenv.0.clone()), ..Sources::default() };
    refused(&sources, &["broken.env", "TALLYHOOK_MERCHANTS__MAIN__SECRET"]);
    assert!(!faults(&sources).concat().contains("hidden"));
    refused(&Sources { file: Some("/nowhere/at-all.toml".into()), ..Sources::default() }, &["at-all.toml"]);
}

#[test]
fn toml_takes_lists_and_refuses_floats_and_bare_secrets() {
    let load = |text: &str| {
        let file = Scrap::new("types.toml", text);
        Settings::load(&Sources { file: Some(file.0.clone()), ..Sources::default() })
    };
    let settings = load("[broker]\nurl = ['amqp://one', 'amqp://two']\ndeclare = false\n").expect("fine");
    assert_eq!((settings.broker.urls.len(), settings.broker.declare), (2, false));
    let merchant = "[merchants.main]\nkey = 'k'\n";
    let faults = load(&format!("{merchant}secret = 123456789012\nrisk_limit = 7.5\n")).expect_err("refused").0;
    assert!(faults.iter().any(|fault| fault.starts_with("merchants.main.secret must be a text")), "{faults:#?}");
    assert!(faults.iter().any(|fault| fault.starts_with("merchants.main.risk_limit must be a text")), "{faults:#?}");
    assert!(load(&format!("{merchant}secret = '{SECRET}'\nrisk_limit = '7.5'\n")).is_ok());
}

#[test]
fn the_example_lists_every_setting_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".env.example");
    let example = std::fs::read_to_string(path).expect("it is part of the project");
    let lines = example.lines().map(|line| line.trim_start_matches("# ")).filter(|line| line.starts_with("TALLYHOOK_"));
    let lines: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once('=')).collect();
    let expected = SETTINGS.iter().map(|setting| {
        let names = [("tokens", "admin"), ("gateway", "shop")];
        let name = names.iter().find(|(group, _)| setting.key.starts_with(group)).map_or("main", |(_, name)| name);
        (variable(&setting.key.replace("<name>", name)), setting.default.unwrap_or_default())
    });
    let expected: Vec<(String, &str)> = expected.collect();
    let expected: Vec<(&str, &str)> = expected.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(lines, expected, "the same lines in the same order");
    assert_eq!(lines.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len(), SETTINGS.len());
    assert!(SETTINGS.iter().all(|setting| !setting.doc.is_empty()));
    assert!(SETTINGS.iter().all(|setting| setting.secrecy != Secrecy::Secret || setting.default.is_none()));
}

#[test]
fn a_copied_example_does_not_start_and_says_why() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".env.example");
    let faults = faults(&Sources { dotenv: Some(path), ..Sources::default() });
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults.iter().any(|fault| fault.starts_with("merchants.main.key") && fault.contains("key id")));
    assert!(faults.iter().any(|fault| fault.starts_with("merchants.main.secret") && fault.contains("not be empty")));
}
