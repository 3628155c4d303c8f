//! Outgoing requests to the processor, for handlers and workers alike: what must be written before a call, what is written
//! after it, and what is done when nobody knows. Every answer that is about money goes through the booker.

pub mod addresses;
pub mod invoices;
pub mod reconcile;
