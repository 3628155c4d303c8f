//! The page that gives addresses up: first how many, then doing so. The count is asked for again before anything is done.

use actix_web::{HttpRequest, web};
use askama::Template;

use super::{Answer, Form, Frame, html, see};
use crate::app::App;
use crate::http::admin::query::Params;
use crate::http::admin::retire::{Words, carry_out};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::merchants;
use crate::store::retire::Pass;

const FIELDS: [&str; 6] = ["merchant", "currency", "network", "created_before", "customer", "count"];

#[derive(Template)]
#[template(path = "retire.html")]
struct Retire {
    frame: Frame,
    words: Words,
    merchants: Vec<String>,
    counted: Option<Counted>,
    trouble: Option<String>,
}

struct Counted {
    gateway: u64,
    drop_in: u64,
    is_any: bool,
}

/// `GET /addresses/retire`
pub(super) async fn ask(caller: Caller, request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &FIELDS)?;
    let [merchant, currency, network, created_before, customer, count] =
        FIELDS.map(|name| params.take(name).unwrap_or_default());
    let words = Words { merchant, currency, network, created_before, customer };
    let names = merchants::all(&app.db).await?;
    let (counted, trouble) = match words.which(&names, (app.clock)()) {
        Ok(which) if !count.is_empty() => {
            let pass = carry_out(&app, which, None).await?;
            let Pass { gateway, drop_in, .. } = pass;
            (Some(Counted { gateway, drop_in, is_any: gateway > 0 || drop_in > 0 }), None)
        }
        Ok(_) => (None, None),
        Err(trouble) => (None, Some(trouble)),
    };
    let mut merchants: Vec<String> = names.0.into_values().collect();
    merchants.sort();
    let frame = Frame::new(&app, &caller, "/addresses", "Retire addresses");
    Ok(html(&Retire { frame, words, merchants, counted, trouble }))
}

/// `POST /addresses/retire`
pub(super) async fn retire(caller: Caller, form: Form<Words>, app: web::Data<App>) -> Answer {
    let names = merchants::all(&app.db).await?;
    let which = form.0.which(&names, (app.clock)()).map_err(ApiError::Invalid)?;
    carry_out(&app, which, Some(caller.actor())).await?;
    Ok(see("/addresses?state=retired"))
}
