//! A method for each endpoint that the processor documents. Each signs, sends once and reads the answer; what an error
//! means for the money is the caller's to decide.

use tracing::debug;

use super::answer::{self, Root};
use super::{
    Account, Address, Answer, Client, Credentials, Currency, Exact, Exchanged, Instant, Invoice, Method, NewAddress,
    NewExchange, NewInvoice, Pair, Placed, Quote, Refused, Subject, Trade, Trouble,
};

impl Client {
    /// `GET /ping`, unsigned: whether the processor is there.
    pub async fn ping(&self) -> Result<(), Trouble> {
        let answer =
            self.send(Exact { method: Method::GET, path: "/ping", headers: Vec::new(), body: Vec::new() }).await?;
        if answer.status == 200 { Ok(()) } else { Err(Trouble::of(&answer)) }
    }

    pub async fn currencies(&self, by: &Credentials) -> Result<Vec<Currency>, Trouble> {
        answer::list(&self.post(by, "/currencies/list", b"{}".to_vec()).await?)
    }

    /// All pairs, or those from a currency, or to one.
    pub async fn pairs(&self, by: &Credentials, from: Option<&str>, to: Option<&str>) -> Result<Vec<Pair>, Trouble> {
        answer::list(&self.post(by, "/currencies/pairs", pair_body(from, to)).await?)
    }

    /// The same for the rates of one pair.
    pub async fn rates(&self, by: &Credentials, from: &str, to: &str) -> Result<Vec<Pair>, Trouble> {
        answer::list(&self.post(by, "/currencies/rates", pair_body(Some(from), Some(to))).await?)
    }

    /// What the processor holds for the merchant.
    pub async fn accounts(&self, by: &Credentials) -> Result<Vec<Account>, Trouble> {
        answer::list(&self.post(by, "/accounts/list", b"{}".to_vec()).await?)
    }

    /// Not idempotent: each call may make a new address.
    pub async fn take_address(&self, by: &Credentials, wanted: &NewAddress) -> Result<Address, Trouble> {
        answer::one(&self.post(by, "/addresses/take", wanted.body()).await?)
    }

    /// Sends a stored withdrawal's bytes. Only `outbound` calls this: it has the row that must exist first.
    pub async fn withdraw(&self, by: &Credentials, body: Vec<u8>) -> Result<Answer, Trouble> {
        self.post(by, "/withdrawal/crypto", body).await
    }

    /// The same for the instant kinds.
    pub async fn withdraw_instantly(&self, by: &Credentials, kind: Instant, body: Vec<u8>) -> Result<Answer, Trouble> {
        self.post(by, kind.path(), body).await
    }

    pub async fn calculate(&self, by: &Credentials, trade: &Trade) -> Result<Quote, Trouble> {
        answer::one(&self.post(by, "/exchange/calculate", trade.body()).await?)
    }

    /// At the price that it has, or at the one that `calculate` gave.
    pub async fn exchange(&self, by: &Credentials, wanted: &NewExchange) -> Result<Exchanged, Trouble> {
        let path = if wanted.price.is_some() { "/exchange/fixed" } else { "/exchange/now" };
        answer::one(&self.post(by, path, wanted.body()).await?)
    }

    pub async fn create_invoice(&self, by: &Credentials, wanted: &NewInvoice) -> Result<Invoice, Trouble> {
        answer::one(&self.post(by, "/invoices/create", wanted.body()).await?)
    }

    pub async fn cancel_invoice(&self, by: &Credentials, foreign_id: &str) -> Result<(), Trouble> {
        let segment = segment(foreign_id).ok_or_else(|| Trouble::not_sent("no path can hold that foreign id"))?;
        let path = format!("/invoices/{segment}/cancel/");
        answer::body(&self.post(by, &path, b"{}".to_vec()).await?).map(drop)
    }

    /// The last callback's body, exactly as it came; `None` when the processor tells of no such transaction. How it says
    /// so is not documented: any refusal in its own envelope counts that is not about the call itself, and so does
    /// nothing at all. It is therefore no proof: whoever sent something must take it for "not known yet".
    pub async fn transaction(&self, by: &Credentials, about: &Subject) -> Result<Option<Vec<u8>>, Trouble> {
        let answer = self.call(by, Method::GET, "/transactions/info", about.body()).await?;
        match answer::body(&answer) {
            Ok(body) if body.is_empty() || is_empty_data(&body) => Ok(None),
            Ok(body) if body.object().is_some_and(|body| body.get("type").is_some()) => Ok(Some(answer.body)),
            Ok(_) => Err(Trouble::unknown("it answered success with a body that is no transaction")),
            Err(Trouble::Refused(refused)) if is_absence(&refused) => {
                debug!(answer = %refused, "The processor tells of no such transaction");
                Ok(None)
            }
            Err(trouble) => Err(trouble),
        }
    }

    async fn post(&self, by: &Credentials, path: &str, body: Vec<u8>) -> Result<Answer, Trouble> {
        self.call(by, Method::POST, path, body).await
    }
}

impl Placed {
    /// What an answer to a withdrawal says.
    pub fn read(answer: &Answer) -> Result<Self, Trouble> {
        answer::one(answer)
    }
}

impl Invoice {
    /// What an answer to a new invoice says.
    pub fn read(answer: &Answer) -> Result<Self, Trouble> {
        answer::one(answer)
    }
}

fn is_empty_data(body: &Root<'_>) -> bool {
    let data = body.object().and_then(|body| body.get("data"));
    data.is_some_and(|data| Root(data.clone()).is_empty())
}

fn is_absence(refused: &Refused) -> bool {
    matches!(refused.status, 400 | 404 | 422) && !refused.is_about_the_call()
}

fn pair_body(from: Option<&str>, to: Option<&str>) -> Vec<u8> {
    let pairs = [("currency_from", from), ("currency_to", to)];
    let given = pairs.into_iter().filter_map(|(name, currency)| Some((name.to_owned(), currency?.into())));
    serde_json::Value::Object(given.collect()).to_string().into_bytes()
}

/// One segment of a path: everything but plain characters is escaped. Dots alone would mean another path.
fn segment(text: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~.".contains(&byte);
    let escaped = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let segment: String = text.bytes().map(escaped).collect();
    Some(segment).filter(|segment| !matches!(segment.as_str(), "" | "." | ".."))
}
