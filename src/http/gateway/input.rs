//! Reads the body of a request, field by field, and says everything that is wrong with it at once, in the documented
//! words. Amounts are read from their tokens.

use crate::domain::amount::{Amount, AmountError};
use crate::processor::json::{self, Member, Node};

use super::envelope::GatewayError;

/// The fields of a body, and what is wrong with those that were looked at.
pub(super) struct Input<'a> {
    members: Vec<Member<'a>>,
    faults: Vec<String>,
}

impl<'a> Input<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, GatewayError> {
        match json::read(body) {
            Ok(Node::Object(members)) => Ok(Self { members, faults: Vec::new() }),
            Ok(_) => Err(fault("body: Input should be a valid dictionary")),
            Err(broken) => Err(fault(&format!("body: JSON decode error at byte {}: {}", broken.at, broken.what))),
        }
    }

    /// Ends the reading: everything that is wrong, or nothing.
    pub(super) fn finish(self) -> Result<(), GatewayError> {
        if self.faults.is_empty() { Ok(()) } else { Err(GatewayError::Invalid(self.faults)) }
    }

    /// A text that must be there. What is at fault reads as empty: nobody will see it.
    pub(super) fn text(&mut self, name: &str, least: usize, most: usize) -> String {
        let text = self.optional_text(name, least, most);
        if text.is_none() && !self.has(name) {
            self.add(name, "Field required");
        }
        text.unwrap_or_default()
    }

    /// A text that may be left out, or be null.
    pub(super) fn optional_text(&mut self, name: &str, least: usize, most: usize) -> Option<String> {
        let text = match self.find(name)? {
            Node::Text(text) => text.clone().into_owned(),
            Node::Null => return None,
            Node::Bool(_) | Node::Number(_) | Node::List(_) | Node::Object(_) => {
                self.add(name, "Input should be a valid string");
                return None;
            }
        };
        let length = text.chars().count();
        let plural = |number: usize| if number == 1 { "character" } else { "characters" };
        if length < least {
            self.add(name, &format!("String should have at least {least} {}", plural(least)));
        } else if length > most {
            self.add(name, &format!("String should have at most {most} {}", plural(most)));
        } else if text.contains('\0') {
            self.add(name, "String should not have a NUL");
        }
        Some(text)
    }

    /// An amount above zero, as a number or as a text.
    pub(super) fn amount(&mut self, name: &str) -> Amount {
        let token = match self.find(name) {
            Some(Node::Text(text)) => text.clone().into_owned(),
            Some(Node::Number(token)) => (*token).to_owned(),
            None | Some(Node::Null) => {
                self.add(name, "Field required");
                return Amount::ZERO;
            }
            Some(Node::Bool(_) | Node::List(_) | Node::Object(_)) => String::new(),
        };
        match Amount::parse(&token) {
            Ok(amount) if amount.is_positive() => return amount,
            Ok(_) => self.add(name, "Input should be greater than 0"),
            Err(AmountError::TooPrecise) => self.add(name, "Decimal input should have no more than 18 decimal places"),
            Err(AmountError::TooLarge) => self.add(name, "Input should be less than 100000000000000000000"),
            Err(AmountError::Malformed) => self.add(name, "Input should be a valid decimal"),
        }
        Amount::ZERO
    }

    /// Yes or no; no when it is left out.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        match self.find(name) {
            Some(Node::Bool(flag)) => return *flag,
            None | Some(Node::Null) => {}
            Some(Node::Text(_) | Node::Number(_) | Node::List(_) | Node::Object(_)) => {
                self.add(name, "Input should be a valid boolean");
            }
        }
        false
    }

    pub(super) fn add(&mut self, name: &str, what: &str) {
        self.faults.push(format!("{name}: {what}"));
    }

    /// Whether the field is there and not null.
    fn has(&self, name: &str) -> bool {
        self.find(name).is_some_and(|node| !matches!(node, Node::Null))
    }

    fn find(&self, name: &str) -> Option<&Node<'a>> {
        self.members.iter().find(|(key, _)| key == name).map(|(_, node)| node)
    }
}

pub(super) fn fault(what: &str) -> GatewayError {
    GatewayError::Invalid(vec![what.to_owned()])
}

/// The number in a path.
pub(super) fn number(name: &str, text: &str) -> Result<i64, GatewayError> {
    let unreadable =
        |_| fault(&format!("{name}: Input should be a valid integer, unable to parse string as an integer"));
    text.parse().map_err(unreadable)
}
