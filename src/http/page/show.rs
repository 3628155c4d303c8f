//! How values look on a page: small types that templates write as they are. Only [`Raw`] and what is made of it is not
//! escaped, and nothing that came from outside gets into one unescaped.

use std::fmt::{self, Display, Formatter};

use askama::filters::HtmlSafe;

use crate::app::App;
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

/// How customers are named on pages: in full, or only with the ends of their references.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    pub is_short: bool,
}

impl Names {
    pub const fn of(app: &App) -> Self {
        Self { is_short: app.settings.page.hides_references }
    }

    /// `player-7002` as `pl…02`; of a shorter one less is shown, and of a very short one nothing.
    pub fn show(self, reference: String) -> String {
        if !self.is_short {
            return reference;
        }
        let letters: Vec<char> = reference.chars().collect();
        let ends = match letters.len() {
            0..=3 => 0,
            4..=7 => 1,
            _ => 2,
        };
        let (first, last) = (letters.iter().take(ends), letters.iter().skip(letters.len().saturating_sub(ends)));
        first.chain(&['…']).chain(last).collect()
    }

    pub fn dash(self, reference: Option<String>) -> Dash {
        Dash(reference.map(|reference| self.show(reference)))
    }

    /// A text of ours, such as the audit log's, with references in the JSON within it.
    pub fn within(self, text: String) -> String {
        if !self.is_short {
            return text;
        }
        ["\"end_user_reference\":\"", "\"foreign_id\":\""].into_iter().fold(text, |text, key| {
            let mut parts = text.split(key);
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |out, part| {
                let mut is_escaped = false;
                let end = part.find(|letter| {
                    let is_end = letter == '"' && !is_escaped;
                    is_escaped = letter == '\\' && !is_escaped;
                    is_end
                });
                let (value, rest) = part.split_at_checked(end.unwrap_or(part.len())).unwrap_or((part, ""));
                format!("{out}{key}{}{rest}", self.show(value.to_owned()))
            })
        })
    }

    /// `available of ada`
    pub fn account(self, kind: &str, customer: Option<&str>) -> String {
        customer.map_or_else(|| kind.to_owned(), |customer| format!("{kind} of {}", self.show(customer.to_owned())))
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
