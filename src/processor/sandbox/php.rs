//! JSON as PHP's `json_encode` prints it without flags: what the processor signs. Compact, slashes escaped, everything
//! beyond ASCII as `\uXXXX` in lower-case hex, keys in the order they were set. Pure. It never makes a float: a number is
//! its token.

use super::super::json::{self, Node};
use crate::domain::amount::Amount;

/// What PHP would hold in an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    Bool(bool),
    /// The token as it is printed.
    Number(String),
    Text(String),
    List(Vec<Value>),
    /// In the order of printing. PHP can't tell an empty one from an empty list, and prints `[]`.
    Object(Vec<(String, Value)>),
}

impl Value {
    pub fn int(number: i64) -> Self {
        Self::Number(number.to_string())
    }

    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// A string, or null.
    pub fn maybe(text: Option<&str>) -> Self {
        text.map_or(Self::Null, Self::text)
    }

    /// An amount as PHP prints the float that is nearest to it, where that is the amount itself: at most 15 digits, and
    /// not so small that PHP would write an exponent.
    pub fn float(amount: Amount) -> Option<Self> {
        let token = amount.to_string();
        let digits = token.trim_start_matches(['0', '.', '-']).bytes().filter(u8::is_ascii_digit).count();
        let is_tiny = amount.units().unsigned_abs() < 100_000_000_000_000;
        (digits <= 15 && (amount.is_zero() || !is_tiny)).then_some(Self::Number(token))
    }

    pub fn get(&self, name: &str) -> Option<&Self> {
        self.members()?.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        match self {
            Self::Object(members) => members.iter_mut().find(|(key, _)| key == name).map(|(_, value)| value),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    fn members(&self) -> Option<&[(String, Self)]> {
        match self {
            Self::Object(members) => Some(members),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// A string, or a number's token: the processor takes either where it wants a word or an amount.
    pub fn scalar(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::List(_) | Self::Object(_) => None,
        }
    }
}

/// An object from its members.
pub(super) fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// The bytes that are signed.
///
/// ```
/// use tallyhook::processor::sandbox::php::{Value, encode};
/// let body = Value::Object(vec![("foreign_id".to_owned(), Value::text("ю/1"))]);
/// assert_eq!(encode(&body), r#"{"foreign_id":"\u044e\/1"}"#);
/// ```
pub fn encode(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// Reads any JSON. `None` for what is none, or has a key twice.
pub fn decode(bytes: &[u8]) -> Option<Value> {
    json::read(bytes).ok().map(owned)
}

fn owned(node: Node<'_>) -> Value {
    match node {
        Node::Null => Value::Null,
        Node::Bool(is) => Value::Bool(is),
        Node::Number(token) => Value::Number(token.to_owned()),
        Node::Text(text) => Value::Text(text.into_owned()),
        Node::List(items) => Value::List(items.into_iter().map(owned).collect()),
        Node::Object(members) => {
            Value::Object(members.into_iter().map(|(key, node)| (key.into_owned(), owned(node))).collect())
        }
    }
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(token) => out.push_str(token),
        Value::Text(text) => quote(text, out),
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                write(item, out);
            }
            out.push_str(if items.is_empty() { "[]" } else { "]" });
        }
        Value::Object(members) => {
            for (index, (key, value)) in members.iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                quote(key, out);
                out.push(':');
                write(value, out);
            }
            out.push_str(if members.is_empty() { "[]" } else { "}" });
        }
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '/' => out.push_str("\\/"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='\u{7f}' => out.push(char),
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    out.push_str("\\u");
                    out.push_str(&const_hex::encode(unit.to_be_bytes()));
                }
            }
        }
    }
    out.push('"');
}
