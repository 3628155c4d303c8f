//! The signature of a gateway's request: HMAC-SHA256 in lower-case hex over the timestamp, the method, the path, the
//! query and the SHA-256 of the body, a line each. Pure; it knows no key and no clock.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// What is signed of a request.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    pub timestamp: &'a str,
    pub method: &'a str,
    /// As it was sent, not decoded.
    pub path: &'a str,
    /// As it was sent, without the question mark; empty when there is none.
    pub query: &'a str,
    pub body: &'a [u8],
}

impl Signed<'_> {
    /// The text that is signed: five lines, without a line break at the end.
    pub fn canonical(&self) -> String {
        let body = const_hex::encode(Sha256::digest(self.body));
        format!("{}\n{}\n{}\n{}\n{body}", self.timestamp, self.method, self.path, self.query)
    }

    /// Signs.
    ///
    /// ```
    /// use tallyhook::http::gateway::signature::Signed;
    /// let ping = Signed { timestamp: "1747444800", method: "GET", path: "/v1/_ping", query: "", body: b"" };
    /// assert!(ping.sign(&"test_secret".into()).starts_with("292c61e847e38bd634f3ddb49ae92b91"));
    /// ```
    pub fn sign(&self, secret: &SecretString) -> String {
        const_hex::encode(self.hmac(secret).finalize().into_bytes())
    }

    /// Whether the secret made this signature. Takes the same time wherever they differ.
    pub fn is_signed(&self, secret: &SecretString, signature: &[u8; 32]) -> bool {
        self.hmac(secret).verify_slice(signature).is_ok()
    }

    fn hmac(&self, secret: &SecretString) -> Hmac<Sha256> {
        let state = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes());
        state.expect("HMAC takes a key of any length").chain_update(self.canonical())
    }
}

/// Exactly 64 hexadecimal characters. The library alone would also take a `0x` in front.
pub fn decode(signature: &[u8]) -> Option<[u8; 32]> {
    let is_hex = signature.len() == 64 && signature.iter().all(u8::is_ascii_hexdigit);
    if is_hex { const_hex::decode_to_array(signature).ok() } else { None }
}
