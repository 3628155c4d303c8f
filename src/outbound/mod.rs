//! Outgoing requests to the processor, for handlers and workers alike: what must be written before a call, what is written
//! after it, and what is done when nobody knows. Every answer that is about money goes through the booker.

pub mod addresses;
pub mod asks;
pub mod invoices;
pub mod reconcile;
pub mod withdrawals;

use crate::app::App;
use crate::store::StoreError;
use crate::store::outbound::{self, Switch};

/// Whether money may go out, by the setting and by the switch.
pub async fn is_stopped(app: &App) -> Result<bool, StoreError> {
    Ok(!app.settings.outbound.enabled || outbound::state(&app.db).await?.is_stopped)
}

/// Turns the switch, for all replicas.
pub async fn turn(app: &App, is_stopped: bool, by: &str, note: &str) -> Result<Switch, StoreError> {
    let switch = Switch { is_stopped, changed_us: (app.clock)(), changed_by: by.to_owned(), note: note.to_owned() };
    outbound::turn(&app.db, &switch).await?;
    tracing::warn!(by, "{}", if is_stopped { "Stopped outgoing money" } else { "Let money go out again" });
    Ok(switch)
}
