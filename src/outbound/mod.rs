//! Outgoing requests to the processor, for handlers and workers alike: what must be written before a call, what is written
//! after it, and what is done when nobody knows. Every answer that is about money goes through the booker.

pub mod addresses;
pub mod asks;
pub mod board;
pub mod exports;
pub mod invoices;
pub mod missing;
pub mod outages;
pub mod reconcile;
pub mod verify;
pub mod withdrawals;

use crate::app::App;
use crate::booker::OrderError;
use crate::domain::ids::{CallbackId, MerchantId};
use crate::domain::order::{Finding, Order};
use crate::store::StoreError;
use crate::store::audit_log::Actor;
use crate::store::discrepancies::{self, NoteKind};
use crate::store::outbound::{self, Switch};

/// Whether money may go out, by the setting and by the switch.
pub async fn is_stopped(app: &App) -> Result<bool, StoreError> {
    Ok(!app.settings.outbound.enabled || outbound::state(&app.db).await?.is_stopped)
}

/// Turns the switch, for all replicas.
pub async fn turn(app: &App, is_stopped: bool, by: &Actor, note: &str) -> Result<Switch, StoreError> {
    let (changed_us, changed_by, note) = ((app.clock)(), by.name.clone(), note.to_owned());
    let switch = Switch { is_stopped, changed_us, changed_by, note };
    outbound::turn(&app.db, &switch, by).await?;
    tracing::warn!(by = by.name, "{}", if is_stopped { "Stopped outgoing money" } else { "Let money go out again" });
    Ok(switch)
}

/// Opens a discrepancy for what was found, and says there what it is. Found again, it is the same order: it opens nothing.
pub async fn report(app: &App, merchant: MerchantId, finding: Finding, by: &str) -> anyhow::Result<Option<i64>> {
    let note = finding.note.clone();
    let placed = app.booker.order(merchant, Order::Report(finding)).await?;
    let opened = crate::store::reconcile::opened_by(&app.db, CallbackId(placed.id)).await?;
    if let Some(id) = opened.filter(|_| !placed.is_duplicate) {
        let actor = Actor { name: by.to_owned(), role: "worker", request_id: String::new() };
        discrepancies::say(&app.db, id, NoteKind::Evidence, &note, (&actor, (app.clock)())).await?;
    }
    Ok(opened)
}

/// Settles a discrepancy that has become true; `note` says why. Nothing happens when someone was faster.
pub async fn settle(app: &App, merchant: MerchantId, discrepancy: i64, note: &str, by: &str) -> Result<(), OrderError> {
    let (note, by) = (note.to_owned(), by.to_owned());
    match app.booker.order(merchant, Order::Settle { discrepancy, note, by }).await {
        Ok(_) | Err(OrderError::Declined(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
