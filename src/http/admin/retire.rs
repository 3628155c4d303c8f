//! Giving up addresses, as an operator asks for it: what would be given up, and then doing so.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::callbacks::read;
use super::query;
use crate::app::App;
use crate::booker::Refusal;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::audit_log::Actor;
use crate::store::events::MerchantNames;
use crate::store::merchants;
use crate::store::retire::{self, By, Pass, Which};

/// Which addresses, in words. An empty one is as good as none.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Words {
    pub merchant: String,
    pub currency: String,
    pub network: String,
    pub created_before: String,
    pub customer: String,
}

impl Words {
    /// What they mean, or what is wrong with them.
    pub fn which(&self, names: &MerchantNames, now_us: i64) -> Result<Which, String> {
        let given = |text: &String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let all = [&self.merchant, &self.currency, &self.network, &self.created_before, &self.customer];
        if all.into_iter().any(|text| text.contains('\0')) {
            return Err("a filter can't have a NUL, which nothing that is stored has".to_owned());
        }
        Ok(Which {
            merchant: given(&self.merchant).map(|name| query::merchant(&name, names)).transpose()?,
            currency: given(&self.currency),
            network: given(&self.network),
            before_us: given(&self.created_before)
                .map(|text| query::moment("created_before", &text, now_us))
                .transpose()?,
            customer: given(&self.customer),
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    dry_run: bool,
    merchant: String,
    currency: String,
    network: String,
    created_before: String,
    customer: String,
}

impl Default for Asked {
    fn default() -> Self {
        let [merchant, currency, network, created_before, customer] = [const { String::new() }; 5];
        Self { dry_run: true, merchant, currency, network, created_before, customer }
    }
}

/// `POST /api/addresses/retire`
pub(super) async fn retire(
    caller: Caller,
    body: Result<web::Bytes, actix_web::Error>,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let Asked { dry_run, merchant, currency, network, created_before, customer } = read(body)?;
    let words = Words { merchant, currency, network, created_before, customer };
    let names = merchants::all(&app.db).await?;
    let which = words.which(&names, (app.clock)()).map_err(ApiError::Invalid)?;
    let pass = carry_out(&app, which, (!dry_run).then(|| caller.actor())).await?;
    Ok(HttpResponse::Ok().json(json!({
        "dry_run": dry_run,
        "addresses": pass.gateway.saturating_add(pass.drop_in),
        "gateway": pass.gateway,
        "drop_in": pass.drop_in,
    })))
}

/// Gives them up, or only counts them. What was begun is brought to its end, also when whoever asked has gone.
pub(in crate::http) async fn carry_out(
    app: &web::Data<App>,
    which: Which,
    actor: Option<Actor>,
) -> Result<Pass, ApiError> {
    let inner = app.clone();
    let work = async move {
        let by = actor.as_ref().map(|actor| By { actor, at_us: (inner.clock)() });
        retire::all(&inner.db, &which, by).await
    };
    let done = app.see_through(work).await.ok_or(ApiError::Refused(Refusal::Unavailable))?;
    Ok(done?)
}
