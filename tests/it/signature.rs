//! Claims about signatures: the published vectors, what a header may look like, rotation, and the diagnosis of a
//! refusal. It never parses a body.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use insta::assert_snapshot;
use secrecy::SecretString;
use sha2::{Digest, Sha256, Sha512};
use tallyhook::domain::ids::MerchantId;
use tallyhook::processor::signature::{Cause, Keyring, KeyringError, MerchantKeys, Refused, likely_cause, sign};

use crate::wire::fixture;

const SHOP: &str = "shop-key-0001";
const SHOP_SECRET: &str = "0123456789abcdef0123456789abcdef";
const SHOP_PREVIOUS: &str = "previous-secret-of-shop";
const CASINO: &str = "casino-key-0002";
const CASINO_SECRET: &str = "another-secret-of-casino";

fn keys(merchant: i16, key: &str, secrets: &[&str]) -> MerchantKeys {
    let secrets = secrets.iter().map(|secret| SecretString::from(*secret)).collect();
    MerchantKeys { merchant: MerchantId(merchant), key: key.to_owned(), secrets }
}

fn keyring() -> Keyring {
    let shop = keys(1, SHOP, &[SHOP_SECRET, SHOP_PREVIOUS]);
    Keyring::try_new([shop, keys(2, CASINO, &[CASINO_SECRET])]).expect("the keys are fine")
}

fn signed(secret: &str, body: &[u8]) -> String {
    sign(&SecretString::from(secret), body)
}

fn outcome(key: Option<&str>, signature: Option<&str>, body: &[u8]) -> String {
    let [key, signature] = [key, signature].map(|value| value.map(str::as_bytes));
    match keyring().verify(key, signature, body) {
        Ok(verified) => format!("merchant {}, secret {}", verified.merchant, verified.secret_index),
        Err(refused) => refused.word().to_owned(),
    }
}

