//! Why a signature might not fit: tries the mistakes that proxies, frameworks and configurations usually make.
//! It never changes a verdict, and its answer is for operators alone: told to a sender, it would help to forge.
//! Its work is bounded, whatever is sent.

use std::fmt::Write;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::json::{self, Node};
use super::signature::{Keyring, Member, present};

/// Larger bodies are not looked into: none of the processor's comes near.
const BODY_BYTES_MAX: usize = 65_536;
/// Bytes hashed for one diagnosis, however many merchants there are: some 20 ms.
const WORK_BYTES_MAX: usize = 8_388_608;
/// What one more attempt costs besides its bytes.
const ATTEMPT_BYTES: usize = 512;
/// A shorter beginning of a signature could fit by chance.
const TRUNCATED_BYTES_MIN: usize = 8;

macro_rules! causes {
    ($($name:ident = $code:literal, $sentence:literal;)*) => {
        /// The likely cause of a refusal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Cause { $($name,)* }

        impl Cause {
            /// Every cause there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// A word that never changes.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What is wrong and what to do about it, for an operator.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

causes! {
    None = "none", "The signature fits: nothing is wrong.";
    NoKey = "no_key", "There is no X-Processing-Key header: a proxy dropped it, or the sender is not the processor.";
    NoSignature = "no_signature", "There is no X-Processing-Signature header: a proxy dropped it, or the sender is not the processor.";
    BodyTooLarge = "body_too_large", "The body is larger than 64 KiB, which no callback is: it was not looked into.";
    NotASignature = "not_a_signature", "The signature is neither hexadecimal nor base64: send the 128 hexadecimal characters of HMAC-SHA512.";
    KeyIsSecret = "key_is_secret", "The key header carries one of our secrets: swap key and secret at the sender, and change that secret, because it was sent in the open.";
    KeyAsSecret = "key_as_secret", "The signature was made with the public key instead of the secret: swap the two at the sender.";
    WrongKey = "wrong_key", "The signature fits a merchant's secret, but the key header is not that merchant's: compare the configured key with the processor's settings.";
    AnotherMerchant = "another_merchant", "The body was signed with the secret of another merchant: the key and the secret of one of the two are mixed up.";
    UnknownKey = "unknown_key", "No merchant has this key: compare the configured keys with the processor's settings, and production with sandbox.";
    Wrapped = "wrapped", "The signature fits without the text around it: send the 128 hexadecimal characters alone.";
    Base64 = "base64", "The signature fits, but is written in base64: write it in hexadecimal.";
    Truncated = "truncated", "The signature is the beginning of the right one: something cut the header; all 128 characters are needed.";
    NewlineAdded = "newline_added", "The signature fits this body with the trailing newline removed: a proxy or framework added one; pass the raw bytes on.";
    NewlineRemoved = "newline_removed", "The signature fits this body with a trailing newline: a proxy or framework removed it, or the sender signed one too many; sign and pass on the same bytes.";
    BlanksAdded = "blanks_added", "The signature fits this body without the white space around it: pass the raw bytes on.";
    MarkAdded = "mark_added", "The signature fits this body without the byte order mark in front: pass the raw bytes on.";
    EmptyBody = "empty_body", "The signature is that of an empty body: the sender signed before it had the body, or something on the way replaced it.";
    Rewritten = "rewritten", "The signature fits the same JSON written in another way (white space, escaped slashes, \\u escapes or order of keys): something read the body and wrote it anew; pass the raw bytes on.";
    Sha256 = "sha256", "The signature is an HMAC-SHA256: use HMAC-SHA512.";
    PlainHash = "plain_hash", "The signature is a SHA-512 without HMAC: use HMAC-SHA512 with the secret as its key.";
    SwappedArguments = "swapped_arguments", "The body was used as the key of the HMAC and the secret as its message: swap them.";
    DecodedSecret = "decoded_secret", "The secret was decoded from hexadecimal before signing: use its characters as they are.";
    SecretWithNewline = "secret_with_newline", "The secret used for signing ends in a newline: remove it, most likely from a file of secrets.";
    Unknown = "unknown", "No usual mistake explains the signature: compare the secret with the processor's settings, and make sure that nothing changes the body on the way.";
}

/// Looks for the mistake behind a refusal.
pub fn likely_cause(keyring: &Keyring, key: Option<&[u8]>, signature: Option<&[u8]>, body: &[u8]) -> Cause {
    let Some(key) = present(key) else { return Cause::NoKey };
    let Some(signature) = present(signature) else { return Cause::NoSignature };
    if body.len() > BODY_BYTES_MAX {
        return Cause::BodyTooLarge;
    }
    if keyring.members.iter().any(|member| holds_secret(member, key)) {
        return Cause::KeyIsSecret;
    }
    let named = keyring.find(key);
    let Some((claimed, form)) = claimed(signature) else {
        return if named.is_some() { Cause::NotASignature } else { Cause::UnknownKey };
    };
    let fitting = if named.is_some() { form } else { Cause::WrongKey };
    let mut search = Search { claimed, body, work_left: WORK_BYTES_MAX };
    let others = || keyring.members.iter().filter(|member| named.is_none_or(|named| named.merchant != member.merchant));
    let blamed = named.and_then(|member| search.member(member, fitting));
    let blamed = blamed.or_else(|| {
        others().find_map(|member| match named {
            Some(_) => search.has_signed(member).then_some(Cause::AnotherMerchant),
            None => search.member(member, fitting),
        })
    });
    blamed.unwrap_or(if named.is_some() { Cause::Unknown } else { Cause::UnknownKey })
}

/// Compared in constant time: an answer that comes sooner would tell how much of a secret was guessed.
fn holds_secret(member: &Member, text: &[u8]) -> bool {
    member.secrets.iter().any(|secret| bool::from(secret.expose_secret().as_bytes().ct_eq(text)))
}

/// The bytes that a header claims, and what is wrong with the way it writes them.
fn claimed(signature: &[u8]) -> Option<(Vec<u8>, Cause)> {
    let text = std::str::from_utf8(signature).ok()?;
    let bare = text.trim_matches(['"', '\'']);
    let bare = bare
        .split_once([' ', '=', ':'])
        .filter(|(_, rest)| !rest.trim_matches('=').is_empty())
        .map_or(bare, |(_, rest)| rest);
    let bare = bare.trim();
    let bare = bare.strip_prefix("0x").or_else(|| bare.strip_prefix("0X")).unwrap_or(bare);
    if bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let digits = bare.get(..bare.len().min(128) & !1)?;
        let form = if bare == text && digits == bare { Cause::None } else { Cause::Wrapped };
        return const_hex::decode(digits).ok().filter(|bytes| !bytes.is_empty()).map(|bytes| (bytes, form));
    }
    let decoded = from_base64(bare)?;
    // Hexadecimal text that was then written in base64 is as common as the bytes themselves.
    let bytes = if decoded.len() == 128 { const_hex::decode(&decoded).unwrap_or(decoded) } else { decoded };
    Some((bytes, Cause::Base64))
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [base64::alphabet::STANDARD, base64::alphabet::URL_SAFE]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, lenient).decode(text).ok())
}

