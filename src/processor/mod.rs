//! Their words: how the processor signs, what its bodies look like, and how it is asked. It turns bytes into our words,
//! and never decides what they do to the ledger.

pub mod asked;
mod cause;
pub mod client;
pub mod export;
pub mod json;
pub mod sandbox;
pub mod signature;
pub mod wire;
