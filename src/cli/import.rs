//! `callbacks export|import` and `customers import`: what is stored as lines of JSON, and lines back into the booker.
//! An imported callback is verified again, byte for byte, and booked like any other: importing twice books once.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::output::{print, tell};
use crate::app::{booker_parts, now_us};
use crate::booker::{Booker, Incoming, OrderError, booker};
use crate::config::Settings;
use crate::domain::callback::Origin;
use crate::domain::customer::ReferenceKind;
use crate::domain::event::rfc3339;
use crate::domain::ids::MerchantId;
use crate::domain::order::Order;
use crate::http::admin::query;
use crate::metrics::Metrics;
use crate::processor::signature::Keyring;
use crate::store::callbacks::{Scope, StoredBody, bounds, stretch};
use crate::store::events::MerchantNames;
use crate::store::{Db, merchants};

const PAGE: u64 = 500;
/// Lines that are booked at the same time: they share batches.
const AT_ONCE: usize = 128;

/// A stored callback as a line. Names that are not known are passed over, so that later versions may say more.
#[derive(Serialize, Deserialize)]
struct Line {
    merchant: String,
    /// callback: the processor signed it; answer: it is what the processor answered, under a seal of ours.
    #[serde(default = "callback")]
    origin: String,
    received_at: String,
    /// The proof, in hex.
    signature: String,
    headers: serde_json::Value,
    /// Base64.
    body: String,
}

fn callback() -> String {
    "callback".to_owned()
}

/// Prints what a scope means, oldest first, a line each. Exit code 1 if bodies are pruned: those can't be exported.
pub async fn export(db: &Db, scope: &Scope, limit: u64) -> anyhow::Result<u8> {
    let names = merchants::all(db).await?;
    let (mut cursor, upto) = bounds(db, scope).await?;
    let (mut left, mut pruned) = (limit, 0_usize);
    while cursor < upto && left > 0 {
        let part = stretch(db, scope, cursor, upto, left.min(PAGE)).await?;
        for found in &part.callbacks {
            print(&format!("{}\n", serde_json::to_string(&line(&found.stored, &names)?)?))?;
        }
        left = left.saturating_sub(u64::try_from(part.callbacks.len())?);
        pruned = pruned.saturating_add(part.pruned.len());
        cursor = part.cursor;
    }
    if pruned > 0 {
        tell(&format!("tallyhook: {pruned} callbacks are left out: their bodies are pruned"));
    }
    Ok(u8::from(pruned > 0))
}

fn line(stored: &StoredBody, names: &MerchantNames) -> anyhow::Result<Line> {
    let merchant = names.0.get(&stored.merchant.0).cloned().context("a callback of no known merchant")?;
    let origin = if stored.origin == Origin::Reconcile { "answer" } else { "callback" };
    Ok(Line {
        merchant,
        origin: origin.to_owned(),
        received_at: rfc3339(stored.received_us),
        signature: const_hex::encode(stored.signature),
        headers: serde_json::from_str(&stored.headers).unwrap_or_default(),
        body: STANDARD.encode(&stored.body),
    })
}

/// What became of the lines.
#[derive(Default)]
struct Tally {
    new: u64,
    known: u64,
    declined: u64,
}

/// Books the lines of a file. Exit code 1 if one was declined.
pub async fn callbacks(settings: &Settings, db: &Db, file: &Path) -> anyhow::Result<u8> {
    let text = read(file).await?;
    let (booker, keyring, desk) = desk(settings, db).await?;
    let names = merchants::all(db).await?;
    let take = async |booker: Booker| {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let booked = lines.map(|(index, line)| {
            let incoming = incoming(line, &names, &keyring);
            let booker = booker.clone();
            async move {
                let result = match incoming {
                    Ok(incoming) => booker.receive(incoming).await.map_err(anyhow::Error::from),
                    Err(error) => Err(error),
                };
                (index.saturating_add(1), result.map(|receipt| receipt.is_duplicate))
            }
        });
        tally(booked).await
    };
    let (tally, ()) = tokio::join!(take(booker), desk);
    Ok(told(&tally, "callbacks"))
}

fn incoming(line: &str, names: &MerchantNames, keyring: &Keyring) -> anyhow::Result<Incoming> {
    let line: Line = serde_json::from_str(line).context("it is not a line of an export")?;
    let merchant = query::merchant(&line.merchant, names).map_err(|error| anyhow!(error))?;
    let body = STANDARD.decode(&line.body).context("its body is not base64")?;
    let proof: [u8; 64] =
        const_hex::decode_to_array(&line.signature).context("its signature is not 64 bytes in hex")?;
    let received_us = query::moment("received_at", &line.received_at, now_us()).map_err(|error| anyhow!(error))?;
    let origin = match line.origin.as_str() {
        "callback" => Origin::Callback,
        "answer" => Origin::Reconcile,
        _ => return Err(anyhow!("its origin is neither callback nor answer")),
    };
    if !keyring.proves(merchant, origin, &proof, &body) {
        return Err(anyhow!("none of the secrets of {} made its signature", line.merchant));
    }
    if origin == Origin::Reconcile {
        return Ok(Incoming::answer(merchant, proof, body, received_us));
    }
    Ok(Incoming::new(merchant, proof, line.headers.to_string(), body, received_us))
}

/// A customer as a line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    merchant: Option<String>,
    end_user_reference: Option<String>,
    foreign_id: Option<String>,
}

