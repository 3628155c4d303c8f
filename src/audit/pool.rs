//! The windows of pool addresses, and when each deposit to one was first heard of: what the booker saw, for deciding
//! the same again.

use std::collections::HashMap;

use crate::domain::callback::Callback;
use crate::domain::claim::{self, pool};
use crate::domain::customer::Owner;
use crate::domain::payment::Payment;
use crate::store::StoreError;
use crate::store::booking::pool::Windows;
use crate::store::proof::{Snapshot, Stored};

pub(super) struct Pools {
    windows: Windows,
    /// By the callback's id.
    received_us: HashMap<i64, i64>,
}

impl Pools {
    pub(super) async fn read(snapshot: &mut Snapshot) -> Result<Self, StoreError> {
        let (windows, received_us) = (snapshot.windows().await?, snapshot.pool_callbacks().await?);
        Ok(Self { windows, received_us })
    }

    /// Whose the deposit is, if it came to a pool address.
    pub(super) fn owner(&self, stored: &Stored, callback: &Callback, payment: Option<&Payment>) -> Option<Owner> {
        let address = pool(&callback.head)?;
        let windows = self.windows.get(&(stored.merchant, address.to_owned()));
        let received_us = self.received_us.get(&stored.id).copied().unwrap_or_default();
        Some(claim::owner(windows.map_or(&[][..], Vec::as_slice), payment, received_us))
    }
}