struct Search<'a> {
    claimed: Vec<u8>,
    body: &'a [u8],
    work_left: usize,
}

impl Search<'_> {
    fn has_signed(&mut self, member: &Member) -> bool {
        let body = self.body;
        member.secrets.iter().any(|secret| self.is_hmac(secret.expose_secret().as_bytes(), body))
    }

    /// Every mistake with the secrets of one merchant, the cheap and the common first.
    fn member(&mut self, member: &Member, fitting: Cause) -> Option<Cause> {
        let body = self.body;
        if self.has_signed(member) {
            return Some(fitting);
        }
        if self.work_left == 0 {
            return None;
        }
        if self.is_hmac(member.key.as_bytes(), body) {
            return Some(Cause::KeyAsSecret);
        }
        member.secrets.iter().find_map(|secret| {
            let secret = secret.expose_secret().as_bytes();
            self.changed_body(secret).or_else(|| self.misused(secret)).or_else(|| self.rewritten(secret))
        })
    }

    /// The body was changed around its edges, or is not the one that was signed at all.
    fn changed_body(&mut self, secret: &[u8]) -> Option<Cause> {
        let body = self.body;
        let without_newline = body.strip_suffix(b"\n").map(|body| body.strip_suffix(b"\r").unwrap_or(body));
        let candidates = [
            (Cause::NewlineAdded, without_newline),
            (Cause::NewlineRemoved, Some(&*[body, b"\n"].concat())),
            (Cause::NewlineRemoved, Some(&*[body, b"\r\n"].concat())),
            (Cause::BlanksAdded, Some(body.trim_ascii())),
            (Cause::MarkAdded, body.strip_prefix(b"\xef\xbb\xbf")),
            (Cause::EmptyBody, Some(&b""[..])),
        ]
        .map(|(cause, message)| (cause, message.map(<[u8]>::to_vec)));
        let found = candidates
            .into_iter()
            .find(|(_, message)| message.as_deref().is_some_and(|message| self.is_hmac(secret, message)));
        found.map(|(cause, _)| cause)
    }

    /// The right body, but not the right use of the secret.
    fn misused(&mut self, secret: &[u8]) -> Option<Cause> {
        let body = self.body;
        if self.is_beginning(secret) {
            return Some(Cause::Truncated);
        }
        if self.is_hmac(&[secret, b"\n"].concat(), body) {
            return Some(Cause::SecretWithNewline);
        }
        if const_hex::decode(secret).is_ok_and(|decoded| self.is_hmac(&decoded, body)) {
            return Some(Cause::DecodedSecret);
        }
        if self.is_hmac(body, secret) {
            return Some(Cause::SwappedArguments);
        }
        if self.may_hash(body.len()) && hmac::<Hmac<Sha256>>(secret, body) == self.claimed {
            return Some(Cause::Sha256);
        }
        let plain = |parts: [&[u8]; 2]| Sha512::digest(parts.concat()).to_vec();
        let plain_hashes = [[secret, body], [body, secret], [body, b""]];
        let is_plain = plain_hashes.into_iter().any(|parts| self.may_hash(body.len()) && plain(parts) == self.claimed);
        is_plain.then_some(Cause::PlainHash)
    }

    /// The same JSON in the other ways that common encoders write it.
    fn rewritten(&mut self, secret: &[u8]) -> Option<Cause> {
        if !self.may_hash(self.body.len()) {
            return None;
        }
        let node = json::read(self.body).ok()?;
        // Writing costs about as much as hashing, so it is paid for in the same way.
        let is_signed =
            |style| self.may_hash(self.body.len()) && self.is_hmac(secret, written(&node, style).as_bytes());
        STYLES.into_iter().flat_map(Style::variants).any(is_signed).then_some(Cause::Rewritten)
    }

    fn is_hmac(&mut self, secret: &[u8], message: &[u8]) -> bool {
        self.may_hash(message.len()) && hmac::<Hmac<Sha512>>(secret, message) == self.claimed
    }

    fn is_beginning(&mut self, secret: &[u8]) -> bool {
        (TRUNCATED_BYTES_MIN..64).contains(&self.claimed.len())
            && self.may_hash(self.body.len())
            && hmac::<Hmac<Sha512>>(secret, self.body).starts_with(&self.claimed)
    }

    /// Spends the bounded work.
    fn may_hash(&mut self, bytes: usize) -> bool {
        let left = self.work_left.checked_sub(bytes.saturating_add(ATTEMPT_BYTES));
        self.work_left = left.unwrap_or(0);
        left.is_some()
    }
}

