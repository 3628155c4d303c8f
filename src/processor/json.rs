//! A strict reader of JSON that keeps every number as its token. Duplicate keys, lone surrogates and deep nesting are
//! refused wherever they stand. It never makes a float, never allocates for plain text, and knows no field's meaning.
//!
//! Why not `serde_json`: it reads a number as a float (and refuses the whole body when a number is too long for one),
//! and its `RawValue`, which keeps the token, looks neither for duplicate keys nor for lone surrogates. What is accepted
//! here is what `serde_json` accepts, less duplicate keys: a property test compares the two.

use std::borrow::Cow;

/// Objects and lists may stand in each other this deep, as in `serde_json`.
const DEPTH_MAX: u8 = 127;
/// Objects up to this size are searched for duplicate keys pair by pair; larger ones are sorted first.
const PAIRWISE_MAX: usize = 16;

/// One JSON value. Text is borrowed unless it has escapes.
#[derive(Debug, Clone)]
pub enum Node<'a> {
    Null,
    Bool(bool),
    /// The token, exactly as it stands in the body.
    Number(&'a str),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    /// In the order of the body; no key comes twice.
    Object(Vec<Member<'a>>),
}

pub type Member<'a> = (Cow<'a, str>, Node<'a>);

/// Why the bytes are not one JSON value that can be read in only one way. Says nothing of the body's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// The byte where reading stopped.
    pub at: usize,
    pub what: &'static str,
}

/// Reads one JSON value and nothing after it.
pub fn read(body: &[u8]) -> Result<Node<'_>, Broken> {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => return Err(Broken { at: error.valid_up_to(), what: "not UTF-8" }),
    };
    let mut reader = Reader { text, at: 0 };
    reader.skip_blanks();
    let node = reader.value(DEPTH_MAX)?;
    reader.skip_blanks();
    if reader.peek().is_some() {
        return Err(reader.broken("more after the end"));
    }
    Ok(node)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    /// Steps over `wanted`, if it is next.
    fn eat(&mut self, wanted: u8) -> bool {
        let is_next = self.peek() == Some(wanted);
        if is_next {
            self.step();
        }
        is_next
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.step();
        }
    }

    fn broken(&self, what: &'static str) -> Broken {
        Broken { at: self.at, what }
    }

    fn cut(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).expect("text is only ever cut before or after an ASCII character")
    }

    fn value(&mut self, depth: u8) -> Result<Node<'a>, Broken> {
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Ok(Node::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Node::Bool(true)),
            Some(b'f') => self.word("false", Node::Bool(false)),
            Some(b'n') => self.word("null", Node::Null),
            Some(_) => Err(self.broken("no value")),
            None => Err(self.broken("ends too early")),
        }
    }

    fn word(&mut self, word: &str, node: Node<'a>) -> Result<Node<'a>, Broken> {
        let end = self.at.saturating_add(word.len());
        if self.text.as_bytes().get(self.at..end) != Some(word.as_bytes()) {
            return Err(self.broken("no value"));
        }
        self.at = end;
        Ok(node)
    }

    fn object(&mut self, depth: u8) -> Result<Node<'a>, Broken> {
        let depth = depth.checked_sub(1).ok_or_else(|| self.broken("nested too deep"))?;
        let start = self.at;
        self.step();
        self.skip_blanks();
        if self.eat(b'}') {
            return Ok(Node::Object(Vec::new()));
        }
        let mut members = Vec::with_capacity(8);
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.broken("no key"));
            }
            let key = self.string()?;
            self.skip_blanks();
            if !self.eat(b':') {
                return Err(self.broken("no colon after a key"));
            }
            self.skip_blanks();
            members.push((key, self.value(depth)?));
            self.skip_blanks();
            if self.eat(b'}') {
                break;
            }
            if !self.eat(b',') {
                return Err(self.broken("an object that does not end"));
            }
            self.skip_blanks();
        }
        if has_twins(&members) {
            return Err(Broken { at: start, what: "an object with the same key twice" });
        }
        Ok(Node::Object(members))
    }

    fn list(&mut self, depth: u8) -> Result<Node<'a>, Broken> {
        let depth = depth.checked_sub(1).ok_or_else(|| self.broken("nested too deep"))?;
        self.step();
        self.skip_blanks();
        let mut items = Vec::new();
        if self.eat(b']') {
            return Ok(Node::List(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_blanks();
            if self.eat(b']') {
                return Ok(Node::List(items));
            }
            if !self.eat(b',') {
                return Err(self.broken("a list that does not end"));
            }
            self.skip_blanks();
        }
    }

    fn number(&mut self) -> Result<Node<'a>, Broken> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        Ok(Node::Number(self.cut(start, self.at)))
    }

    fn digits(&mut self) -> Result<(), Broken> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.step();
        }
        if self.at == start { Err(self.broken("a number without digits")) } else { Ok(()) }
    }

    /// Reads a string from its opening quote on.
    fn string(&mut self) -> Result<Cow<'a, str>, Broken> {
        self.step();
        let plain = self.plain();
        if self.eat(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.step();
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => {
                    self.step();
                    text.push(self.escaped()?);
                }
                Some(_) => return Err(self.broken("a control character in a string")),
                None => return Err(self.broken("a string that does not end")),
            }
            text.push_str(self.plain());
        }
    }

    /// The run of characters up to a quote, a backslash or a control character.
    fn plain(&mut self) -> &'a str {
        let start = self.at;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
        let length = rest.iter().position(is_special).unwrap_or(rest.len());
        self.at = start.saturating_add(length);
        self.cut(start, self.at)
    }

    fn escaped(&mut self) -> Result<char, Broken> {
        let letter = self.peek();
        let character = match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            Some(_) | None => return Err(self.broken("an unknown escape")),
        };
        self.step();
        Ok(character)
    }

    /// Reads `uXXXX`, and the second half of a surrogate pair behind it.
    fn unicode(&mut self) -> Result<char, Broken> {
        self.step();
        let first = self.four_digits()?;
        let is_pair = (0xd800..0xdc00).contains(&first) && self.eat(b'\\') && self.eat(b'u');
        let second = if is_pair { Some(self.four_digits()?) } else { None };
        let mut units = char::decode_utf16([first].into_iter().chain(second));
        match (units.next(), units.next()) {
            (Some(Ok(character)), None) => Ok(character),
            (Some(Ok(_) | Err(_)) | None, _) => Err(self.broken("half a surrogate pair")),
        }
    }

    fn four_digits(&mut self) -> Result<u16, Broken> {
        let end = self.at.saturating_add(4);
        let digits = self.text.get(self.at..end).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.broken("an unknown escape"))?;
        self.at = end;
        Ok(unit)
    }
}

fn has_twins(members: &[Member<'_>]) -> bool {
    if members.len() <= PAIRWISE_MAX {
        let mut rest = members.iter();
        return std::iter::from_fn(|| rest.next().map(|(key, _)| (key, rest.as_slice())))
            .any(|(key, later)| later.iter().any(|(other, _)| other == key));
    }
    let mut keys: Vec<&str> = members.iter().map(|(key, _)| &**key).collect();
    keys.sort_unstable();
    keys.iter().zip(keys.iter().skip(1)).any(|(key, next)| key == next)
}
