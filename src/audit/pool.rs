//! The windows of pool addresses, and when each deposit to one was first heard of: what the booker saw, for deciding
//! the same again.

use std::collections::HashMap;

use crate::domain::callback::Callback;
use crate::domain::claim::{self, pool};
use crate::domain::customer::Owner;
use crate::domain::payment::Payment;
use crate::domain::retired;
use crate::store::StoreError;
use crate::store::booking::pool::Windows;
use crate::store::booking::retired::Retired;
use crate::store::proof::{Snapshot, Stored};

pub(super) struct Pools {
    windows: Windows,
    /// By the callback's id.
    received_us: HashMap<i64, i64>,
    /// Addresses that were given up, and when callbacks about them came.
    retired: Retired,
    retired_us: HashMap<i64, i64>,
}

impl Pools {
    pub(super) async fn read(snapshot: &mut Snapshot) -> Result<Self, StoreError> {
        let (windows, received_us) = (snapshot.windows().await?, snapshot.pool_callbacks().await?);
        let retired = snapshot.retired().await?;
        let retired_us = if retired.is_empty() { HashMap::new() } else { snapshot.retired_callbacks().await? };
        Ok(Self { windows, received_us, retired, retired_us })
    }

    /// Whether it came to an address that had been given up when it was decided.
    pub(super) fn is_retired(&self, stored: &Stored, callback: &Callback) -> bool {
        let of_address = retired::address(&callback.head)
            .filter(|_| !self.retired.is_empty())
            .and_then(|address| self.retired.get(&(stored.merchant, address.to_owned())));
        let Some(of_address) = of_address else { return false };
        let received_us = self.retired_us.get(&stored.id).copied().unwrap_or_default();
        retired::is_retired(of_address, &callback.head, received_us, stored.turn)
    }

    /// Whose the deposit is, if it came to a pool address.
    pub(super) fn owner(&self, stored: &Stored, callback: &Callback, payment: Option<&Payment>) -> Option<Owner> {
        let address = pool(&callback.head)?;
        let windows = self.windows.get(&(stored.merchant, address.to_owned()));
        let received_us = self.received_us.get(&stored.id).copied().unwrap_or_default();
        Some(claim::owner(windows.map_or(&[][..], Vec::as_slice), payment, received_us))
    }
}
