//! The processor's API as a merchant's client sees it: who asks, what is wrong with it, which endpoint answers. Checks run
//! in the order in which the real one is believed to: path, key, signature, content, fields.

use super::php::{self, Value, object};
use super::world::{MINUTE_US, World};
use crate::domain::amount::Amount;
use crate::processor::signature::Refused;

/// One request, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    pub key: Option<&'a [u8]>,
    pub signature: Option<&'a [u8]>,
    pub has_content_type: bool,
    pub body: &'a [u8],
}

/// What is answered, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: String,
    pub wait: Wait,
}

/// What has to happen before an answer goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    No,
    /// Milliseconds of real time.
    Ms(u64),
    /// A first attempt to deliver this callback.
    Tried(usize),
    /// Nothing ever: the caller has to give up.
    Never,
}

/// Where the API starts.
pub const BASE: &str = "/api/v2";
const CALCULATIONS_A_MINUTE: usize = 30;

type Endpoint = fn(&mut World, i64, &Call<'_>) -> Answered;
/// A refusal is an answer, too.
pub(super) type Answered = Result<Answer, Answer>;

/// A request that was let in.
pub(super) struct Call<'a> {
    pub merchant: usize,
    pub form: &'a Value,
    /// A name in the path.
    pub name: &'a str,
}

impl Answer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self { status, content_type: "application/json", body: php::encode(body), wait: Wait::No }
    }

    /// `{"data":…}`
    pub(super) fn data(status: u16, data: Value) -> Self {
        Self::json(status, &object([("data", data)]))
    }

    fn coded(status: u16, text: &str, code: &str) -> Self {
        Self::json(status, &object([("error", Value::text(text)), ("code", Value::text(code))]))
    }

    /// `{"errors":{"field":"message"}}`
    pub(super) fn invalid(field: &str, message: &str) -> Self {
        Self::json(400, &object([("errors", object([(field, Value::text(message))]))]))
    }

    fn plain(status: u16, content_type: &'static str, body: &str) -> Self {
        Self { status, content_type, body: body.to_owned(), wait: Wait::No }
    }

    /// What stands before the processor says, when that doesn't.
    fn bad_gateway() -> Self {
        let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><h1>502 Bad Gateway</h1></body>\r\n</html>\r\n";
        Self::plain(502, "text/html", page)
    }

    pub(super) fn too_many() -> Self {
        Self::plain(429, "text/plain; charset=UTF-8", "error code: 1015")
    }
}

impl World {
    /// Answers a request, and executes it unless it is refused.
    pub fn answer(&mut self, now: i64, request: &Request<'_>) -> Answer {
        let path = request.path.strip_prefix(BASE).unwrap_or_default().trim_end_matches('/');
        if (request.method, path) == ("GET", "/ping") {
            return Answer::plain(200, "text/html; charset=UTF-8", "OK");
        }
        let Some((endpoint, name)) = route(request.method, path) else { return refused(Refused::NoKey) };
        let merchant = match self.ring.verify(request.key, request.signature, request.body) {
            Ok(verified) => usize::try_from(verified.merchant.0).unwrap_or(usize::MAX),
            Err(reason) => return refused(reason),
        };
        let form = php::decode(request.body).filter(|_| request.has_content_type);
        let Some(form) = form else { return Answer::coded(400, "Bad content format", "bad_content_format") };
        if self.dice.percent(self.faults.fail) {
            return self.failure();
        }
        let call = Call { merchant, form: &form, name };
        let mut answer = endpoint(self, now, &call).unwrap_or_else(|refusal| refusal);
        if self.dice.percent(self.faults.swallow) {
            let wait = answer.wait;
            answer = Answer { wait, ..Answer::bad_gateway() };
        }
        if answer.wait == Wait::No && self.dice.percent(self.faults.slow) {
            answer.wait = Wait::Ms(self.dice.below(self.faults.slow_ms.saturating_add(1)));
        }
        answer
    }

    fn failure(&mut self) -> Answer {
        match self.dice.below(3) {
            0 => Answer::plain(500, "text/plain", "Internal server error"),
            1 => Answer::bad_gateway(),
            _ => Answer::too_many(),
        }
    }