fn hmac<M: Mac + KeyInit>(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let state = <M as KeyInit>::new_from_slice(secret).expect("HMAC takes a key of any length");
    state.chain_update(message).finalize().into_bytes().to_vec()
}

/// A way to write JSON.
#[derive(Debug, Clone, Copy)]
struct Style {
    comma: &'static str,
    colon: &'static str,
    /// Spaces per level; `None` keeps everything on one line.
    indent: Option<usize>,
    escapes_slashes: bool,
    escapes_unicode: bool,
    sorts_keys: bool,
}

/// On one line without and with blanks (PHP and JavaScript; Python), and on many lines (JavaScript; PHP).
const STYLES: [Style; 4] = [
    Style::of(",", ":", None),
    Style::of(", ", ": ", None),
    Style::of(",", ": ", Some(2)),
    Style::of(",", ": ", Some(4)),
];

impl Style {
    const fn of(comma: &'static str, colon: &'static str, indent: Option<usize>) -> Self {
        Self { comma, colon, indent, escapes_slashes: false, escapes_unicode: false, sorts_keys: false }
    }

    fn variants(self) -> impl Iterator<Item = Self> {
        (0_u8..8).map(move |bits| Self {
            escapes_slashes: bits & 1 != 0,
            escapes_unicode: bits & 2 != 0,
            sorts_keys: bits & 4 != 0,
            ..self
        })
    }
}

fn written(node: &Node<'_>, style: Style) -> String {
    let mut writer = Writer { out: String::new(), style };
    writer.node(node, 1);
    writer.out
}

struct Writer {
    out: String,
    style: Style,
}

impl Writer {
    fn node(&mut self, node: &Node<'_>, level: usize) {
        let below = level.saturating_add(1);
        match node {
            Node::Null => self.out.push_str("null"),
            Node::Bool(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Node::Number(token) => self.out.push_str(token),
            Node::Text(text) => self.text(text),
            Node::List(items) => self.items(['[', ']'], level, items, |writer, item| writer.node(item, below)),
            Node::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                if self.style.sorts_keys {
                    members.sort_by(|(one, _), (other, _)| one.cmp(other));
                }
                self.items(['{', '}'], level, &members, |writer, (key, value)| {
                    writer.text(key);
                    writer.out.push_str(writer.style.colon);
                    writer.node(value, below);
                });
            }
        }
    }

    fn items<T>(&mut self, [open, close]: [char; 2], level: usize, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.out.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push_str(self.style.comma);
            }
            self.new_line(level);
            write(self, item);
        }
        if !items.is_empty() {
            self.new_line(level.saturating_sub(1));
        }
        self.out.push(close);
    }

    fn new_line(&mut self, level: usize) {
        if let Some(indent) = self.style.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent.saturating_mul(level)));
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '/' if self.style.escapes_slashes => self.out.push_str("\\/"),
                _ if character < ' ' || (self.style.escapes_unicode && !character.is_ascii()) => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(self.out, "\\u{unit:04x}").expect("a String takes everything");
                    }
                }
                _ => self.out.push(character),
            }
        }
        self.out.push('"');
    }
}
