//! What we ask the processor of our own accord, for handlers and workers alike. Every answer that is about money goes
//! through the booker.

pub mod reconcile;
