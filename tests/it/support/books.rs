//! The books, as finance would check them from outside: every payment that was sent is credited once, to its customer,
//! with its amount; nothing else is; the balances are the sums; the feed has no hole and never changes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::deposits::{Deposit, units};
use super::process::Deployment;

/// The bytes of events by their sequence.
pub(crate) type Feed = BTreeMap<u64, String>;

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    next: String,
}

#[derive(Deserialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) r#type: String,
    sequence: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    customer: Customer,
    payment: Payment,
    currency: Option<String>,
    amount: Option<String>,
    fee: Option<String>,
    balance_after: Option<String>,
}

#[derive(Deserialize)]
struct Customer {
    end_user_reference: Option<String>,
}

#[derive(Deserialize)]
struct Payment {
    id: Option<String>,
}

impl Event {
    pub(crate) fn parse(bytes: &str) -> Self {
        serde_json::from_str(bytes).unwrap_or_else(|error| panic!("no event ({error}): {bytes}"))
    }

    /// What its message is sent with.
    pub(crate) fn routing_key(&self) -> String {
        format!("{}.{}", self.r#type, self.data.currency.as_deref().unwrap_or("none"))
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence.parse().expect("a sequence is a number")
    }
}

/// A page of events; `None` when nobody answers, or only that it can't.
async fn page(deployment: &Deployment, after: u64, wait_s: u64) -> Option<(Vec<String>, u64)> {
    let path = format!("/api/events?after={after}&limit=1000&wait={wait_s}");
    let (status, text) = deployment.admin(&path).await?;
    if status == 503 {
        return None;
    }
    assert_eq!(status, 200, "{path}: {text}");
    let page: Page<'_> = serde_json::from_str(&text).expect("a page of events");
    let events = page.data.iter().map(|event| event.get().to_owned()).collect();
    Some((events, page.next.parse().expect("the next page is a number")))
}

/// All events so far. They are numbered 1, 2, 3 …
pub(crate) async fn feed(deployment: &Deployment) -> Feed {
    let mut feed = Feed::new();
    let mut after = 0;
    loop {
        let (events, next) = page(deployment, after, 0).await.expect("the feed answers");
        if events.is_empty() {
            return feed;
        }
        for bytes in events {
            let expected = feed.len().wrapping_add(1);
            let sequence = Event::parse(&bytes).sequence();
            assert_eq!(usize::try_from(sequence).ok(), Some(expected), "the feed has a hole before {bytes}");
            feed.insert(sequence, bytes);
        }
        after = next;
    }
}

/// A consumer that reads along, whatever happens to the process, and remembers what it read first.
pub(crate) struct Follower {
    task: JoinSet<Feed>,
    stop: CancellationToken,
}

impl Follower {
    pub(crate) fn start(deployment: &Deployment) -> Self {
        let (deployment, stop) = (deployment.clone(), CancellationToken::new());
        let mut task = JoinSet::new();
        task.spawn(follow(deployment, stop.clone()));
        Self { task, stop }
    }

    /// What it has read.
    pub(crate) async fn finish(mut self) -> Feed {
        self.stop.cancel();
        self.task.join_next().await.expect("there is a follower").expect("the feed can be followed")
    }
}

async fn follow(deployment: Deployment, stop: CancellationToken) -> Feed {
    let (mut seen, mut after) = (Feed::new(), 0);
    while !stop.is_cancelled() {
        match page(&deployment, after, 1).await {
            Some((events, next)) => {
                seen.extend(events.into_iter().map(|bytes| (Event::parse(&bytes).sequence(), bytes)));
                after = next;
            }
            None => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
    seen
}

/// What was read once is still there, byte for byte.
pub(crate) fn assert_still_there(seen: &Feed, feed: &Feed) {
    assert!(!seen.is_empty(), "the follower saw nothing, so this proves nothing");
    for (sequence, bytes) in seen {
        assert_eq!(feed.get(sequence), Some(bytes), "event {sequence} is not what it was");
    }
}

/// Every payment sent is credited by exactly one event, and no other is; ids are unique; each `balance_after` is the
/// sum so far.
pub(crate) fn assert_credited_once(sent: &[Deposit], feed: &Feed) {
    let expected: BTreeMap<String, Deposit> = sent.iter().map(|deposit| (deposit.id().to_string(), *deposit)).collect();
    let (mut ids, mut credited, mut announced) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut balances: BTreeMap<(String, String), i128> = BTreeMap::new();
    for bytes in feed.values() {
        let Event { id, r#type, data, .. } = Event::parse(bytes);
        assert!(ids.insert(id), "two events have one id: {bytes}");
        let payment = data.payment.id.expect("an event of a deposit names it");
        let deposit = expected.get(&payment).unwrap_or_else(|| panic!("nobody sent this payment: {bytes}"));
        if r#type == "deposit.pending" {
            assert!(announced.insert(payment), "announced twice: {bytes}");
            continue;
        }
        assert_eq!(r#type, "deposit.credited", "these deposits are nothing but announced and credited: {bytes}");
        let [user, currency] = [data.customer.end_user_reference, data.currency].map(|text| text.expect("it is named"));
        let [amount, fee, after] =
            [data.amount, data.fee, data.balance_after].map(|text| units(&text.expect("a credited event says it")));
        let told = (user.as_str(), currency.as_str(), amount, fee);
        assert_eq!(told, (deposit.user().as_str(), deposit.currency(), deposit.amount(), deposit.fee()), "{bytes}");
        assert!(credited.insert(payment), "credited twice: {bytes}");
        let balance = balances.entry((user, currency)).or_default();
        *balance = balance.checked_add(amount).expect("small enough");
        assert_eq!(after, *balance, "the balance after is not the sum so far: {bytes}");
    }
    assert_eq!(credited.len(), expected.len(), "some payments were never credited");
}

/// The payments that are credited.
pub(crate) fn credited(feed: &Feed) -> BTreeSet<String> {
    let credits = feed.values().map(|bytes| Event::parse(bytes)).filter(|event| event.r#type == "deposit.credited");
    credits.map(|event| event.data.payment.id.expect("an event of a deposit names it")).collect()
}

/// The balances are the sums of what was sent, of each customer, and altogether for the processor and the fees.
pub(crate) async fn assert_balances(sent: &[Deposit], deployment: &Deployment) {
    let mut expected: BTreeMap<(String, Option<String>, String), i128> = BTreeMap::new();
    for deposit in sent {
        let net = deposit.amount().checked_sub(deposit.fee()).expect("small enough");
        let shares = [
            ("available", Some(deposit.user()), deposit.amount()),
            ("processor", None, net),
            ("fees", None, deposit.fee()),
        ];
        for (kind, customer, units) in shares {
            let sum = expected.entry((kind.to_owned(), customer, deposit.currency().to_owned())).or_default();
            *sum = sum.checked_add(units).expect("small enough");
        }
    }
    let page = deployment.api("/api/balances?limit=1000").await;
    assert_eq!(page.get("next"), Some(&Value::Null), "more than a page of balances");
    let rows = page.get("data").and_then(Value::as_array).expect("a list of balances").iter();
    let text = |row: &Value, field| row.get(field).and_then(Value::as_str).map(str::to_owned);
    let found: BTreeMap<_, _> = rows
        .map(|row| {
            let [kind, currency, balance] =
                ["kind", "currency", "balance"].map(|field| text(row, field).expect("text"));
            ((kind, text(row, "customer"), currency), units(&balance))
        })
        .filter(|(_, balance)| *balance != 0)
        .collect();
    assert_eq!(found, expected);
}
