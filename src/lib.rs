//! Every AlphaPo callback, credited exactly once.
//!
//! ```text
//! main → cli → {http, worker} → outbound → app → {booker, broker} → store → entity
//! ```
//!
//! - [`domain`]: our words, pure: amounts, callbacks, the decision, postings, events
//! - [`processor`]: their words: signatures and bodies
//! - [`booker`]: the only writer of the ledger: batches, one transaction each
//! - [`store`]: everything asked of the database; the only importer of the entities
//! - [`broker`]: `RabbitMQ`; [`worker`]: publishing and retrying, a step at a time
//! - [`outbound`]: what goes out to the processor, and must not go twice
//! - [`http`]: the route table and its handlers; [`cli`]: one file for each family of verbs
//! - [`app`]: what lives as long as the process; [`config`]: the settings; [`telemetry`], [`metrics`]: what it says
//!
//! A callback's journey is told in `ARCHITECTURE.md`.

pub mod app;
pub mod audit;
pub mod booker;
pub mod broker;
pub mod cli;
pub mod config;
pub mod domain;
pub mod http;
pub mod metrics;
pub mod outbound;
pub mod processor;
pub mod store;
pub mod telemetry;
pub mod worker;
