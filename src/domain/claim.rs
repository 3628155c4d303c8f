//! Whose a deposit to a pool address is. Such an address is given out again and again, so it names nobody: the request
//! whose window held the moment when we first heard of the payment does. None, or two that could be meant: nobody.

use super::callback::Head;
use super::customer::Owner;
use super::ids::CustomerId;
use super::payment::{Family, Payment};
use super::reason::Reason;

/// The foreign ids that pool addresses are taken under begin with this.
pub const POOL: &str = "tallyhook:pool:";

/// A request that had, or has, a pool address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub created_us: i64,
    pub monitoring_until_us: i64,
    /// Until then a callback may come late about money that came within the window.
    pub claim_until_us: i64,
    /// Who is credited: known under [`request_reference`].
    pub customer: Option<CustomerId>,
}

/// Whether a foreign id is that of a pool address.
pub fn is_pool(foreign_id: &str) -> bool {
    foreign_id.starts_with(POOL)
}

/// The pool address that a callback is about, by its foreign id.
pub fn pool(head: &Head) -> Option<&str> {
    head.foreign_id.as_deref().filter(|foreign_id| is_pool(foreign_id) && head.family() == Family::Deposit)
}

/// By what the payer of a request without a user is known.
pub fn request_reference(request: i64) -> String {
    format!("request:{request}")
}

/// Whose the payment is: whose it was when we first heard of it, else whose window holds this moment.
pub fn owner(windows: &[Window], payment: Option<&Payment>, received_us: i64) -> Owner {
    let claimed = claimant(windows, received_us);
    match (payment, claimed) {
        (Some(Payment { customer: Some(customer), .. }), _) => Owner::Known(*customer),
        (None, Ok(customer)) => Owner::Known(customer),
        // It was nobody's when it began: a window that opened since is not its own.
        (Some(_), Ok(_)) => Owner::Withheld(Reason::PoolUnclaimed),
        (Some(_) | None, Err(reason)) => Owner::Withheld(reason),
    }
}

fn claimant(windows: &[Window], at_us: i64) -> Result<CustomerId, Reason> {
    let could_be = |window: &&Window| window.created_us <= at_us && at_us <= window.claim_until_us;
    let mut candidates = windows.iter().filter(could_be);
    match (candidates.next(), candidates.next()) {
        (Some(_), Some(_)) => Err(Reason::PoolContested),
        (Some(window), None) if at_us <= window.monitoring_until_us => window.customer.ok_or(Reason::PoolUnclaimed),
        (Some(_) | None, None) | (None, Some(_)) => Err(Reason::PoolUnclaimed),
    }
}
