//! What a merchant's client asks of the processor, as far as our own rows need it. The bytes themselves go on untouched;
//! what can't be read in only one way is named, never guessed.

use super::json::{self, Member, Node};
use crate::domain::amount::Amount;

/// Characters of a reference, as the processor documents them.
const NAME_MAX: usize = 255;
/// Characters of an address or a tag.
const ADDRESS_MAX: usize = 512;
const CURRENCY_MAX: usize = 32;

/// A request's body: one JSON value.
pub struct Asked<'a> {
    members: Vec<Member<'a>>,
}

/// What is wrong with a field, in the processor's own style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub field: &'static str,
    pub message: String,
}

/// The body is not JSON that can be read in only one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJson;

/// Any JSON value is accepted, as the processor does; only objects have fields.
pub fn read(body: &[u8]) -> Result<Asked<'_>, NotJson> {
    match json::read(body) {
        Ok(Node::Object(members)) => Ok(Asked { members }),
        Ok(Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::List(_)) => {
            Ok(Asked { members: Vec::new() })
        }
        Err(_broken) => Err(NotJson),
    }
}

impl Asked<'_> {
    /// A name of something: a string or a whole number. Numbers that could be written in another way name nothing.
    pub fn name(&self, field: &'static str) -> Result<Option<String>, Wrong> {
        match self.get(field) {
            Some(Node::Number(token)) if !token.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(Wrong::new(field, "must be a string"))
            }
            _ => self.text(field, NAME_MAX),
        }
    }

    pub fn address(&self, field: &'static str) -> Result<Option<String>, Wrong> {
        self.text(field, ADDRESS_MAX)
    }

    pub fn currency(&self, field: &'static str) -> Result<Option<String>, Wrong> {
        let is_code = |text: &String| text.bytes().all(|byte| byte.is_ascii_graphic());
        match self.text(field, CURRENCY_MAX)? {
            Some(text) if !is_code(&text) => Err(Wrong::new(field, "is invalid")),
            other => Ok(other),
        }
    }

    /// Exact, or wrong: no exponents, no more than 18 decimals.
    pub fn amount(&self, field: &'static str) -> Result<Option<Amount>, Wrong> {
        let amount = match self.text(field, NAME_MAX)? {
            Some(token) => Some(Amount::parse(&token).map_err(|error| Wrong::new(field, &format!("is {error}")))?),
            None => None,
        };
        match amount {
            Some(amount) if !amount.is_positive() => Err(Wrong::new(field, "must be greater than 0")),
            other => Ok(other),
        }
    }

    fn get(&self, field: &str) -> Option<&Node<'_>> {
        self.members.iter().find(|(key, _)| key == field).map(|(_, node)| node)
    }

    /// A string or a number's token; an empty one is none.
    fn text(&self, field: &'static str, characters_max: usize) -> Result<Option<String>, Wrong> {
        let text: &str = match self.get(field) {
            None | Some(Node::Null) => return Ok(None),
            Some(Node::Text(text)) => text,
            Some(Node::Number(token)) => token,
            Some(Node::Bool(_) | Node::List(_) | Node::Object(_)) => {
                return Err(Wrong::new(field, "must be a string"));
            }
        };
        if text.contains('\0') {
            return Err(Wrong::new(field, "is invalid"));
        }
        if text.chars().count() > characters_max {
            return Err(Wrong::new(field, &format!("may not be greater than {characters_max} characters")));
        }
        Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
    }
}

impl Wrong {
    pub fn missing(field: &'static str) -> Self {
        Self { field, message: format!("The {} field is required.", spoken(field)) }
    }

    pub fn plain(field: &'static str, message: &str) -> Self {
        Self { field, message: message.to_owned() }
    }

    pub fn new(field: &'static str, is: &str) -> Self {
        Self { field, message: format!("The {} {is}.", spoken(field)) }
    }
}

/// `foreign_id` as the processor's messages call it.
fn spoken(field: &str) -> String {
    field.replace('_', " ")
}
