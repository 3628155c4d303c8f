//! The simulator's bodies are encoded as PHP does it, byte for byte.

use proptest::prelude::*;
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
