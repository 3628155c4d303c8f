//! The two receivers that Tallyhook is compared with, each an actix server of this same binary,
//! started as a process of its own. Honest, small and usual; not tuned down, and not part of the
//! product. Both check the signature with a key that was taken in once, and parse the same fields.

pub(crate) mod forward;
pub(crate) mod naive;
mod tables;

use std::collections::HashMap;
use std::path::Path;

use actix_web::HttpRequest;
use anyhow::Result;
use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use sha2::Sha512;

use crate::merchants::read_file;

/// As many as the machine of the published figures has cores.
const WORKERS: usize = 2;
const BODY_BYTES_MAX: usize = 64 * 1024;

/// By the key header: the merchant's name and the prepared HMAC.
struct Keys(HashMap<String, (String, Hmac<Sha512>)>);

impl Keys {
    fn read(file: &Path) -> Result<Self> {
        let merchants = read_file(file)?;
        let entries = merchants.into_iter().map(|m| Ok((m.key.clone(), (m.name.clone(), m.mac()?))));
        Ok(Self(entries.collect::<Result<_>>()?))
    }

    /// The merchant whose signature over exactly these bytes the request carries.
    fn verify(&self, request: &HttpRequest, body: &[u8]) -> Option<&str> {
        let header = |name: &str| request.headers().get(name)?.to_str().ok();
        let (name, mac) = self.0.get(header("X-Processing-Key")?)?;
        let tag = from_hex(header("X-Processing-Signature")?)?;
        let mut mac = mac.clone();
        mac.update(body);
        mac.verify_slice(&tag).ok()?;
        Some(name)
    }
}

fn from_hex(text: &str) -> Option<[u8; 64]> {
    let digits = text.as_bytes();
    let mut tag = [0_u8; 64];
    if digits.len() != 128 {
        return None;
    }
    for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(value(pair[0])? * 16 + value(pair[1])?).ok()?;
    }
    Some(tag)
}

/// The few fields that both read. Borrowed from the body.
#[derive(Deserialize)]
struct Deposit<'a> {
    id: u64,
    status: &'a str,
    #[serde(borrow)]
    crypto_address: CryptoAddress<'a>,
    currency_received: Received<'a>,
}

#[derive(Deserialize)]
struct CryptoAddress<'a> {
    foreign_id: &'a str,
}

#[derive(Deserialize)]
struct Received<'a> {
    currency: &'a str,
    amount: &'a str,
    amount_minus_fee: &'a str,
}

/// `0.06531575` in satoshi: exact for the eight decimals that these bodies have.
fn satoshi(amount: &str) -> Option<i64> {
    let (whole, part) = amount.split_once('.')?;
    if part.len() != 8 {
        return None;
    }
    whole.parse::<i64>().ok()?.checked_mul(100_000_000)?.checked_add(part.parse().ok()?)
}
