//! Logs to stderr: a sentence and its fields, as JSON or text. Set up once, from the settings alone (`RUST_LOG` is
//! ignored).
//!
//! One spelling for each field: `callback`, `payment`, `merchant`, `event`, `entry`, `batch_size`, `state`, `reason`,
//! `attempt`, `error`; units stand last (`elapsed_ms`, `body_bytes`, `age_s`). Never: bodies, secrets, signatures,
//! tokens, URLs with a password, whole addresses (the first and last 4 characters do), customers' references.
//! error = someone must act, warn = recovered, info = one line for each callback and stop.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{Log, LogFormat};

/// Starts logging. Fails only when something else already does.
pub fn init(log: &Log) -> Result<(), TryInitError> {
    let is_terminal = std::io::stderr().is_terminal();
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // lapin logs every returned message with its body; what came back is in our own log, without it.
    let filter = match "lapin=off".parse() {
        Ok(silence) => filter.add_directive(silence),
        Err(_) => filter,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A line that can't be written (a full disk) must not become a panic, which complaining about it on stderr would.
    let builder = builder.log_internal_errors(false);
    let is_json = match log.format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    if is_json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).finish().try_init()
    } else if is_terminal {
        // Colours, unless `NO_COLOR` is set.
        builder.finish().try_init()
    } else {
        builder.with_ansi(false).finish().try_init()
    }
}

/// A wallet address for a log: enough to recognise it, too little to look it up.
pub fn short(address: &str) -> String {
    let count = address.chars().count();
    if count <= 12 {
        return "…".to_owned();
    }
    let head: String = address.chars().take(4).collect();
    let tail: String = address.chars().skip(count.saturating_sub(4)).collect();
    format!("{head}…{tail}")
}
