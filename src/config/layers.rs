//! From files, variables and flags to one value for each key, with the place it came from. Knows names, aliases,
//! `…_FILE` and which layer wins; never what a value means, and no fault here repeats a value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use config::{Config, ConfigError, FileFormat, Map, Source, Value, ValueKind};

use super::Sources;
use super::table::{self, ALIASES, PREFIX, SETTINGS, Secrecy};

/// A value, and where it was given.
pub(super) struct Given {
    pub(super) value: String,
    pub(super) origin: String,
}

/// The origin of a value that nobody gave.
pub(super) const DEFAULT: &str = "default";

/// One name and value of a layer, as it stands there.
struct Entry {
    name: String,
    key: String,
    value: String,
    is_alias: bool,
}

/// One layer, checked: every key is known.
#[derive(Clone)]
struct Layer(BTreeMap<String, (String, String)>);

/// Keys only: values may be secrets.
impl fmt::Debug for Layer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let value = |(value, origin): &(String, String)| Value::new(Some(origin), ValueKind::String(value.clone()));
        Ok(self.0.iter().map(|(key, given)| (key.clone(), value(given))).collect())
    }
}

/// All layers, later ones winning. Faults are added; what is at fault is left out.
pub(super) fn gather(sources: &Sources, faults: &mut Vec<String>) -> BTreeMap<String, Given> {
    let file = sources.file.as_deref().map(|path| (path.display().to_string(), toml(path, faults)));
    let dotenv = sources.dotenv.as_deref().map(|path| (path.display().to_string(), dotenv(path, faults)));
    let environment = sources.env.iter().filter_map(|(name, value)| variable(name, value)).collect();
    let flags = sources.flags.iter().map(|(name, value)| flag(name, value)).collect();

    let mut builder = Config::builder().add_source(defaults());
    for (place, entries) in file.into_iter().chain(dotenv) {
        builder = builder.add_source(layer(&place, entries, faults));
    }
    builder = builder.add_source(layer("environment", environment, faults));
    let merged = builder.add_source(layer("flag", flags, faults)).build().and_then(|config| config.collect());
    let mut given = BTreeMap::new();
    match merged {
        Ok(merged) => merged.into_iter().for_each(|(key, value)| flatten(key, value, &mut given)),
        Err(error) => faults.push(format!("the settings can't be put together: {error}.")),
    }
    given
}

fn defaults() -> Layer {
    let fixed = SETTINGS.iter().filter(|setting| !setting.key.contains("<name>"));
    let pair = |setting: &table::Setting| Some((setting.key.to_owned(), setting.default?.to_owned()));
    Layer(fixed.filter_map(pair).map(|(key, value)| (key, (value, DEFAULT.to_owned()))).collect())
}

fn flatten(key: String, value: Value, given: &mut BTreeMap<String, Given>) {
    let origin = value.origin().unwrap_or(DEFAULT).to_owned();
    match value.kind {
        ValueKind::String(value) => drop(given.insert(key, Given { value, origin })),
        ValueKind::Table(table) => {
            table.into_iter().for_each(|(name, value)| flatten(format!("{key}.{name}"), value, given));
        }
        // A layer holds nothing but strings.
        ValueKind::Nil | ValueKind::Boolean(_) | ValueKind::Array(_) | ValueKind::Float(_) => {}
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {}
    }
}

/// A variable that is meant for us.
fn variable(name: &str, value: &str) -> Option<Entry> {
    let upper = name.to_uppercase();
    let entry = |key: String, is_alias| Entry { name: name.to_owned(), key, value: value.to_owned(), is_alias };
    for (alias, key) in ALIASES {
        match upper.strip_prefix(alias) {
            Some("") => return Some(entry(key.to_owned(), true)),
            Some("_FILE") => return Some(entry(format!("{key}_file"), true)),
            Some(_) | None => {}
        }
    }
    let rest = upper.strip_prefix(PREFIX)?;
    (!is_foreign(rest, value)).then(|| entry(rest.to_lowercase().replace("__", "."), false))
}

/// Variables with our prefix that are not settings: the test suite's, and those that Kubernetes makes for a service
/// of our name.
fn is_foreign(rest: &str, value: &str) -> bool {
    let is_kubernetes = rest.starts_with("SERVICE_HOST")
        || rest.starts_with("SERVICE_PORT")
        || rest.starts_with("PORT_")
        || (rest == "PORT" && value.contains("://"));
    rest.starts_with("TEST_") || rest == "SAMPLES" || is_kubernetes
}

/// A pair of the command line: `limits.queue`, `limits__queue` or a variable's name.
fn flag(name: &str, value: &str) -> Entry {
    let key = || name.to_lowercase().replace("__", ".");
    variable(name, value).unwrap_or_else(|| Entry {
        name: name.to_owned(),
        key: key(),
        value: value.to_owned(),
        is_alias: false,
    })
}

fn dotenv(path: &Path, faults: &mut Vec<String>) -> Vec<Entry> {
    let place = path.display();
    let lines = match dotenvy::from_path_iter(path) {
        Ok(lines) => lines,
        Err(error) => {
            let cause = if error.not_found() { "does not exist" } else { "can't be opened" };
            faults.push(format!("{place} {cause}."));
            return Vec::new();
        }
    };
    let mut entries = Vec::new();
    for line in lines {
        match line {
            Ok((name, value)) => entries.extend(variable(&name, &value)),
            // The error of a line repeats the line, which may hold a secret.
            Err(dotenvy::Error::LineParse(line, _)) => {
                let name = line.split_once('=').map_or("a line without `=`", |(name, _)| name);
                faults
                    .push(format!("{place} can't be read at {name}: put values with spaces or `$` in single quotes."));
            }
            Err(_) => {
                faults.push(format!("{place} can't be read to its end: it must be UTF-8 text."));
                break;
            }
        }
    }
    entries
}

