//! A callback's body, from their words into ours. Total and tolerant: any bytes give a `Callback`, and what can't be
//! read exactly is named in `terms` for an operator. It never guesses, never rounds, never decides what money moves,
//! and never repeats a body's content in a detail: details are stored and logged.

use std::fmt;

use crate::domain::amount::Amount;
use crate::domain::callback::{Callback, Head, Money, Part, Terms, Unclear};
use crate::domain::payment::Family;
use crate::domain::reason::Reason;

use super::json::{self, Member, Node};

/// Characters of an id, a reference, a type or a status: what the processor documents for references.
const NAME_MAX: usize = 255;
/// Characters of an address or a txid.
const HASH_MAX: usize = 512;
/// Characters of a currency.
const CURRENCY_MAX: usize = 32;
/// Entries of `transactions` and of `fees`.
const ENTRIES_MAX: usize = 1_000;
/// Txids kept for lists and searches.
const TXIDS_MAX: usize = 20;

/// Reads a body.
pub fn read(body: &[u8]) -> Callback {
    match json::read(body) {
        Ok(Node::Object(members)) => callback(Object { place: Place::Root, members: &members }),
        Ok(Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::List(_)) => {
            nothing("body: not an object")
        }
        Err(broken) => nothing(&format!("byte {}: {}", broken.at, broken.what)),
    }
}

/// A body of which nothing can be read in only one way.
fn nothing(detail: &str) -> Callback {
    Callback { head: Head::default(), terms: unclear(Reason::Unreadable, detail) }
}

fn unclear<T>(reason: Reason, detail: &str) -> Result<T, Unclear> {
    Err(Unclear { reason, detail: detail.to_owned() })
}

fn callback(root: Object<'_>) -> Callback {
    let mut doubts = Doubts::default();
    let is_flat = is_flat(root);
    let head = head(root, is_flat, &mut doubts);
    let family = head.family();
    let terms = match doubts.first {
        // A body that is known by nothing but its type may say anything anywhere else.
        _ if family == Family::Other && head.kind.is_some() => unclear(Reason::UnknownType, "type: not one we know"),
        Some(fault) => Err(fault.into()),
        None if is_flat => unclear(Reason::V1Shape, "body: flat, as before version 2"),
        // Its full shape is not published, so no money is ever taken from it.
        None if family == Family::PaymentRequest => Ok(Terms::default()),
        None => terms(root, head.kind.as_deref()).map_err(Unclear::from),
    };
    Callback { head, terms }
}

/// The obsolete format: everything at the top level.
fn is_flat(root: Object<'_>) -> bool {
    let has = |name| root.get(name).is_some();
    let is_nested = has("crypto_address") || has("transactions");
    let family = root.text("type", NAME_MAX).ok().flatten().map_or(Family::Other, Family::of);
    matches!(family, Family::Deposit | Family::Withdrawal)
        && !is_nested
        && (has("txid") || (has("currency") && has("amount")))
}

/// What can be told of the payment, each field by itself: one that can't be read leaves the others standing.
fn head(root: Object<'_>, is_flat: bool, doubts: &mut Doubts) -> Head {
    let kind = doubts.keep(root.text("type", NAME_MAX)).filter(|kind| !kind.is_empty());
    if kind.is_none() {
        doubts.keep(Err::<(), _>(root.fault("type", "missing")));
    }
    let family = kind.map_or(Family::Other, Family::of);
    let (id_name, address_name) = match family {
        Family::PaymentRequest => ("payment_request_id", "payment_request_address"),
        Family::Deposit | Family::Withdrawal | Family::Exchange | Family::Invoice | Family::Other => {
            ("id", "crypto_address")
        }
    };
    let payment_id = doubts.keep(root.reference(id_name));
    if payment_id.is_none() {
        doubts.keep(Err::<(), _>(root.fault(id_name, "missing")));
    }
    let about = if is_flat { root } else { doubts.keep(root.object(address_name)) };
    // A deposit's own reference is that of its address. At the top level it would mean something we were never told.
    let foreign_id = if family == Family::Deposit { about } else { root }.reference("foreign_id");
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Head {
        kind: owned(kind),
        status: owned(doubts.keep(root.text("status", NAME_MAX))),
        payment_id: owned(payment_id),
        foreign_id: owned(doubts.keep(foreign_id)),
        end_user_reference: owned(doubts.keep(root.reference("end_user_reference"))),
        address: owned(doubts.keep(about.text("address", HASH_MAX)).filter(|address| !address.is_empty())),
        txids: if is_flat { doubts.keep(root.txid()).map(str::to_owned).into_iter().collect() } else { txids(root) },
    }
}

