//! Gives out deposit addresses: a customer's own, which is taken from the processor once and kept for ever, or one of
//! the pool, which rests before it is given out again. What two replicas are asked for at once, one does: its claim is
//! in the database before the processor is asked, and a claim whose owner is gone is taken over.

use std::time::Duration;

use rand::distr::{Alphanumeric, SampleString};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use crate::app::App;
use crate::booker::OrderError;
use crate::config::gateway::{GatewayKey, Listed};
use crate::domain::claim::{POOL, request_reference};
use crate::domain::customer::ReferenceKind;
use crate::domain::ids::MerchantId;
use crate::domain::order::Order;
use crate::processor::client::{Address, NewAddress, Trouble};
use crate::store::StoreError;
use crate::store::addresses::{self as rows, FOR_EVER_US, Own, Request, Times, Wanted};
use crate::store::allocations::{self, Asked, Key};

/// What callbacks about a customer's own address carry begins with this.
const OWN: &str = "tallyhook:user:";
/// Longer references of customers are told to the processor as their digest: it takes no more.
const REFERENCE_BYTES_MAX: usize = 255;
const POLL_MIN: Duration = Duration::from_millis(10);
const POLL_MAX: Duration = Duration::from_millis(250);
/// What a claim lasts beyond the longest call.
const CLAIM_SLACK_MS: u64 = 5_000;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    pub merchant: MerchantId,
    pub key: &'a GatewayKey,
}

/// An address that was given out.
#[derive(Debug, Clone)]
pub struct Given {
    pub request: Request,
    /// The idempotency key was used before: this is what it got then.
    pub is_replayed: bool,
    /// The parameters that differ from those of the first time.
    pub differing: Vec<&'static str>,
}

/// Why there is no address.
#[derive(Debug, thiserror::Error)]
pub enum NoAddress {
    #[error("no network of that name")]
    NetworkNotFound,
    #[error("no currency of that name on that network")]
    CurrencyNotFound,
    #[error("this key, or the processor, does not take that currency")]
    NotEnabled,
    /// The strict setting: the idempotency key was used for something else.
    #[error("the idempotency key was used with other parameters")]
    Differs(Vec<&'static str>),
    #[error("the processor did not give one: {0}")]
    Processor(String),
    #[error("somebody else is at it, and takes long")]
    Busy,
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Gives out an address, the same for the same idempotency key.
pub async fn give(app: &App, by: By<'_>, asked: &Asked, idempotency_key: Option<&str>) -> Result<Given, NoAddress> {
    let Some(idempotency_key) = idempotency_key else {
        let request = allocate(app, by, asked).await?;
        return Ok(Given { request, is_replayed: false, differing: Vec::new() });
    };
    let key = Key { api_key: &by.key.key, idempotency_key };
    let owner = token();
    let mut wait = Wait::new(app);
    loop {
        if let Some(allocation) = allocations::find(&app.db, key).await? {
            let differing = differing(&allocation.asked, asked);
            if let Some(id) = allocation.request {
                if app.settings.gateway.strict_idempotency && !differing.is_empty() {
                    return Err(NoAddress::Differs(differing));
                }
                let request = rows::request(&app.db, id).await?.ok_or_else(|| gone(id))?;
                if request.retired_us.is_some() {
                    allocations::let_go(&app.db, key, id).await?;
                    continue;
                }
                return Ok(Given { request, is_replayed: true, differing });
            }
            if !allocation.is_abandoned {
                wait.pause().await?;
                continue;
            }
        }
        if !allocations::claim(&app.db, key, asked, &owner, wait.claim_us).await? {
            continue;
        }
        return match allocate(app, by, asked).await {
            Ok(request) => {
                if allocations::settle(&app.db, key, &owner, request.id).await? {
                    Ok(Given { request, is_replayed: false, differing: Vec::new() })
                } else {
                    Err(NoAddress::Busy)
                }
            }
            Err(error) => {
                allocations::abandon(&app.db, key, &owner).await?;
                Err(error)
            }
        };
    }
}

fn differing(first: &Asked, now: &Asked) -> Vec<&'static str> {
    let pairs = [
        ("currency", first.currency != now.currency),
        ("network", first.network != now.network),
        ("user_identifier", first.user_identifier != now.user_identifier),
    ];
    pairs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

async fn allocate(app: &App, by: By<'_>, asked: &Asked) -> Result<Request, NoAddress> {
    let listed = listed(app, &asked.currency, &asked.network)?;
    if !by.key.may_deposit(listed) {
        return Err(NoAddress::NotEnabled);
    }
    let Listed { currency, network, code, .. } = listed;
    let wanted = Wanted { merchant: by.merchant, network, currency, code };
    match &asked.user_identifier {
        Some(user) => own(app, &wanted, user).await,
        None => pooled(app, &wanted).await,
    }
}

/// The line of the settings that is asked for. Names are compared without regard to case.
pub fn listed<'a>(app: &'a App, currency: &str, network: &str) -> Result<&'a Listed, NoAddress> {
    let networks = &app.settings.gateway.networks;
    if !networks.iter().any(|listed| listed.network.eq_ignore_ascii_case(network)) {
        return Err(NoAddress::NetworkNotFound);
    }
    let is_it = |listed: &&Listed| {
        listed.network.eq_ignore_ascii_case(network) && listed.currency.eq_ignore_ascii_case(currency)
    };
    networks.iter().find(is_it).ok_or(NoAddress::CurrencyNotFound)
}

