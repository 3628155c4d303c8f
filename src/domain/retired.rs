//! Addresses that must not be used any more. What was heard of before goes on as before; what is first heard of
//! afterwards waits for a person. Pure.

use super::callback::Head;
use super::payment::Family;

/// When an address was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retirement {
    /// What callbacks about it carry: where customers share an address and differ by a tag, this tells them apart.
    pub foreign_id: String,
    pub at_us: i64,
    /// The journal's turn at that moment: what has an earlier one was decided without knowing.
    pub turn: i64,
}

/// The address that a deposit came to.
pub fn address(head: &Head) -> Option<&str> {
    head.address.as_deref().filter(|_| head.family() == Family::Deposit)
}

/// Whether a callback that came at `received_us` and is decided at `turn` tells of an address that was given up before.
pub fn is_retired(of_address: &[Retirement], head: &Head, received_us: i64, turn: i64) -> bool {
    let foreign_id = head.foreign_id.as_deref().unwrap_or_default();
    let before = |one: &Retirement| one.foreign_id == foreign_id && one.at_us <= received_us && one.turn < turn;
    of_address.iter().any(before)
}
