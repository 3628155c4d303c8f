//! `/api/v2/*`: AlphaPo, as a merchant's client knows it. A request is verified as AlphaPo does it, what it will lead to
//! is written down, its exact bytes and headers go on, and the answer comes back untouched. What is said here without
//! asking the processor is said in the processor's envelopes. It never changes a byte, and never sends one twice.

mod path;
mod record;
mod reply;
mod withdraw;

use std::sync::Arc;

use actix_web::http::header::{CONTENT_TYPE, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};

use super::body::{self, Cut};
use super::callbacks::{self, KEY, SIGNATURE};
use crate::app::App;
use crate::domain::ids::MerchantId;
use crate::processor::asked::{self, Asked};
use crate::processor::client::{Answer, Exact, Method, Trouble};
use crate::processor::signature::Refused;
use path::{Place, place};
use reply::Said;

/// Headers that go on to the processor. The others are between the client and us.
const CARRIED: [&str; 6] = ["content-type", KEY, SIGNATURE, "accept", "accept-language", "user-agent"];

/// A verified request, free of the connection it came by.
struct Ask {
    merchant: MerchantId,
    method: Method,
    /// Below the base URL, as it came.
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// `GET` and `POST /api/v2/*`
pub async fn handle(request: HttpRequest, payload: web::Payload, app: web::Data<App>) -> HttpResponse {
    let app = app.into_inner();
    let body = match body::read(request.headers(), payload, &app.settings.limits).await {
        Ok(body) => body,
        Err(Cut::TooLarge) => return reply::said(&Said::TooLarge),
        Err(Cut::TooSlow | Cut::Broken) => return reply::said(&Said::TooSlow),
    };
    let Some(path) = request.uri().path_and_query().and_then(|path| path.as_str().strip_prefix("/api/v2")) else {
        return reply::said(&Said::BadFormat);
    };
    let Some(place) = place(path) else { return reply::said(&Said::BadFormat) };
    let merchant = if place == Place::Ping {
        None
    } else {
        match callbacks::verify(request.headers(), &body, &app) {
            Ok(verified) => Some(verified.merchant),
            Err(refused) => {
                callbacks::note_refusal(refused, &request, &body, &app);
                return reply::said(&denied(refused, request.headers()));
            }
        }
    };
    let method = Method::from_bytes(request.method().as_str().as_bytes()).unwrap_or(Method::GET);
    let ask = Ask {
        merchant: merchant.unwrap_or(MerchantId(0)),
        method,
        path: path.to_owned(),
        headers: carried(request.headers()),
        body,
    };
    if merchant.is_some() && (!request.headers().contains_key(CONTENT_TYPE) || asked::read(&ask.body).is_err()) {
        return reply::said(&Said::BadFormat);
    }
    // What has begun ends, also when the client hangs up.
    let own = Arc::clone(&app);
    match app.see_through(async move { serve(&own, ask, place).await }).await {
        Some(Ok(answer)) => reply::untouched(answer),
        Some(Err(said)) => reply::said(&said),
        None => reply::said(&Said::Unavailable),
    }
}

async fn serve(app: &Arc<App>, ask: Ask, place: Place) -> Result<Answer, Said> {
    if place == Place::Ping {
        return ping(app, &ask).await;
    }
    if ask.method != Method::POST {
        // What it makes of such a request is the processor's to say: it may be money all the same.
        if matches!(place, Place::Withdrawal(_) | Place::Money) {
            withdraw::refuse_when_stopped(app).await?;
        }
        return Ok(forward(app, &ask).await?);
    }
    match place {
        Place::Withdrawal(kind) => withdraw::serve(app, ask, kind).await,
        Place::Recorded(kind) => record::serve(app, &ask, kind).await,
        Place::Money => {
            withdraw::refuse_when_stopped(app).await?;
            Ok(forward(app, &ask).await?)
        }
        Place::Ping | Place::Elsewhere => Ok(forward(app, &ask).await?),
    }
}

/// Nobody signs it: a flood of them must neither be the processor's nor keep others' calls from it.
async fn ping(app: &App, ask: &Ask) -> Result<Answer, Said> {
    let _place = app.pings.try_acquire().map_err(|_all_taken| Said::Unavailable)?;
    Ok(forward(app, ask).await?)
}

/// The request as it came, once.
async fn forward(app: &App, ask: &Ask) -> Result<Answer, Trouble> {
    let headers = ask.headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    app.client.send(Exact { method: ask.method.clone(), path: &ask.path, headers, body: ask.body.clone() }).await
}

impl Ask {
    fn asked(&self) -> Result<Asked<'_>, Said> {
        asked::read(&self.body).map_err(|asked::NotJson| Said::BadFormat)
    }
}

fn carried(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let carried = CARRIED.iter().filter_map(|name| Some(((*name).to_owned(), headers.get(*name)?.as_bytes().to_vec())));
    carried.collect()
}

/// The processor tells callers more than our own callbacks' door does.
fn denied(refused: Refused, headers: &HeaderMap) -> Said {
    match refused {
        Refused::NoKey => Said::NoKey,
        Refused::UnknownKey => Said::BadKey,
        Refused::NoSignature => Said::NoSignature,
        Refused::MalformedSignature | Refused::WrongSignature => Said::BadSignature,
        Refused::Ambiguous if headers.get_all(KEY).count() > 1 => Said::BadKey,
        Refused::Ambiguous => Said::BadSignature,
    }
}
