//! The rows, one module a table: what the columns are called and typed, nothing else. Only `store` imports this.
//! Amounts are read as text on both databases: SQLite has no exact decimal, and a float would lose money.

pub mod account;
pub mod account_line;
pub mod address;
pub mod audit_entry;
pub mod callback;
pub mod callback_class;
pub mod callback_term;
pub mod cursor;
pub mod customer;
pub mod customer_reference;
pub mod deposit_request;
pub mod discrepancy;
pub mod discrepancy_note;
pub mod discrepancy_owner;
pub mod failure;
pub mod gateway_allocation;
pub mod gateway_invoice;
pub mod gateway_signature;
pub mod journal;
pub mod journal_head;
pub mod login_failure;
pub mod merchant;
pub mod outbound;
pub mod payment;
pub mod posting;
pub mod proposal;
pub mod reconciled;
pub mod reconciliation;
pub mod redelivery;
pub mod replay_change;
pub mod replay_job;
pub mod replay_sum;
pub mod request;
pub mod session;
pub mod withdrawal;
