//! Which of the processor's endpoints a path means, however it is written: servers fold slashes and decode characters,
//! so a path that looks unknown could still be one that moves money.

use crate::store::requests::Kind;

/// What a path is for, as far as we care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Asks for no signature.
    Ping,
    Withdrawal(Fields),
    /// Written down beside being forwarded.
    Recorded(Kind),
    /// Some other path that speaks of withdrawals: the switch holds for it too.
    Money,
    Elsewhere,
}

/// How a withdrawal's fields are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fields {
    /// `currency` and `amount`
    Plain,
    /// `sender_currency` and `sender_amount`
    Instant,
}

/// `None`: a path that leads elsewhere than it says.
pub(super) fn place(path: &str) -> Option<Place> {
    let path = path.split_once('?').map_or(path, |(path, _query)| path);
    let decoded = decode(path)?;
    let segments: Vec<&str> = decoded.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.iter().any(|segment| matches!(*segment, "." | "..")) || decoded.contains('\\') {
        return None;
    }
    Some(match segments.as_slice() {
        ["ping"] => Place::Ping,
        ["addresses", "take"] => Place::Recorded(Kind::Address),
        ["withdrawal", "crypto"] => Place::Withdrawal(Fields::Plain),
        ["crypto", "withdrawal_instant" | "withdrawal_instant_exchange"] => Place::Withdrawal(Fields::Instant),
        ["invoices", "create"] => Place::Recorded(Kind::Invoice),
        ["exchange", "now" | "fixed"] => Place::Recorded(Kind::Exchange),
        _ if decoded.to_ascii_lowercase().contains("withdrawal") => Place::Money,
        _ => Place::Elsewhere,
    })
}

/// Without percent signs.
fn decode(path: &str) -> Option<String> {
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?];
        let [byte] = const_hex::decode_to_array::<_, 1>(digits).ok()?;
        decoded.push(byte);
    }
    String::from_utf8(decoded).ok().filter(|path| !path.contains('%'))
}
