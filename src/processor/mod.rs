//! Their words: how the processor signs and what its bodies look like. It turns bytes into our words, and never
//! decides what they do to the ledger.

mod cause;
mod json;
pub mod signature;
pub mod wire;
