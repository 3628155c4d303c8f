//! The one test binary. Tests enter as a user does: through HTTP, the command line, or the pure core; with real
//! servers, a database or vhost each.

#![expect(clippy::indexing_slicing, reason = "a test may panic, and reads JSON by its keys")]
#![expect(clippy::disallowed_methods, reason = "a test asks the clock and the environment itself")]

#[macro_use]
mod support;

mod access;
mod admin;
mod asks;
mod audit;
mod backlog;
mod batches;
mod board;
mod books;
mod broker;
mod by_hand;
mod bytes;
mod checks;
mod clicks;
mod client;
mod config;
mod csv_import;
mod csv_matching;
mod demo;
mod discrepancies;
mod dropin;
mod dropin_docs;
mod ends;
mod export;
mod faults;
mod fuzzed;
mod gateway_addresses;
mod gateway_auth;
mod gateway_docs;
mod gateway_pool;
mod gateway_story;
mod gateway_withdrawals;
mod hidden;
mod hostile;
mod idempotency;
mod import;
mod kill;
mod limits;
mod long_outage;
mod openapi;
mod orders;
mod outage;
mod outages;
mod page;
mod page_held;
mod pika;
mod printing;
mod properties;
mod reconcile;
mod reconcile_again;
mod reconcile_busy;
mod redeliver;
mod remembered;
mod replays;
mod replicas;
mod resolution;
mod retire;
mod sandbox_api;
mod sandbox_cli;
mod sandbox_lies;
mod sandbox_minutes;
mod sandbox_php;
mod sandbox_stories;
mod sandbox_withdrawals;
mod sandbox_world;
mod schema;
mod search;
mod shapes;
mod signature;
mod slow_broker;
mod smoke;
mod statements;
mod stories;
mod thousand_faults;
mod tidy;
mod verify;
mod wire;
mod withdrawal_ends;
mod withdrawal_names;
mod withdrawals;