fn toml(path: &Path, faults: &mut Vec<String>) -> Vec<Entry> {
    let place = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            faults.push(format!("{place} can't be read: {error}."));
            return Vec::new();
        }
    };
    let mut entries = Vec::new();
    match config::File::from_str(&text, FileFormat::Toml).collect() {
        Ok(table) => {
            for (name, value) in table {
                leaf(name, value, &mut entries, faults);
            }
        }
        Err(error) => {
            // Only the first line, which names the place: the others quote the text, which may hold a secret.
            let cause = error.to_string();
            let cause = cause.lines().next().filter(|line| line.starts_with("TOML parse error at"));
            faults.push(format!("{place}: {}.", cause.unwrap_or("this is not TOML")));
        }
    }
    entries
}

fn leaf(name: String, value: Value, entries: &mut Vec<Entry>, faults: &mut Vec<String>) {
    let key = name.to_lowercase();
    let is_text = matches!(value.kind, ValueKind::String(_) | ValueKind::Array(_));
    let is_secret = table::find(&key).is_some_and(|setting| setting.secrecy != Secrecy::Open);
    let value = match value.kind {
        ValueKind::Table(table) => {
            table.into_iter().for_each(|(child, value)| leaf(format!("{name}.{child}"), value, entries, faults));
            return;
        }
        ValueKind::Array(items) => items.into_iter().map(Value::into_string).collect::<Result<Vec<_>, _>>().ok(),
        ValueKind::String(value) => Some(vec![value]),
        ValueKind::Boolean(value) => Some(vec![value.to_string()]),
        ValueKind::I64(value) => Some(vec![value.to_string()]),
        ValueKind::I128(value) => Some(vec![value.to_string()]),
        ValueKind::U64(value) => Some(vec![value.to_string()]),
        ValueKind::U128(value) => Some(vec![value.to_string()]),
        // Floats lose digits.
        ValueKind::Float(_) | ValueKind::Nil => None,
    };
    match value.filter(|_| is_text || !is_secret) {
        Some(values) => entries.push(Entry { name, key, value: values.join(","), is_alias: false }),
        None => faults.push(format!("{name} must be a text: put its value in quotes.")),
    }
}

/// Checks a layer's names, and makes one value of each setting's alternatives.
fn layer(place: &str, entries: Vec<Entry>, faults: &mut Vec<String>) -> Layer {
    let is_variable = |entry: &Entry| entry.name.to_uppercase().starts_with(PREFIX);
    let mut by_key: BTreeMap<String, Vec<(Entry, bool)>> = BTreeMap::new();
    for entry in entries {
        let stem = entry.key.strip_suffix("_file").filter(|stem| table::find(stem).is_some_and(has_file));
        if let Some(stem) = stem {
            by_key.entry(stem.to_owned()).or_default().push((entry, true));
        } else if table::find(&entry.key).is_none() {
            let meant = table::nearest(&entry.key);
            let meant = meant.map(|key| if is_variable(&entry) { table::variable(&key) } else { key });
            let advice = meant.map_or("remove it.".to_owned(), |meant| format!("did you mean {meant}?"));
            faults.push(format!("{} ({place}) is not a setting: {advice}", entry.name));
        } else {
            by_key.entry(entry.key.clone()).or_default().push((entry, false));
        }
    }
    let chosen = by_key.into_iter().filter_map(|(key, entries)| Some((key, choose(place, entries, faults)?)));
    Layer(chosen.collect())
}

fn has_file(setting: &table::Setting) -> bool {
    setting.secrecy != Secrecy::Open
}

/// Our own names beat aliases; a value and a file beside each other are a fault; of repeated flags the last counts.
fn choose(place: &str, mut entries: Vec<(Entry, bool)>, faults: &mut Vec<String>) -> Option<(String, String)> {
    if entries.iter().any(|(entry, _)| !entry.is_alias) {
        entries.retain(|(entry, _)| !entry.is_alias);
    }
    let names = || entries.iter().map(|(entry, _)| entry.name.as_str()).collect::<Vec<_>>().join(" and ");
    let has_both = entries.iter().any(|(_, is_file)| *is_file) && entries.iter().any(|(_, is_file)| !is_file);
    if has_both || (entries.len() > 1 && place != "flag") {
        faults.push(format!("{} ({place}) name the same setting: keep one of them.", names()));
    }
    let (entry, is_file) = entries.pop()?;
    let origin = format!("{place}: {}", entry.name);
    if entry.value.contains('\u{FFFD}') {
        faults.push(format!("{} ({place}) must be UTF-8 text.", entry.name));
    }
    if !is_file {
        return Some((entry.value, origin));
    }
    match std::fs::read_to_string(&entry.value) {
        Ok(text) => {
            let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
            Some((text.to_owned(), origin))
        }
        // Not the path: it is the secret itself, when someone mistook the one setting for the other.
        Err(error) => {
            faults.push(format!("the file that {} ({place}) names can't be read: {error}.", entry.name));
            None
        }
    }
}
