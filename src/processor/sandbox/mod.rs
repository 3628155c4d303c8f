//! A simulated AlphaPo: the same paths, signatures, errors, callbacks and retries, with scenarios, faults and a clock of
//! its own. For tests and for a first look; it has no real money and no way to any.
//!
//! [`world::World`] is the whole of it, pure: told the time, it answers requests and says what is to be delivered.
//! [`start`] puts it on a listener.

mod addresses;
pub mod api;
mod clock;
pub mod control;
pub mod currencies;
pub mod deposits;
pub mod dice;
mod drift;
mod exchanges;
mod export;
pub mod faults;
mod invoices;
pub mod lies;
pub mod operation;
pub mod php;
pub mod post;
mod reads;
mod server;
mod withdrawals;
pub mod world;

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context;

use crate::domain::amount::Amount;
use clock::Clock;
use faults::{Faults, Plan};
use server::State;
use world::{Merchant, World};

/// What a simulator starts with.
pub struct Options {
    /// `127.0.0.1:0` takes any free port.
    pub listen: String,
    pub merchants: Vec<Merchant>,
    pub seed: u64,
    /// Seconds of the simulator in a second of real time. 0 stands still until it is advanced.
    pub time_scale: u32,
    pub faults: Faults,
    pub plan: Plan,
    /// Withdrawals worth more EUR wait for a person.
    pub withdrawal_limit: Option<Amount>,
    /// Microseconds since 1970.
    pub clock: fn() -> i64,
}

impl Options {
    /// One merchant, everything calm, time as it is, any free port.
    pub fn new(merchant: Merchant, clock: fn() -> i64) -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            merchants: vec![merchant],
            seed: 1,
            time_scale: 1,
            faults: Faults::default(),
            plan: Plan::default(),
            withdrawal_limit: None,
            clock,
        }
    }
}

impl Merchant {
    /// Without any money.
    pub fn new(key: &str, secret: &str, callback_url: &str) -> Self {
        let balances = std::collections::BTreeMap::new();
        Self { key: key.to_owned(), secret: secret.into(), callback_url: callback_url.to_owned(), balances }
    }

    #[must_use]
    pub fn with_balance(mut self, currency: &str, balance: Amount) -> Self {
        self.balances.insert(currency.to_owned(), balance);
        self
    }
}

/// A simulator that runs.
#[derive(Clone)]
pub struct Sandbox {
    /// `http://127.0.0.1:8090`: the API is below `/api/v2`, the control routes below `/control`.
    pub url: String,
    state: Arc<State>,
}

impl Sandbox {
    /// The base URL of the API, as a client is configured with it.
    pub fn api(&self) -> String {
        format!("{}{}", self.url, api::BASE)
    }

    /// Does something with the world at its present time, and lets it go on.
    pub fn with<T>(&self, work: impl FnOnce(&mut World, i64) -> T) -> T {
        self.state.with(work)
    }

    /// Moves the simulator's clock on.
    pub fn advance_s(&self, seconds: u32) {
        self.state.with_clock(|_, clock| clock.advance(i64::from(seconds).saturating_mul(world::SECOND_US)));
    }

    /// Moves the clock on to whatever happens next, once nothing is under way. False when nothing more happens by itself.
    pub fn skip(&self) -> bool {
        self.state.with_clock(|world, clock| {
            let due = world.next_due().filter(|_| !world.is_delivering());
            clock.advance(due.unwrap_or_default().saturating_sub(clock.now()));
            !world.is_idle()
        })
    }

    /// Where callbacks of the only merchant go from now on.
    pub fn send_callbacks_to(&self, url: &str) {
        self.with(|world, _| {
            for merchant in &mut world.merchants {
                url.clone_into(&mut merchant.callback_url);
            }
        });
    }

    /// Ends the future that [`start`] gave.
    pub fn stop(&self) {
        self.state.stop.cancel();
    }
}

/// Takes the address, and gives the handle and the future that serves and delivers until [`Sandbox::stop`].
pub fn start(options: Options) -> anyhow::Result<(Sandbox, impl Future<Output = anyhow::Result<()>> + Send + use<>)> {
    let Options { listen, merchants, seed, time_scale, faults, plan, withdrawal_limit, clock } = options;
    let mut world = World::try_new(merchants, seed, withdrawal_limit)?;
    (world.faults, world.plan) = (faults, plan);
    let listener = TcpListener::bind(&listen).with_context(|| format!("the sandbox can't listen on {listen}"))?;
    listener.set_nonblocking(true).context("a listener that can't be non-blocking")?;
    let url = format!("http://{}", listener.local_addr()?);
    let state = Arc::new(State::new(world, Clock::new(clock, time_scale)));
    let future = server::run(Arc::clone(&state), listener);
    Ok((Sandbox { url, state }, future))
}
