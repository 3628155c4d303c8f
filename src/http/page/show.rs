//! How values look on a page: small types that templates write as they are. Only [`Raw`] and what is made of it is not
//! escaped, and nothing that came from outside gets into one unescaped.

use std::fmt::{self, Display, Formatter};

use askama::filters::HtmlSafe;

use crate::domain::event::rfc3339;

/// HTML that we wrote ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw(pub String);

impl Display for Raw {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl HtmlSafe for Raw {}

/// A moment in UTC, in microseconds since 1970: to the second, the rest when pointed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When(pub i64);

impl Display for When {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let exact = rfc3339(self.0);
        let short: String = exact.chars().take(19).map(|letter| if letter == 'T' { ' ' } else { letter }).collect();
        write!(out, "<time datetime=\"{exact}\" title=\"{exact}\">{short}</time>")
    }
}

impl HtmlSafe for When {}

/// A state in one of our own words, never in one from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Badge(pub &'static str);

impl Display for Badge {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "<span class=\"badge badge-{0}\">{1}</span>", self.0, words(self.0))
    }
}

impl HtmlSafe for Badge {}

/// A text that may be absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dash(pub Option<String>);

impl Display for Dash {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(self.0.as_deref().unwrap_or("–"))
    }
}

/// `unknown_customer` as `unknown customer`.
pub fn words(word: &str) -> String {
    word.replace('_', " ")
}

/// How long: `4 s`, `12 min`, `3 h 20 min`, `5 d`.
pub fn duration(us: i64) -> String {
    let seconds = us.max(0).div_euclid(1_000_000);
    let (minutes, hours, days) = (seconds.div_euclid(60), seconds.div_euclid(3_600), seconds.div_euclid(86_400));
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", minutes.rem_euclid(60)),
        (_, _, _) => format!("{days} d {} h", hours.rem_euclid(24)),
    }
}
