//! Our words: amounts, callbacks, payments, decisions, postings, events. Pure: no I/O, no clock, nothing asynchronous,
//! nothing of the database, web or broker libraries. Everything else may import this; this imports nothing of ours.

pub mod account;
pub mod amount;
pub mod callback;
pub mod check;
pub mod claim;
pub mod customer;
pub mod decide;
pub mod event;
pub mod expected;
pub mod ids;
pub mod journal;
pub mod matching;
pub mod obey;
pub mod order;
pub mod outage;
pub mod pairing;
pub mod payment;
pub mod payout;
pub mod policy;
pub mod rate;
pub mod reason;
pub mod reconcile;
pub mod retired;
pub mod search;
pub mod verify;