fn times(app: &App, is_pool: bool) -> Times {
    let windows = app.settings.gateway.windows;
    let created_us = (app.clock)();
    let after = |seconds: i64| created_us.saturating_add(seconds.saturating_mul(1_000_000));
    let end = |seconds: i64| if is_pool { after(seconds) } else { FOR_EVER_US };
    Times {
        created_us,
        display_until_us: after(windows.display_s),
        monitoring_until_us: end(windows.monitoring_s),
        claim_until_us: end(windows.monitoring_s.saturating_add(windows.delay_s)),
        free_us: end(windows.reuse_s.saturating_add(windows.delay_s)),
    }
}

/// The one address of a customer on a network, whatever the currency.
async fn own(app: &App, wanted: &Wanted<'_>, user: &str) -> Result<Request, NoAddress> {
    let times = times(app, false);
    if let Some(request) = rows::own_request(&app.db, wanted, user).await? {
        return shown(app, request, &times).await;
    }
    let owner = token();
    let mut wait = Wait::new(app);
    loop {
        let Some(found) = rows::own(&app.db, wanted, user).await? else {
            let foreign_id = format!("{OWN}{}", token());
            rows::claim_own(&app.db, wanted, (user, &foreign_id), (&owner, wait.claim_us)).await?;
            continue;
        };
        if found.is_ready {
            rows::add_own_request(&app.db, found.id, wanted, user, &times).await?;
            let request = rows::own_request(&app.db, wanted, user).await?;
            return request.ok_or_else(|| gone(found.id));
        }
        // Whoever waited for one that failed shares its failure: two hundred do not ask two hundred times.
        if let Some((_, failure)) = found.failed.as_ref().filter(|(at_us, _)| *at_us >= times.created_us) {
            return Err(refused(failure.clone()));
        }
        if found.owner == owner || rows::take_over_own(&app.db, found.id, wanted, &owner, wait.claim_us).await? {
            take_own(app, wanted, user, &found, &owner).await?;
            continue;
        }
        wait.pause().await?;
    }
}

/// An address that is asked for again is shown for longer. Half a window is left at least, so most repeats write nothing.
async fn shown(app: &App, mut request: Request, times: &Times) -> Result<Request, NoAddress> {
    let left_us = request.display_until_us.saturating_sub(times.created_us);
    let window_us = times.display_until_us.saturating_sub(times.created_us);
    if left_us < window_us.div_euclid(2) {
        rows::prolong(&app.db, request.id, times.display_until_us).await?;
        request.display_until_us = times.display_until_us;
    }
    Ok(request)
}