/// Makes the customers of a file known. Exit code 1 if one was declined.
pub async fn customers(settings: &Settings, db: &Db, file: &Path, merchant: Option<&str>) -> anyhow::Result<u8> {
    let text = read(file).await?;
    let rows = rows(&text)?;
    let (booker, _, desk) = desk(settings, db).await?;
    let names = merchants::all(db).await?;
    let take = async |booker: Booker| {
        let booked = rows.into_iter().map(|(line, named)| {
            let order = named.and_then(|named| order(named, merchant, &names));
            let booker = booker.clone();
            async move {
                let result = match order {
                    Ok((merchant, order)) => booker.order(merchant, order).await.map_err(because),
                    Err(error) => Err(error),
                };
                (line, result.map(|placed| placed.is_duplicate))
            }
        });
        tally(booked).await
    };
    let (tally, ()) = tokio::join!(take(booker), desk);
    Ok(told(&tally, "customers"))
}

fn because(error: OrderError) -> anyhow::Error {
    anyhow::Error::from(error)
}

fn order(named: Named, merchant: Option<&str>, names: &MerchantNames) -> anyhow::Result<(MerchantId, Order)> {
    let merchant = named.merchant.as_deref().or(merchant);
    let merchant = merchant.context("it does not say whose customer this is, and there is no --merchant")?;
    let merchant = query::merchant(merchant, names).map_err(|error| anyhow!(error))?;
    let both =
        [(ReferenceKind::EndUserReference, named.end_user_reference), (ReferenceKind::ForeignId, named.foreign_id)];
    let given = both.into_iter().filter_map(|(kind, value)| Some((kind, value.filter(|value| !value.is_empty())?)));
    let references: Vec<_> = given.collect();
    let is_short = |value: &str| value.chars().count() <= 255 && !value.contains('\0');
    if references.is_empty() || !references.iter().all(|(_, value)| is_short(value)) {
        return Err(anyhow!("it needs an end_user_reference or a foreign_id, each of at most 255 characters"));
    }
    Ok((merchant, Order::Customer { references }))
}

/// The rows of a file with the numbers of their lines: NDJSON if it begins with `{`, else CSV.
fn rows(text: &str) -> anyhow::Result<Vec<(usize, anyhow::Result<Named>)>> {
    let lines = (1_usize..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    if text.trim_start().starts_with('{') {
        let named = |line| serde_json::from_str(line).context("it is not a customer as JSON");
        return Ok(lines.map(|(number, line)| (number, named(line))).collect());
    }
    let mut lines = lines;
    let head = lines.next().map(|(_, line)| cells(line)).transpose()?.unwrap_or_default();
    let known = ["merchant", "end_user_reference", "foreign_id"];
    if head.is_empty() || head.iter().any(|name| !known.contains(&name.as_str())) {
        return Err(anyhow!("the first line must name columns among {}", known.join(", ")));
    }
    let named = |line| {
        let cells = cells(line)?;
        if cells.len() != head.len() {
            return Err(anyhow!("it has {} cells, and the first line has {}", cells.len(), head.len()));
        }
        let cell = |name: &str| head.iter().zip(&cells).find(|(head, _)| *head == name).map(|(_, cell)| cell.clone());
        let [merchant, end_user_reference, foreign_id] = known.map(cell);
        Ok(Named { merchant: merchant.filter(|name| !name.is_empty()), end_user_reference, foreign_id })
    };
    Ok(lines.map(|(number, line)| (number, named(line))).collect())
}

/// The cells of a line of CSV; a quoted cell holds no line break.
fn cells(line: &str) -> anyhow::Result<Vec<String>> {
    let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.trim_end_matches('\r').chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if is_quoted => is_quoted = false,
            '"' if cell.is_empty() => is_quoted = true,
            ',' if !is_quoted => cells.push(std::mem::take(&mut cell)),
            other => cell.push(other),
        }
    }
    if is_quoted {
        return Err(anyhow!("a quote is not closed"));
    }
    cells.push(cell);
    Ok(cells)
}

/// A booker of this command's own; its task ends with the last handle.
async fn desk(settings: &Settings, db: &Db) -> anyhow::Result<(Booker, Arc<Keyring>, impl Future<Output = ()> + Send)> {
    let wanted: Vec<_> = settings.merchants.iter().map(|merchant| merchant.name.clone()).collect();
    merchants::ensure(db, &wanted).await?;
    let names = merchants::all(db).await?;
    let keyring = Arc::new(super::ledger::keyring(settings, db).await?);
    let (booker, desk) = booker(booker_parts(settings, &names, db, (&Arc::new(Metrics::default()), &keyring)));
    Ok((booker, keyring, desk))
}

async fn tally(booked: impl Iterator<Item = impl Future<Output = (usize, anyhow::Result<bool>)>>) -> Tally {
    let mut tally = Tally::default();
    // In the order of the file: a later line may depend on an earlier one.
    let mut results = stream::iter(booked).buffered(AT_ONCE);
    while let Some((line, result)) = results.next().await {
        let count = match result {
            Ok(true) => &mut tally.known,
            Ok(false) => &mut tally.new,
            Err(error) => {
                tell(&format!("line {line}: {error:#}"));
                &mut tally.declined
            }
        };
        *count = count.saturating_add(1);
    }
    tally
}

fn told(tally: &Tally, what: &str) -> u8 {
    let Tally { new, known, declined } = tally;
    tell(&format!("{new} {what} are new, {known} were known, {declined} were declined."));
    u8::from(*declined > 0)
}

async fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut tokio::io::stdin(), &mut text).await?;
        return Ok(text);
    }
    let text = tokio::fs::read_to_string(file).await;
    text.with_context(|| format!("{} can't be read", file.display()))
}
