//! Claims about arbitrary bytes: reading is total, repeatable, and accepts the JSON that `serde_json` accepts, less
//! duplicate keys. Nothing is read from outside, so a failure repeats from its seed.

use std::collections::HashSet;
use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use tallyhook::domain::reason::Reason;
use tallyhook::processor::wire::read;

use crate::wire::fixtures;

/// Any JSON without duplicate keys, judged by `serde_json`.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
        while items.next_element::<Strict>()?.is_some() {}
        Ok(Strict)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Strict, A::Error> {
        let mut keys = HashSet::new();
        while let Some((key, _)) = members.next_entry::<String, Strict>()? {
            if !keys.insert(key) {
                return Err(A::Error::custom("twice"));
            }
        }
        Ok(Strict)
    }
}

/// What ours says of a body as JSON: the details of broken JSON name a byte, all others a field.
fn is_json(body: &[u8]) -> bool {
    read(body).terms.err().is_none_or(|unclear| !unclear.detail.starts_with("byte "))
}

fn assert_agreement(body: &[u8]) -> Result<(), TestCaseError> {
    let theirs = serde_json::from_slice::<Strict>(body).map_err(|error| error.to_string());
    // The one wanted difference besides: theirs must fit a float, ours keeps the token.
    if !theirs.as_ref().is_err_and(|error| error.starts_with("number out of range")) {
        prop_assert_eq!(is_json(body), theirs.is_ok(), "{} {:?}", String::from_utf8_lossy(body), theirs.err());
    }
    Ok(())
}

/// Pieces of JSON that meet in all ways, right and wrong.
fn any_pieces() -> impl Strategy<Value = String> {
    let pieces = vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"\\u0061\"",
        "\"b\"",
        "1",
        "-",
        "0",
        ".5",
        "e",
        "E+",
        "null",
        "true",
        "false",
        "\"",
        "\\",
        "\\u",
        "d83e",
        "\\ud83e",
        "\\udde0",
        " ",
        "\n",
        "é",
        "\u{0}",
        "{\"a\":1}",
        "[1,2]",
        "{\"a\":",
        "nul",
    ];
    vec(proptest::sample::select(pieces), 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_of_json_are_judged_as_serde_json_judges_them(pieces in any_pieces()) {
        assert_agreement(pieces.as_bytes())?;
        assert_agreement(format!("{{\"type\":{pieces}}}").as_bytes())?;
    }

    #[test]
    fn arbitrary_bytes_are_held_as_unreadable_and_never_panic(body in vec(any::<u8>(), 0..200)) {
        let callback = read(&body);
        prop_assert_eq!(callback.terms.map_err(|unclear| unclear.reason), Err(Reason::Unreadable));
        assert_agreement(&body)?;
    }
}

#[test]
fn fixtures_with_a_few_bytes_changed_never_panic_and_are_read_the_same_way_twice() {
    let fixtures = fixtures();
    let config = ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() };
    let edits = vec((any::<Index>(), any::<u8>(), 0_u8..4), 1..4);
    let outcome = proptest::test_runner::TestRunner::new(config).run(&(any::<Index>(), edits), |(which, edits)| {
        let (_, mut body) = which.get(&fixtures).clone();
        for (at, byte, kind) in edits {
            let at = at.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                2 => drop(body.remove(at)),
                // Printable ones break the syntax less often, so that more fields are read wrongly.
                _ => body[at] = b"0123456789.eE-\"\\"[usize::from(byte % 16)],
            }
        }
        prop_assert_eq!(read(&body), read(&body));
        assert_agreement(&body)
    });
    outcome.expect("every body is read");
}
