//! A run of reconciliation that somebody asks for: all merchants, now, unless one is under way already on any replica.

use rand::distr::{Alphanumeric, SampleString};
use tracing::warn;

use super::reconcile::{self, ReconcileError};
use crate::app::App;
use crate::store::{StoreError, cursor};

/// Whoever compares holds this lease, be it the worker or a person's run.
pub const CURSOR: &str = "reconcile";
pub const LEASE_US: i64 = 120_000_000;

/// A run that may begin.
pub struct Turn {
    owner: String,
}

/// Takes the turn. `None`: a run is under way.
pub async fn take_turn(app: &App) -> Result<Option<Turn>, StoreError> {
    let owner = Alphanumeric.sample_string(&mut rand::rng(), 32);
    let taken = cursor::take_lease(&app.db, CURSOR, &owner, LEASE_US).await?;
    Ok(taken.map(|_| Turn { owner }))
}

/// Compares every merchant's balances, and gives the turn back whatever came of it.
pub async fn run(app: &App, turn: Turn, by: &str) -> Result<(), ReconcileError> {
    let mut result = Ok(());
    for (id, name) in app.merchants() {
        // Taken again for each merchant: a slow processor must not make it run out.
        if cursor::take_lease(&app.db, CURSOR, &turn.owner, LEASE_US).await?.is_none() {
            warn!("A run that was asked for lost its turn to another");
            break;
        }
        if let Err(error) = reconcile::run(app, id, by).await {
            warn!(merchant = name, error = %error, "A run that was asked for failed");
            result = Err(error);
        }
    }
    cursor::release(&app.db, CURSOR, &turn.owner).await?;
    result
}
