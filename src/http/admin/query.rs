//! What callers may ask for: parameters checked once, at the edge, with a sentence that says what is allowed. The
//! command line asks in the same words.

use std::collections::BTreeMap;

use actix_web::web;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::ids::MerchantId;
use crate::http::error::ApiError;
use crate::store::booking::State;
use crate::store::callbacks::Filter;
use crate::store::events::MerchantNames;

/// Rows of a page, unless asked otherwise.
pub const LIMIT_DEFAULT: u64 = 100;
pub const LIMIT_MAX: u64 = 1_000;
/// Characters of a reason or a note.
const TEXT_MAX: usize = 2_000;

/// The parameters of a query, each at most once and none unknown. An empty one is as good as none.
pub struct Params(BTreeMap<String, String>);

impl Params {
    pub fn parse(query: &str, allowed: &[&str]) -> Result<Self, ApiError> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(query);
        let pairs = pairs.map_err(|_broken| ApiError::Invalid("the query can't be read: is it URL-encoded?".into()))?;
        let mut params = BTreeMap::new();
        for (name, value) in pairs.into_inner() {
            if !allowed.contains(&name.as_str()) {
                let allowed = allowed.join(", ");
                return Err(ApiError::Invalid(format!("there is no parameter `{name}`; there are {allowed}")));
            }
            if value.contains('\0') {
                return Err(ApiError::Invalid(format!("`{name}` has a NUL, which nothing that is stored has")));
            }
            if params.contains_key(&name) {
                return Err(ApiError::Invalid(format!("`{name}` is given twice")));
            }
            params.insert(name, value);
        }
        params.retain(|_, value| !value.is_empty());
        Ok(Self(params))
    }

    /// What the command line was given.
    pub fn of<const N: usize>(given: [(&str, Option<String>); N]) -> Self {
        let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Self(given.filter(|(_, value)| !value.is_empty()).collect())
    }

    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    pub fn is_given(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// `limit`
    pub fn limit(&mut self) -> Result<u64, ApiError> {
        self.number("limit", 1, LIMIT_MAX, LIMIT_DEFAULT)
    }

    /// A whole number between two bounds.
    pub fn number(&mut self, name: &str, min: u64, max: u64, default: u64) -> Result<u64, ApiError> {
        let Some(text) = self.take(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| ApiError::Invalid(format!("`{name}` must be a whole number from {min} to {max}")))
    }

    /// A position in a list, as an earlier answer gave it.
    pub fn position(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        self.take(name).map(|text| position(name, &text)).transpose()
    }
}

/// A position in a list, as an earlier answer gave it.
pub fn position(name: &str, text: &str) -> Result<i64, ApiError> {
    let position = text.parse().ok().filter(|position| *position >= 0);
    position.ok_or_else(|| ApiError::Invalid(format!("`{name}` must be a number that an earlier answer gave")))
}

/// A filter as it is asked for.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default)]
pub struct Words {
    pub merchant: Option<String>,
    pub state: Option<String>,
    pub r#type: Option<String>,
    pub status: Option<String>,
    pub foreign_id: Option<String>,
    pub q: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
}

impl Words {
    /// Whether nothing is asked for, which means everything.
    pub fn is_empty(&self) -> bool {
        let Self { merchant, state, r#type, status, foreign_id, q, since, until } = self;
        [merchant, state, r#type, status, foreign_id, q, since, until].iter().all(|word| word.is_none())
    }

    /// The filter they mean, or what is wrong with them.
    pub fn filter(self, names: &MerchantNames, now_us: i64) -> Result<Filter, String> {
        let texts = [&self.r#type, &self.status, &self.foreign_id, &self.q];
        if texts.into_iter().flatten().any(|text| text.contains('\0')) {
            return Err("a filter can't have a NUL, which nothing that is stored has".to_owned());
        }
        Ok(Filter {
            merchant: self.merchant.map(|name| merchant(&name, names)).transpose()?,
            state: self.state.map(|word| state(&word)).transpose()?,
            kind: self.r#type,
            status: self.status,
            foreign_id: self.foreign_id,
            q: self.q,
            since_us: self.since.map(|text| since(&text, now_us)).transpose()?,
            until_us: self.until.map(|text| moment("until", &text, now_us)).transpose()?,
        })
    }
}

/// The merchant of a name.
pub fn merchant(name: &str, names: &MerchantNames) -> Result<MerchantId, String> {
    let known = names.0.iter().find(|(_, known)| *known == name);
    known.map(|(id, _)| MerchantId(*id)).ok_or_else(|| format!("there is no merchant `{name}`"))
}

fn state(word: &str) -> Result<State, String> {
    State::ALL.into_iter().find(|state| state.word() == word).ok_or_else(|| {
        let words: Vec<_> = State::ALL.iter().map(|state| state.word()).collect();
        format!("`state` must be one of {}, not `{word}`", words.join(", "))
    })
}

/// A moment in RFC 3339, or how long ago: `90s`, `30m`, `2h`, `7d`.
pub fn since(text: &str, now_us: i64) -> Result<i64, String> {
    moment("since", text, now_us)
}

/// The same for any parameter.
pub fn moment(name: &str, text: &str, now_us: i64) -> Result<i64, String> {
    if let Some(ago_us) = duration_us(text) {
        return Ok(now_us.saturating_sub(ago_us));
    }
    // In a query, the plus of an offset that nobody encoded reads as a blank.
    let at = OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339);
    let at = at.map_err(|_unreadable| {
        format!("`{name}` must be a time such as 2026-11-20T12:00:00Z, or how long ago, such as 2h or 7d, not `{text}`")
    })?;
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000)).map_err(|error| error.to_string())
}

/// What somebody says about what they do: it is kept, so it must be there.
pub fn text(name: &str, text: String) -> Result<String, String> {
    let is_fine = !text.trim().is_empty() && text.chars().count() <= TEXT_MAX && !text.contains('\0');
    is_fine.then_some(text).ok_or_else(|| format!("`{name}` must say something, in at most {TEXT_MAX} characters"))
}

fn duration_us(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds: i64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let number: i64 = number.parse().ok().filter(|number| *number >= 0)?;
    number.checked_mul(seconds)?.checked_mul(1_000_000)
}
