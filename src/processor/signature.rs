//! The processor's signature: HMAC-SHA512 over the exact bytes of a body, in hex, under a key that names the merchant.
//! It answers who signed a body or why that is refused. It never parses the body, never tells secrets, and never
//! compares a signature in any way but in constant time and in full length.

use std::collections::HashMap;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha512;

use crate::domain::callback::Origin;
use crate::domain::ids::MerchantId;

pub use super::cause::{Cause, likely_cause};

/// A shorter secret can be guessed, and an empty one lets anyone sign.
const SECRET_CHARACTERS_MIN: usize = 12;

/// A merchant's key and secrets, as they are configured.
#[derive(Debug)]
pub struct MerchantKeys {
    pub merchant: MerchantId,
    /// The public key that names the merchant in `X-Processing-Key`.
    pub key: String,
    /// The current secret first, then those that are still accepted.
    pub secrets: Vec<SecretString>,
}

/// Why there is no keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error("merchant {0} has no secret")]
    NoSecret(MerchantId),
    #[error("a secret of merchant {0} is shorter than 12 characters")]
    ShortSecret(MerchantId),
    #[error("the key of merchant {0} is empty, or has blanks or characters that no header can carry")]
    UnusableKey(MerchantId),
    #[error("merchants {0} and {1} have the same key")]
    SharedKey(MerchantId, MerchantId),
}

/// The keys and secrets of all merchants. Each secret is worked into its HMAC state once, and copied for each check.
pub struct Keyring {
    pub(super) members: Vec<Member>,
    by_key: HashMap<Vec<u8>, usize>,
    /// Spends the same time on an unknown key as on a known one.
    decoy: Hmac<Sha512>,
}

pub(super) struct Member {
    pub merchant: MerchantId,
    pub key: String,
    pub secrets: Vec<SecretString>,
    states: Vec<Hmac<Sha512>>,
}

/// Who signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    pub merchant: MerchantId,
    pub signature: [u8; 64],
    /// Which of the merchant's secrets fits: 0 is the current one.
    pub secret_index: usize,
}

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    #[error("no key header")]
    NoKey,
    #[error("the key is none of ours")]
    UnknownKey,
    #[error("no signature header")]
    NoSignature,
    #[error("the signature is not 128 hexadecimal characters")]
    MalformedSignature,
    #[error("the signature does not fit the body")]
    WrongSignature,
    /// For callers: only they see the headers themselves.
    #[error("a header came twice")]
    Ambiguous,
}

impl Refused {
    /// Every refusal there is.
    pub const ALL: [Self; 6] = [
        Self::NoKey,
        Self::UnknownKey,
        Self::NoSignature,
        Self::MalformedSignature,
        Self::WrongSignature,
        Self::Ambiguous,
    ];

    /// The word used in metrics; it never changes.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::UnknownKey => "unknown_key",
            Self::NoSignature => "no_signature",
            Self::MalformedSignature => "malformed_signature",
            Self::WrongSignature => "wrong_signature",
            Self::Ambiguous => "ambiguous",
        }
    }
}

