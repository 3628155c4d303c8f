//! The simulator's bodies are encoded as PHP does it, byte for byte.

use proptest::prelude::*;
use tallyhook::domain::amount::Amount;
use tallyhook::processor::sandbox::php::{Value, decode, encode};

/// Anything that PHP can hold and print: no empty object, which it can't tell from a list.
fn values() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        "[\\x00-\\x7f]{0,12}",
        "[/\"\\\\\u{7f}\u{80}\u{7ff}\u{ffff}\u{10000}\u{10ffff}]{0,8}"
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::int),
        text.prop_map(Value::Text),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let members = prop::collection::btree_map(any::<String>(), inner.clone(), 1..6);
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(Value::List),
            members.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_read_back_and_encoded_to_the_same_bytes(value in values()) {
        let bytes = encode(&value);
        prop_assert!(bytes.is_ascii() && !bytes.contains('\n'), "{bytes}");
        let read = decode(bytes.as_bytes());
        prop_assert_eq!(read.as_ref(), Some(&value));
        prop_assert_eq!(read.map(|read| encode(&read)), Some(bytes.clone()));
        let other: serde_json::Value = serde_json::from_str(&bytes).expect("JSON for everyone");
        let plain = serde_json::to_vec(&other).expect("JSON");
        let sorted = |value: &[u8]| serde_json::from_slice::<serde_json::Value>(value).expect("JSON");
        prop_assert_eq!(sorted(bytes.as_bytes()), sorted(&plain));
    }
}

/// What PHP 8.2 prints for these strings.
#[test]
fn strings_are_printed_as_php_prints_them() {
    let rows = [
        ("plain", r#""plain""#),
        ("</script>", r#""<\/script>""#),
        ("quote\"back\\slash", r#""quote\"back\\slash""#),
        ("\u{8}\u{c}\n\r\t", r#""\b\f\n\r\t""#),
        ("\0\u{1}\u{1f}", r#""\u0000\u0001\u001f""#),
        ("\u{7f}", "\"\u{7f}\""),
        ("\u{80}", r#""\u0080""#),
        ("ю/1", r#""\u044e\/1""#),
        ("\u{2028}\u{2029}", r#""\u2028\u2029""#),
        ("\u{ffff}", r#""\uffff""#),
        ("😀\u{10ffff}", r#""\ud83d\ude00\udbff\udfff""#),
        ("'&<>", r#""'&<>""#),
        ("", r#""""#),
    ];
    for (text, printed) in rows {
        assert_eq!(encode(&Value::text(text)), printed);
    }
}

/// A number is only written as one where PHP's float would print the same digits.
#[test]
fn floats_are_printed_as_php_prints_them_or_not_at_all() {
    let rows = [
        ("0.1", Some("0.1")),
        ("381.00000000", Some("381")),
        ("0.10882300", Some("0.108823")),
        ("0.0001", Some("0.0001")),
        ("0.00001", None),
        ("12345.67890123", Some("12345.67890123")),
        ("123456789012345", Some("123456789012345")),
        ("12345678.123456789", None),
        ("0", Some("0")),
    ];
    for (amount, printed) in rows {
        let value = Value::float(Amount::parse(amount).expect("an amount"));
        assert_eq!(value.map(|value| encode(&value)).as_deref(), printed, "{amount}");
    }
    let nothing = Value::Object(Vec::new());
    assert_eq!(encode(&Value::List(vec![nothing, Value::List(Vec::new())])), "[[],[]]", "PHP knows no empty object");
}
