//! Patterns of routing keys, as a topic exchange reads them: words between dots, `*` for one word, `#` for any number.

/// A pattern such as `*.credited.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<String>);

impl Pattern {
    pub fn new(pattern: &str) -> Self {
        Self(pattern.split('.').map(str::to_owned).collect())
    }

    /// Whether a queue that is bound with this pattern takes messages with `key`.
    pub fn matches(&self, key: &str) -> bool {
        match_words(&self.0, Some(key))
    }
}

/// `rest` is what is left of the key; `None` when all its words are used up.
fn match_words(pattern: &[String], rest: Option<&str>) -> bool {
    let Some((word, patterns)) = pattern.split_first() else { return rest.is_none() };
    let next = rest.map(|rest| rest.split_once('.').map_or((rest, None), |(head, tail)| (head, Some(tail))));
    match (word.as_str(), next) {
        ("#", None) => match_words(patterns, None),
        ("#", Some((_, tail))) => match_words(patterns, rest) || match_words(pattern, tail),
        (_, None) => false,
        (word, Some((head, tail))) => (word == "*" || word == head) && match_words(patterns, tail),
    }
}