impl Keyring {
    /// Refuses what could never verify, and what anyone could sign.
    pub fn try_new(merchants: impl IntoIterator<Item = MerchantKeys>) -> Result<Self, KeyringError> {
        let mut ring = Self { members: Vec::new(), by_key: HashMap::new(), decoy: keyed(b"nobody's secret") };
        for MerchantKeys { merchant, key, secrets } in merchants {
            if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(KeyringError::UnusableKey(merchant));
            }
            if secrets.is_empty() {
                return Err(KeyringError::NoSecret(merchant));
            }
            if secrets.iter().any(|secret| secret.expose_secret().chars().count() < SECRET_CHARACTERS_MIN) {
                return Err(KeyringError::ShortSecret(merchant));
            }
            if let Some(other) = ring.find(key.as_bytes()) {
                return Err(KeyringError::SharedKey(other.merchant, merchant));
            }
            let states = secrets.iter().map(|secret| keyed(secret.expose_secret().as_bytes())).collect();
            ring.by_key.insert(key.clone().into_bytes(), ring.members.len());
            ring.members.push(Member { merchant, key, secrets, states });
        }
        Ok(ring)
    }

    /// Checks a body against the values of its two headers, as they came.
    pub fn verify(&self, key: Option<&[u8]>, signature: Option<&[u8]>, body: &[u8]) -> Result<Verified, Refused> {
        let key = present(key).ok_or(Refused::NoKey)?;
        let member = self.find(key);
        let signature = present(signature).ok_or(member.map_or(Refused::UnknownKey, |_| Refused::NoSignature))?;
        let signature = decode(signature).ok_or(member.map_or(Refused::UnknownKey, |_| Refused::MalformedSignature))?;
        let Some(member) = member else {
            // The verdict is certain; what it costs must not tell whether a key exists.
            std::hint::black_box(fits(&self.decoy, &signature, body));
            return Err(Refused::UnknownKey);
        };
        let secret_index = member.states.iter().position(|state| fits(state, &signature, body));
        let secret_index = secret_index.ok_or(Refused::WrongSignature)?;
        Ok(Verified { merchant: member.merchant, signature, secret_index })
    }

    /// Whether one of the merchant's secrets made this signature: for proving stored bodies again.
    pub fn signed_by(&self, merchant: MerchantId, signature: &[u8], body: &[u8]) -> bool {
        let Ok(signature) = <&[u8; 64]>::try_from(signature) else { return false };
        let states = self.members.iter().filter(|member| member.merchant == merchant).flat_map(|member| &member.states);
        states.into_iter().any(|state| fits(state, signature, body))
    }

    /// Our own proof of a body that the processor did not sign: what it answered, or what we ordered. The origin is part
    /// of what is proven, so that no seal passes for a callback's signature, nor the other way round.
    pub fn seal(&self, merchant: MerchantId, origin: Origin, body: &[u8]) -> Option<[u8; 64]> {
        let member = self.members.iter().find(|member| member.merchant == merchant)?;
        let state = member.states.first()?.clone().chain_update(origin.domain()).chain_update(body);
        Some(state.finalize().into_bytes().into())
    }

    /// Whether a stored body is proven: signed by the processor, or sealed by us.
    pub fn proves(&self, merchant: MerchantId, origin: Origin, proof: &[u8], body: &[u8]) -> bool {
        if origin == Origin::Callback {
            return self.signed_by(merchant, proof, body);
        }
        let Ok(proof) = <&[u8; 64]>::try_from(proof) else { return false };
        let states = self.members.iter().filter(|member| member.merchant == merchant).flat_map(|member| &member.states);
        states.into_iter().any(|state| fits(&state.clone().chain_update(origin.domain()), proof, body))
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<&Member> {
        self.by_key.get(key).and_then(|index| self.members.get(*index))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let merchants: Vec<_> = self.members.iter().map(|member| member.merchant).collect();
        out.debug_struct("Keyring").field("merchants", &merchants).finish_non_exhaustive()
    }
}

/// Signs a body as the processor does: lower-case hex.
///
/// ```
/// use tallyhook::processor::signature::sign;
/// let body = br#"{"currency":"BTC","foreign_id":"123456"}"#;
/// assert!(sign(&"AbCdEfG123456".into(), body).starts_with("03c25fcf7cd35e7d995e402cd5d51edd"));
/// ```
pub fn sign(secret: &SecretString, body: &[u8]) -> String {
    const_hex::encode(keyed(secret.expose_secret().as_bytes()).chain_update(body).finalize().into_bytes())
}

/// The secret's own bytes are the key: it is never decoded.
fn keyed(secret: &[u8]) -> Hmac<Sha512> {
    Hmac::new_from_slice(secret).expect("HMAC takes a key of any length")
}

fn fits(state: &Hmac<Sha512>, signature: &[u8; 64], body: &[u8]) -> bool {
    state.clone().chain_update(body).verify_slice(signature).is_ok()
}

/// A header's value without the blanks around it; an empty one is no value.
pub(super) fn present(value: Option<&[u8]>) -> Option<&[u8]> {
    let mut value = value?;
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    if value.is_empty() { None } else { Some(value) }
}

/// Exactly 128 hexadecimal characters. The library alone would also take a `0x` in front.
pub(super) fn decode(signature: &[u8]) -> Option<[u8; 64]> {
    let is_hex = signature.len() == 128 && signature.iter().all(u8::is_ascii_hexdigit);
    if is_hex { const_hex::decode_to_array(signature).ok() } else { None }
}