    /// One more calculation, unless there were too many within a minute.
    pub(super) fn may_calculate(&mut self, now: i64, merchant: usize) -> bool {
        self.quotes.retain(|quote| quote.at_us.saturating_add(MINUTE_US) > now);
        self.quotes.iter().filter(|quote| quote.merchant == merchant).count() < CALCULATIONS_A_MINUTE
    }
}

fn route<'p>(method: &str, path: &'p str) -> Option<(Endpoint, &'p str)> {
    if let ("POST", Some(name)) =
        (method, path.strip_prefix("/invoices/").and_then(|rest| rest.strip_suffix("/cancel")))
    {
        return Some((World::cancel_invoice, name));
    }
    let endpoint: Endpoint = match (method, path) {
        ("POST", "/currencies/list") => World::list_currencies,
        ("POST", "/currencies/pairs" | "/currencies/rates") => World::list_pairs,
        ("POST", "/accounts/list") => World::list_accounts,
        ("POST", "/addresses/take") => World::take_address,
        ("POST", "/withdrawal/crypto") => World::withdraw,
        ("POST", "/crypto/withdrawal_instant" | "/crypto/withdrawal_instant_exchange") => World::withdraw_instantly,
        ("POST", "/exchange/calculate") => World::calculate_exchange,
        ("POST", "/exchange/fixed") => World::exchange_fixed,
        ("POST", "/exchange/now") => World::exchange_now,
        ("POST", "/invoices/create") => World::create_invoice,
        ("GET" | "POST", "/transactions/info") => World::transaction_info,
        _ => return None,
    };
    Some((endpoint, path))
}

/// The processor's own words for a refused header. A wrong path is answered like a missing key.
fn refused(reason: Refused) -> Answer {
    let (text, code) = match reason {
        Refused::NoKey => ("No key header", "required_header_key"),
        Refused::UnknownKey => ("Bad key header", "bad_header_key"),
        Refused::NoSignature => ("No signature header", "required_header_signature"),
        Refused::MalformedSignature | Refused::WrongSignature | Refused::Ambiguous => {
            ("Bad signature header", "bad_header_signature")
        }
    };
    Answer::coded(403, text, code)
}

/// Reads fields, and gathers what is wrong with them.
pub(super) struct Fields<'a> {
    form: &'a Value,
    errors: Vec<(String, Value)>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(form: &'a Value) -> Self {
        Self { form, errors: Vec::new() }
    }

    pub(super) fn fault(&mut self, field: &str, message: &str) {
        if self.errors.iter().all(|(known, _)| known != field) {
            self.errors.push((field.to_owned(), Value::text(message)));
        }
    }

    pub(super) fn optional(&self, field: &str) -> Option<&'a str> {
        self.form.get(field).and_then(Value::scalar).filter(|text| !text.is_empty())
    }

    /// A field that must be there, of at most 255 characters.
    pub(super) fn required(&mut self, field: &str) -> &'a str {
        let words = field.replace('_', " ");
        match self.optional(field) {
            None => self.fault(field, &format!("The {words} field is required.")),
            Some(text) if text.chars().count() > 255 => {
                self.fault(field, &format!("The {words} may not be greater than 255 characters."));
            }
            Some(text) => return text,
        }
        ""
    }

    /// An amount above zero with at most eight decimals. `words` is how messages call it.
    pub(super) fn amount(&mut self, field: &str, words: &str) -> Option<Amount> {
        let token = self.optional(field)?;
        let amount = match Amount::parse(token) {
            Ok(amount) => amount,
            Err(_not_a_number) => {
                self.fault(field, &format!("The {words} must be a number."));
                return None;
            }
        };
        if amount.units().checked_rem(10_000_000_000) != Some(0) {
            self.fault(field, &format!("The {words} format is invalid."));
            return None;
        }
        if !amount.is_positive() {
            self.fault(field, &format!("The {words} must be greater than 0."));
            return None;
        }
        Some(amount)
    }

    /// A field that is true or false, however it is written.
    pub(super) fn is_set(&self, field: &str) -> bool {
        match self.form.get(field) {
            Some(Value::Bool(is)) => *is,
            Some(Value::Text(text) | Value::Number(text)) => text == "1" || text == "true",
            None | Some(Value::Null | Value::List(_) | Value::Object(_)) => false,
        }
    }

    /// The answer that names all faults, if there are any.
    pub(super) fn check(self) -> Result<(), Answer> {
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(Answer::json(400, &object([("errors", Value::Object(self.errors))])))
    }
}