/// The distinct txids, in order. What can't be read here is reported where the parts are read.
fn txids(root: Object<'_>) -> Vec<String> {
    let mut txids: Vec<String> = Vec::new();
    for (index, entry) in root.list("transactions").unwrap_or_default().iter().enumerate() {
        let Node::Object(members) = entry else { continue };
        let part = Object { place: Place::Entry("transactions", index), members };
        if txids.len() < TXIDS_MAX
            && let (Ok(false), Ok(Some(txid))) = (part.is_exchange(), part.txid())
            && txids.iter().all(|known| known != txid)
        {
            txids.push(txid.to_owned());
        }
    }
    txids
}

fn terms(root: Object<'_>, kind: Option<&str>) -> Read<Terms> {
    let about = root.object("crypto_address")?;
    about.scalar("id")?;
    about.scalar("tag")?;
    let own = about.currency()?;
    let target = about.text("convert_to", NAME_MAX)?;
    let sent = root.object("currency_sent")?;
    let received = root.object("currency_received")?;
    let minus_fee = received.amount("amount_minus_fee")?;
    let terms = Terms {
        sent: sent.money()?,
        remaining: sent.amount("remaining_amount")?,
        received: received.money()?,
        minus_fee,
        parts: root.entries("transactions")?.map(|entry| part(entry?)).collect::<Read<_>>()?,
        // One that can't be kept tells nothing.
        tag: about.token("tag", HASH_MAX).ok().flatten().filter(|tag| !tag.is_empty()).map(str::to_owned),
        fees: root.entries("fees")?.map(|entry| fee(entry?)).collect::<Read<_>>()?,
        error: root.text("error", usize::MAX)?.unwrap_or_default().to_owned(),
        converts: target.is_some_and(|target| own != Some(target))
            || kind.is_some_and(|kind| kind.ends_with("_exchange")),
        is_legacy_futures: !matches!(root.get("futures_id"), None | Some(Node::Null)),
    };
    if minus_fee.is_some() && terms.received.is_none() {
        return Err(received.fault("amount", "missing beside amount_minus_fee"));
    }
    Ok(terms)
}

fn part(entry: Object<'_>) -> Read<Part> {
    entry.scalar("id")?;
    entry.scalar("tag")?;
    entry.scalar("confirmations")?;
    entry.amount("amount_to")?;
    let amount = entry.amount("amount")?;
    let currency = entry.currency()?;
    if amount.is_some() && currency.is_none() {
        return Err(entry.fault("currency", "missing"));
    }
    Ok(Part {
        is_exchange: entry.is_exchange()?,
        currency: currency.map(str::to_owned),
        amount,
        address: entry.text("address", HASH_MAX)?.filter(|address| !address.is_empty()).map(str::to_owned),
        txid: entry.txid()?.map(str::to_owned),
        risk_score: entry.token("riskscore", NAME_MAX)?.map(str::to_owned),
    })
}

/// A fee without an amount is one that we can't book, and can't leave out either.
fn fee(entry: Object<'_>) -> Read<Money> {
    entry.money()?.ok_or_else(|| entry.fault("amount", "missing"))
}

type Read<T> = Result<T, Fault>;

/// A place in the body, and what is wrong there.
#[derive(Debug)]
struct Fault {
    place: Place,
    name: &'static str,
    what: String,
}

impl From<Fault> for Unclear {
    fn from(fault: Fault) -> Self {
        let Fault { place, name, what } = fault;
        Self { reason: Reason::Unreadable, detail: format!("{place}{name}: {what}") }
    }
}

/// What went wrong first, while everything else is still read.
#[derive(Default)]
struct Doubts {
    first: Option<Fault>,
}

impl Doubts {
    fn keep<T: Default>(&mut self, read: Read<T>) -> T {
        read.unwrap_or_else(|fault| {
            self.first.get_or_insert(fault);
            T::default()
        })
    }
}

/// Where an object stands: the prefix of its fields' paths.
#[derive(Debug, Clone, Copy, Default)]
enum Place {
    #[default]
    Root,
    Under(&'static str),
    Entry(&'static str, usize),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Under(name) => write!(out, "{name}."),
            Self::Entry(name, index) => write!(out, "{name}[{index}]."),
        }
    }
}

/// An object of the body. One that is absent, null or `[]` (how PHP prints an empty one) has no members.
#[derive(Debug, Clone, Copy, Default)]
struct Object<'n> {
    place: Place,
    members: &'n [Member<'n>],
}

impl<'n> Object<'n> {
    fn get(self, name: &str) -> Option<&'n Node<'n>> {
        self.members.iter().find(|(key, _)| key == name).map(|(_, node)| node)
    }

    fn fault(self, name: &'static str, what: impl fmt::Display) -> Fault {
        Fault { place: self.place, name, what: what.to_string() }
    }

    fn object(self, name: &'static str) -> Read<Self> {
        let members: &[Member<'n>] = match self.get(name) {
            None | Some(Node::Null) => &[],
            Some(Node::List(items)) if items.is_empty() => &[],
            Some(Node::Object(members)) => members,
            Some(Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::List(_)) => {
                return Err(self.fault(name, "not an object"));
            }
        };
        Ok(Self { place: Place::Under(name), members })
    }