/// Asks the processor for the address that this caller has claimed.
async fn take_own(app: &App, wanted: &Wanted<'_>, user: &str, found: &Own, owner: &str) -> Result<(), NoAddress> {
    let reference = reference(user);
    // The customer is known before an address of theirs exists.
    let references = vec![
        (ReferenceKind::EndUserReference, reference.clone()),
        (ReferenceKind::ForeignId, found.foreign_id.clone()),
    ];
    if let Err(error) = app.booker.order(wanted.merchant, Order::Customer { references }).await {
        rows::fail_own(&app.db, found.id, owner, "the ledger can't be reached", (app.clock)()).await?;
        return Err(error.into());
    }
    match take(app, wanted, &found.foreign_id, reference).await {
        Ok(taken) => {
            rows::settle_own(&app.db, found.id, owner, (&taken.address, taken.tag.as_deref())).await?;
            Ok(())
        }
        Err(failure) => {
            rows::fail_own(&app.db, found.id, owner, &failure, (app.clock)()).await?;
            Err(refused(failure))
        }
    }
}

/// An address of the pool: one that has rested, else a new one.
async fn pooled(app: &App, wanted: &Wanted<'_>) -> Result<Request, NoAddress> {
    let mut times = times(app, true);
    let mut id = rows::reuse(&app.db, wanted, &times).await?;
    if id.is_none() {
        let foreign_id = format!("{POOL}{}", token());
        let taken = take(app, wanted, &foreign_id, foreign_id.clone()).await.map_err(refused)?;
        // The windows begin when there is something to be shown.
        times = self::times(app, true);
        id = rows::add(&app.db, wanted, &foreign_id, (&taken.address, taken.tag.as_deref()), &times).await?;
    }
    let id = id.ok_or_else(|| gone(0))?;
    // Whoever pays to it is known by the request, before anybody is told the address.
    let references = vec![(ReferenceKind::ForeignId, request_reference(id))];
    app.booker.order(wanted.merchant, Order::Customer { references }).await?;
    rows::request(&app.db, id).await?.ok_or_else(|| gone(id))
}

/// Asks the processor. Asking twice is harmless: an address that nobody was told gets no money, and what it carries
/// names the same customer.
async fn take(app: &App, wanted: &Wanted<'_>, foreign_id: &str, reference: String) -> Result<Address, String> {
    let credentials = app.credentials(wanted.merchant).ok_or("the merchant is not configured here")?;
    let body = NewAddress {
        currency: wanted.code.to_owned(),
        foreign_id: foreign_id.to_owned(),
        end_user_reference: Some(reference),
        ..NewAddress::default()
    };
    app.client.take_address(credentials, &body).await.map_err(|trouble| {
        let is_currency = matches!(&trouble, Trouble::Refused(refused)
            if refused.fields.iter().any(|(field, _)| field == "currency"));
        let mark = if is_currency { CURRENCY_REFUSED } else { "" };
        format!("{mark}{trouble}")
    })
}

/// Begins the text of a failure that is about the currency, so that whoever waited learns it as well.
const CURRENCY_REFUSED: &str = "currency: ";

fn refused(failure: String) -> NoAddress {
    if failure.starts_with(CURRENCY_REFUSED) { NoAddress::NotEnabled } else { NoAddress::Processor(failure) }
}

/// The customer's name for the processor.
pub fn reference(user: &str) -> String {
    if user.len() <= REFERENCE_BYTES_MAX { user.to_owned() } else { const_hex::encode(Sha256::digest(user)) }
}

/// 190 bits from the system's generator.
fn token() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 32)
}

fn gone(id: i64) -> NoAddress {
    NoAddress::Store(StoreError::Corrupt(format!("address or deposit request {id} was just there")))
}

/// Waits for somebody else, longer each time, no longer than a claim lasts.
struct Wait {
    /// How long a claim lasts.
    claim_us: i64,
    longest: Duration,
    since: Instant,
    pause: Duration,
}

impl Wait {
    fn new(app: &App) -> Self {
        let alphapo = &app.settings.alphapo;
        let claim_ms = alphapo.timeout_ms.saturating_add(alphapo.connect_timeout_ms).saturating_add(CLAIM_SLACK_MS);
        let claim_us = i64::try_from(claim_ms).unwrap_or(i64::MAX).saturating_mul(1_000);
        Self { claim_us, longest: Duration::from_millis(claim_ms), since: Instant::now(), pause: POLL_MIN }
    }

    async fn pause(&mut self) -> Result<(), NoAddress> {
        if self.since.elapsed() >= self.longest {
            return Err(NoAddress::Busy);
        }
        sleep(self.pause).await;
        self.pause = self.pause.saturating_mul(2).min(POLL_MAX);
        Ok(())
    }
}
