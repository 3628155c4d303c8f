//! The one test binary. Tests enter as a user does: through HTTP, the command line, or the pure core; with real
//! servers, a database or vhost each.

mod admin;
mod bytes;
mod config;
mod demo;
mod faults;
mod hostile;
mod kill;
mod limits;
mod outage;
mod pika;
mod printing;
mod properties;
mod replicas;
mod shapes;
mod signature;
mod stories;
mod support;
mod tidy;
mod wire;