#[test]
fn the_published_vectors_are_reproduced() {
    const OFFICIAL: &str = r#"{"currency":"BTC","foreign_id":"123456"}"#;
    let vectors = [
        (
            "AbCdEfG123456",
            OFFICIAL,
            "03c25fcf7cd35e7d995e402cd5d51edd72d48e1471e865907967809a0c189ba55b90815f20e2bb10f82c7a9e9d865546fda58989c2ae9e8e2ff7bc29195fa1ec",
        ),
        (
            "AbCdEfG123456",
            "{}",
            "89ff570683bfcd9e2c8911332e07e3ff196ca50f91faef98126fb0eb76df90d7ccddc4372a99ba67ec072fd3aac5d0b7eac44652e2b29ce36dbcf5ee50b6fa05",
        ),
        (
            "AbCdEfG123456",
            "[]",
            "2da807ab86f47091ca3f7f45aba4c2bd3072fff6f2ef4f88c1ebece372be14ff9800d1e8ffca4b2733f837bcb2ee8dfb23f56c09e4dc7a0143127820bcba88a8",
        ),
        (
            "AbCdEfG123456",
            "",
            "0104da715ed5bb364eba7167a71316e194f5ca21629884dca6c368cfd411d2b8404d0cccf928a76ef5b8d170eae711d9a9ef4d9c74cd23693869c96fd64c335f",
        ),
        (
            "AbCdEfG123456",
            "null",
            "159aafc08d52f80b346100a25d8473217c2b0f18f060ff4a1ade2e33a6c7f3c7c79867e8147b8c9b3593fdd5d426c191cd4e34aa27e0c331e11cdbb724c0c520",
        ),
        (
            "AbCdEfG123456",
            "{\"currency\":\"BTC\",\"foreign_id\":\"123456\"}\n",
            "8b313e28f60d96b21e0376ef3fbf83bb48b75261c1a0c6f0152bb9674eb637671b4c3bbd97781bb707b0496d27be6f1fe13d6e870fb9f6d6cf49391d780995cd",
        ),
        (
            "AbCdEfG123456",
            r#"{"currency": "BTC", "foreign_id": "123456"}"#,
            "49a7b1d9dd93d6d4e99f7a665ae03abea2d0a0bf40c8279bd009c24fc422db268d8bf494ecd1494de307eddb1d2fc90b977062e20f38a749a70aeff0890e1858",
        ),
        (
            "test_secret",
            r#"{"foreign_id":"\u044e-1","url":"https:\/\/example.com\/a"}"#,
            "19870b9eb25fe4c14fd880cefaaad0ecefea7cda5af7d3f40295cd31e932cc64e29c6f06aeeea884449ffa293dbc9c935dff4bfb9a95f350b8ade596fdb740e8",
        ),
        (
            "test_secret",
            r#"{"foreign_id":"ю-1","url":"https://example.com/a"}"#,
            "e0ecc50f863998ee3290c68399a110002566ece7a6545db2410ac7ad060a3d23f1c361e683eda8a088b3971f16652d82f32bf2fd1bbf08da38c9e5975880e8f8",
        ),
        (
            "secretkey",
            r#"{"key":"value"}"#,
            "d2b3292793cb1f527dab4c9d8128356a0df7635aa1796a4d45276646ce914dcf29bb9244aed750a3a5b7d26aabb44ba560b05ed1233168107bed4ca684522508",
        ),
    ];
    for (secret, body, signature) in vectors {
        assert_eq!(signed(secret, body.as_bytes()), signature, "{secret} over {body}");
    }
    let ring = Keyring::try_new([keys(3, "vendor", &["AbCdEfG123456"])]).expect("the vendor's secret is long enough");
    for (_, body, signature) in vectors.iter().filter(|(secret, ..)| *secret == "AbCdEfG123456") {
        let verified = ring.verify(Some(b"vendor"), Some(signature.as_bytes()), body.as_bytes());
        assert_eq!(verified.map(|verified| const_hex::encode(verified.signature)).as_deref(), Ok(*signature));
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "the table is the claim")]
fn a_header_is_accepted_only_in_full_and_in_hex() {
    let body = fixture("deposit-confirmed-btc").into_bytes();
    let good = signed(SHOP_SECRET, &body);
    let cut = |length: usize| good.get(..length).expect("a signature is longer").to_owned();
    let rows: Vec<(&str, Option<&str>, Option<String>)> = vec![
        ("as documented", Some(SHOP), Some(good.clone())),
        ("upper case", Some(SHOP), Some(good.to_uppercase())),
        ("blanks around", Some("\t shop-key-0001 "), Some(format!("  {good}\t"))),
        ("newline behind", Some(SHOP), Some(format!("{good}\n"))),
        ("key with a newline", Some("shop-key-0001\n"), Some(good.clone())),
        ("no key", None, Some(good.clone())),
        ("empty key", Some(""), Some(good.clone())),
        ("blank key", Some(" \t "), Some(good.clone())),
        ("key in capitals", Some("SHOP-KEY-0001"), Some(good.clone())),
        ("key longer", Some("shop-key-00011"), Some(good.clone())),
        ("key shorter", Some("shop-key-000"), Some(good.clone())),
        ("another merchant's key", Some(CASINO), Some(good.clone())),
        ("unknown key, no signature", Some("nobody"), None),
        ("unknown key, malformed", Some("nobody"), Some("x".to_owned())),
        ("neither", None, None),
        ("no signature", Some(SHOP), None),
        ("empty signature", Some(SHOP), Some(String::new())),
        ("127 characters", Some(SHOP), Some(cut(127))),
        ("129 characters", Some(SHOP), Some(format!("{good}0"))),
        ("126 characters and 0x", Some(SHOP), Some(format!("0x{}", cut(126)))),
        ("0x in front", Some(SHOP), Some(format!("0x{good}"))),
        ("sha512= in front", Some(SHOP), Some(format!("sha512={good}"))),
        ("twice, with a comma", Some(SHOP), Some(format!("{good}, {good}"))),
        ("a blank inside", Some(SHOP), Some(format!("{} {}", cut(64), cut(63)))),
        ("base64", Some(SHOP), Some(BASE64_STANDARD.encode(const_hex::decode(&good).expect("it is hex")))),
        ("other letters", Some(SHOP), Some("g".repeat(128))),
        ("zeros", Some(SHOP), Some("0".repeat(128))),
        ("the other merchant's", Some(SHOP), Some(signed(CASINO_SECRET, &body))),
        ("previous secret", Some(SHOP), Some(signed(SHOP_PREVIOUS, &body))),
        ("of another body", Some(SHOP), Some(signed(SHOP_SECRET, b"{}"))),
    ];
    let mut table = String::new();
    for (name, key, signature) in rows {
        let outcome = outcome(key, signature.as_deref(), &body);
        writeln!(table, "{name:<26} | {outcome}").expect("a String takes everything");
    }
    assert_snapshot!(table, @"
    as documented              | merchant 1, secret 0
    upper case                 | merchant 1, secret 0
    blanks around              | merchant 1, secret 0
    newline behind             | malformed_signature
    key with a newline         | unknown_key
    no key                     | no_key
    empty key                  | no_key
    blank key                  | no_key
    key in capitals            | unknown_key
    key longer                 | unknown_key
    key shorter                | unknown_key
    another merchant's key     | wrong_signature
    unknown key, no signature  | unknown_key
    unknown key, malformed     | unknown_key
    neither                    | no_key
    no signature               | no_signature
    empty signature            | no_signature
    127 characters             | malformed_signature
    129 characters             | malformed_signature
    126 characters and 0x      | malformed_signature
    0x in front                | malformed_signature
    sha512= in front           | malformed_signature
    twice, with a comma        | malformed_signature
    a blank inside             | malformed_signature
    base64                     | malformed_signature
    other letters              | malformed_signature
    zeros                      | wrong_signature
    the other merchant's       | wrong_signature
    previous secret            | merchant 1, secret 1
    of another body            | wrong_signature
    ");
}

#[test]
fn header_values_that_are_not_text_are_refused() {
    let ring = keyring();
    assert_eq!(ring.verify(Some(b"\xff\xfe"), Some(&[b'a'; 128]), b"{}"), Err(Refused::UnknownKey));
    assert_eq!(ring.verify(Some(SHOP.as_bytes()), Some(&[0xff; 128]), b"{}"), Err(Refused::MalformedSignature));
}

#[test]
fn while_rotating_both_secrets_verify_and_afterwards_only_the_new_one() {
    let body = b"{}";
    let rotating = Keyring::try_new([keys(1, SHOP, &["the new secret 2", "the old secret 1"])]).expect("fine");
    let rotated = Keyring::try_new([keys(1, SHOP, &["the new secret 2"])]).expect("fine");
    let index = |ring: &Keyring, secret: &str| {
        let verified = ring.verify(Some(SHOP.as_bytes()), Some(signed(secret, body).as_bytes()), body);
        verified.map(|verified| verified.secret_index)
    };
    assert_eq!(index(&rotating, "the new secret 2"), Ok(0));
    assert_eq!(index(&rotating, "the old secret 1"), Ok(1));
    assert_eq!(index(&rotated, "the new secret 2"), Ok(0));
    assert_eq!(index(&rotated, "the old secret 1"), Err(Refused::WrongSignature));
}

#[test]
fn a_keyring_that_anyone_could_sign_for_is_refused() {
    let fault = |members: Vec<MerchantKeys>| Keyring::try_new(members).map(|_| ()).expect_err("it is refused");
    let merchant = MerchantId(1);
    assert_eq!(fault(vec![keys(1, SHOP, &[])]), KeyringError::NoSecret(merchant));
    assert_eq!(fault(vec![keys(1, SHOP, &[""])]), KeyringError::ShortSecret(merchant));
    assert_eq!(fault(vec![keys(1, SHOP, &["elevenchars"])]), KeyringError::ShortSecret(merchant));
    assert_eq!(fault(vec![keys(1, SHOP, &[SHOP_SECRET, ""])]), KeyringError::ShortSecret(merchant));
    assert_eq!(fault(vec![keys(1, "", &[SHOP_SECRET])]), KeyringError::UnusableKey(merchant));
    assert_eq!(fault(vec![keys(1, " key", &[SHOP_SECRET])]), KeyringError::UnusableKey(merchant));
    let twice = vec![keys(1, SHOP, &[SHOP_SECRET]), keys(2, SHOP, &[CASINO_SECRET])];
    assert_eq!(fault(twice), KeyringError::SharedKey(merchant, MerchantId(2)));
}

#[test]
fn secrets_are_never_printed() {
    let printed = format!("{:?} {:?}", keyring(), keys(1, SHOP, &[SHOP_SECRET]));
    assert!(!printed.contains(SHOP_SECRET) && !printed.contains(SHOP_PREVIOUS), "{printed}");
}

/// Name, key header, signature header and body of each mistake with the body.
fn body_mistakes(body: &str) -> Vec<(&'static str, &'static str, String, Vec<u8>)> {
    let value: serde_json::Value = serde_json::from_str(body).expect("the fixture is JSON");
    let pretty = serde_json::to_string_pretty(&value).expect("it is JSON");
    let right = signed(SHOP_SECRET, body.as_bytes());
    let arrived = |text: String| text.into_bytes();
    let row = |name, body: Vec<u8>| (name, SHOP, right.clone(), body);
    vec![
        row("nothing", arrived(body.to_owned())),
        row("newline added", arrived(format!("{body}\n"))),
        row("CR LF added", arrived(format!("{body}\r\n"))),
        row("blanks added", arrived(format!("  {body} "))),
        row("mark added", arrived(format!("\u{feff}{body}"))),
        ("newline removed", SHOP, signed(SHOP_SECRET, format!("{body}\n").as_bytes()), arrived(body.to_owned())),
        row("slashes and escapes undone", arrived(body.replace("\\/", "/").replace("\\u044e", "ю"))),
        row("slashes undone", arrived(body.replace("\\/", "/"))),
        ("printed prettily", SHOP, signed(SHOP_SECRET, pretty.as_bytes()), arrived(body.to_owned())),
        row("blanks after commas", arrived(body.replace("\":", "\": ").replace(",\"", ", \""))),
        (
            "keys sorted by the signer",
            SHOP,
            signed(SHOP_SECRET, value.to_string().as_bytes()),
            arrived(body.to_owned()),
        ),
        ("empty body signed", SHOP, signed(SHOP_SECRET, b""), arrived(body.to_owned())),
        row("amount changed", arrived(body.replace("0.03100000", "0.93100000"))),
        row("too large", vec![b' '; 65_537]),
    ]
}

/// The same for mistakes with the headers and the secrets.
fn header_mistakes(body: &str) -> Vec<(&'static str, &'static str, String, Vec<u8>)> {
    let bytes = body.as_bytes();
    let right = signed(SHOP_SECRET, bytes);
    let raw = const_hex::decode(&right).expect("it is hex");
    let sha256 = Hmac::<Sha256>::new_from_slice(SHOP_SECRET.as_bytes()).expect("any length");
    let sha256 = const_hex::encode(sha256.chain_update(bytes).finalize().into_bytes());
    let decoded =
        Hmac::<Sha512>::new_from_slice(&const_hex::decode(SHOP_SECRET).expect("it is hex")).expect("any length");
    let decoded = const_hex::encode(decoded.chain_update(bytes).finalize().into_bytes());
    let plain = |text: String| const_hex::encode(Sha512::digest(text));
    let rows = [
        ("no signature", SHOP, String::new()),
        ("no key", "", right.clone()),
        ("not a signature", SHOP, "§".to_owned()),
        ("unknown key", "nobody", signed("nobody's long secret", bytes)),
        ("wrong key, right secret", "nobody", right.clone()),
        ("another merchant's secret", SHOP, signed(CASINO_SECRET, bytes)),
        ("another merchant's key", CASINO, right.clone()),
        ("key and secret swapped", SHOP_SECRET, signed(SHOP, bytes)),
        ("key used as secret", SHOP, signed(SHOP, bytes)),
        ("sha512= in front", SHOP, format!("sha512={right}")),
        ("0x in front", SHOP, format!("0x{right}")),
        ("in quotes", SHOP, format!("\"{right}\"")),
        ("twice in one header", SHOP, format!("{right}, {right}")),
        ("one character too many", SHOP, format!("{right}0")),
        ("base64", SHOP, BASE64_STANDARD.encode(&raw)),
        ("base64url without padding", SHOP, BASE64_URL_SAFE_NO_PAD.encode(&raw)),
        ("base64 of the hex", SHOP, BASE64_STANDARD.encode(&right)),
        ("cut to 64 characters", SHOP, right.chars().take(64).collect()),
        ("cut to 127 characters", SHOP, right.chars().take(127).collect()),
        ("cut to 8 characters", SHOP, right.chars().take(8).collect()),
        ("HMAC-SHA256", SHOP, sha256),
        ("SHA-512 of secret and body", SHOP, plain(format!("{SHOP_SECRET}{body}"))),
        ("SHA-512 of body and secret", SHOP, plain(format!("{body}{SHOP_SECRET}"))),
        ("SHA-512 of the body", SHOP, plain(body.to_owned())),
        ("arguments swapped", SHOP, sign(&SecretString::from(body), SHOP_SECRET.as_bytes())),
        ("secret decoded from hex", SHOP, decoded),
        ("secret with a newline", SHOP, signed(&format!("{SHOP_SECRET}\n"), bytes)),
        ("a secret nobody knows", SHOP, signed("nobody's long secret", bytes)),
    ];
    rows.map(|(name, key, signature)| (name, key, signature, bytes.to_vec())).to_vec()
}

#[test]
fn a_refusal_comes_with_its_likely_cause() {
    let body = fixture("deposit-confirmed-escaped_reference").replace(" \\ud83e\\uddfe", "");
    let ring = keyring();
    let mut table = String::new();
    for (name, key, signature, body) in [body_mistakes(&body), header_mistakes(&body)].concat() {
        let cause = likely_cause(&ring, Some(key.as_bytes()), Some(signature.as_bytes()), &body);
        let verdict = match ring.verify(Some(key.as_bytes()), Some(signature.as_bytes()), &body) {
            Ok(_) => "verified",
            Err(refused) => refused.word(),
        };
        writeln!(table, "{name:<26} | {verdict:<19} | {}", cause.code()).expect("a String takes everything");
    }
    assert_snapshot!(table, @"
    nothing                    | verified            | none
    newline added              | wrong_signature     | newline_added
    CR LF added                | wrong_signature     | newline_added
    blanks added               | wrong_signature     | blanks_added
    mark added                 | wrong_signature     | mark_added
    newline removed            | wrong_signature     | newline_removed
    slashes and escapes undone | wrong_signature     | rewritten
    slashes undone             | wrong_signature     | rewritten
    printed prettily           | wrong_signature     | rewritten
    blanks after commas        | wrong_signature     | rewritten
    keys sorted by the signer  | wrong_signature     | rewritten
    empty body signed          | wrong_signature     | empty_body
    amount changed             | wrong_signature     | unknown
    too large                  | wrong_signature     | body_too_large
    no signature               | no_signature        | no_signature
    no key                     | no_key              | no_key
    not a signature            | malformed_signature | not_a_signature
    unknown key                | unknown_key         | unknown_key
    wrong key, right secret    | unknown_key         | wrong_key
    another merchant's secret  | wrong_signature     | another_merchant
    another merchant's key     | wrong_signature     | another_merchant
    key and secret swapped     | unknown_key         | key_is_secret
    key used as secret         | wrong_signature     | key_as_secret
    sha512= in front           | malformed_signature | wrapped
    0x in front                | malformed_signature | wrapped
    in quotes                  | malformed_signature | wrapped
    twice in one header        | malformed_signature | wrapped
    one character too many     | malformed_signature | wrapped
    base64                     | malformed_signature | base64
    base64url without padding  | malformed_signature | base64
    base64 of the hex          | malformed_signature | base64
    cut to 64 characters       | malformed_signature | truncated
    cut to 127 characters      | malformed_signature | truncated
    cut to 8 characters        | malformed_signature | unknown
    HMAC-SHA256                | malformed_signature | sha256
    SHA-512 of secret and body | wrong_signature     | plain_hash
    SHA-512 of body and secret | wrong_signature     | plain_hash
    SHA-512 of the body        | wrong_signature     | plain_hash
    arguments swapped          | wrong_signature     | swapped_arguments
    secret decoded from hex    | wrong_signature     | decoded_secret
    secret with a newline      | wrong_signature     | secret_with_newline
    a secret nobody knows      | wrong_signature     | unknown
    ");
}

#[test]
fn every_cause_has_a_code_of_its_own_and_one_sentence() {
    let mut codes: Vec<_> = Cause::ALL.iter().map(|cause| cause.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), Cause::ALL.len());
    for cause in Cause::ALL {
        let sentence = cause.sentence();
        assert!(sentence.ends_with('.') && !sentence.contains(". "), "{sentence}");
    }
}

#[test]
fn a_diagnosis_is_bounded_whatever_is_sent() {
    let merchants = (0..1_000).map(|index| keys(index, &format!("key-{index}"), &[SHOP_SECRET, SHOP_PREVIOUS]));
    let ring = Keyring::try_new(merchants).expect("the keys are fine");
    let body = format!("[{}1]", "1,".repeat(32_000));
    assert_eq!(likely_cause(&ring, Some(b"nobody"), Some(&[b'0'; 128]), body.as_bytes()), Cause::UnknownKey);
}