    fn list(self, name: &'static str) -> Read<&'n [Node<'n>]> {
        match self.get(name) {
            None | Some(Node::Null) => Ok(&[]),
            Some(Node::List(items)) if items.len() > ENTRIES_MAX => Err(self.fault(name, "more than 1,000 entries")),
            Some(Node::List(items)) => Ok(items),
            Some(Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Object(_)) => {
                Err(self.fault(name, "not a list"))
            }
        }
    }

    /// The objects of a list.
    fn entries(self, name: &'static str) -> Read<impl Iterator<Item = Read<Self>>> {
        let entry = move |(index, node): (usize, &'n Node<'n>)| match node {
            Node::Object(members) => Ok(Self { place: Place::Entry(name, index), members }),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::List(_) => {
                Err(self.fault(name, format_args!("entry {index} is not an object")))
            }
        };
        Ok(self.list(name)?.iter().enumerate().map(entry))
    }

    /// Text that we will keep: of bounded length, and without the one character that not every database can hold.
    fn kept(self, name: &'static str, text: &'n str, characters_max: usize) -> Read<Option<&'n str>> {
        if text.contains('\0') {
            return Err(self.fault(name, "has a NUL character"));
        }
        if text.len() > characters_max && text.chars().count() > characters_max {
            return Err(self.fault(name, "too long"));
        }
        Ok(Some(text))
    }

    /// A string, or nothing.
    fn text(self, name: &'static str, characters_max: usize) -> Read<Option<&'n str>> {
        match self.get(name) {
            None | Some(Node::Null) => Ok(None),
            Some(Node::Text(text)) => self.kept(name, text, characters_max),
            Some(Node::Bool(_) | Node::Number(_) | Node::List(_) | Node::Object(_)) => {
                Err(self.fault(name, "not a string"))
            }
        }
    }

    /// A string or a number's token, or nothing.
    fn token(self, name: &'static str, characters_max: usize) -> Read<Option<&'n str>> {
        match self.get(name) {
            Some(Node::Number(token)) => self.kept(name, token, characters_max),
            Some(Node::Bool(_) | Node::List(_) | Node::Object(_)) => {
                Err(self.fault(name, "neither a string nor a number"))
            }
            None | Some(Node::Null | Node::Text(_)) => self.text(name, characters_max),
        }
    }

    /// A field that is sent in several types and decides nothing: only its type is looked at.
    fn scalar(self, name: &'static str) -> Read<()> {
        match self.get(name) {
            None | Some(Node::Null | Node::Number(_) | Node::Text(_)) => Ok(()),
            Some(Node::Bool(_) | Node::List(_) | Node::Object(_)) => {
                Err(self.fault(name, "neither a string nor a number"))
            }
        }
    }

    /// A name of something. An empty one names nothing; a number that could be written in another way names nothing
    /// for certain: `1e3` and `1000` would be two customers.
    fn reference(self, name: &'static str) -> Read<Option<&'n str>> {
        if let Some(Node::Number(token)) = self.get(name)
            && !token.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(self.fault(name, "not a whole number"));
        }
        Ok(self.token(name, NAME_MAX)?.filter(|text| !text.is_empty()))
    }

    fn txid(self) -> Read<Option<&'n str>> {
        Ok(self.token("txid", HASH_MAX)?.filter(|txid| !txid.is_empty()))
    }

    fn currency(self) -> Read<Option<&'n str>> {
        let currency = self.text("currency", CURRENCY_MAX)?;
        match currency {
            Some(word) if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(self.fault("currency", "not a currency"))
            }
            Some(_) | None => Ok(currency),
        }
    }

    fn amount(self, name: &'static str) -> Read<Option<Amount>> {
        let token = match self.get(name) {
            None | Some(Node::Null) => return Ok(None),
            Some(Node::Number(token)) => *token,
            Some(Node::Text(text)) => text,
            Some(Node::Bool(_) | Node::List(_) | Node::Object(_)) => {
                return Err(self.fault(name, "neither a string nor a number"));
            }
        };
        match Amount::parse(token) {
            Ok(amount) => Ok(Some(amount)),
            Err(error) => Err(self.fault(name, error)),
        }
    }

    fn money(self) -> Read<Option<Money>> {
        let Some(amount) = self.amount("amount")? else { return Ok(None) };
        let currency = self.currency()?.ok_or_else(|| self.fault("currency", "missing"))?;
        Ok(Some(Money { currency: currency.to_owned(), amount }))
    }

    fn is_exchange(self) -> Read<bool> {
        let is_exchange = |name| Ok(self.text(name, NAME_MAX)? == Some("exchange"));
        Ok(is_exchange("transaction_type")? || is_exchange("type")?)
    }
}
