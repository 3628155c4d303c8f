//! Balances, as the accounts have them.

use actix_web::{HttpRequest, HttpResponse, web};

use super::query::Params;
use super::shape;
use crate::app::App;
use crate::http::error::ApiError;
use crate::store::ledger;

/// `GET /api/balances`
pub(super) async fn balances(request: HttpRequest, app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::parse(request.query_string(), &["customer", "currency", "after", "limit"])?;
    let (limit, after) = (params.limit()?, params.position("after")?.unwrap_or_default());
    let (customer, currency) = (params.take("customer"), params.take("currency"));
    let page = ledger::balances(&app.db, customer.as_deref(), currency.as_deref(), after, limit).await?;
    let rows = page.rows.iter().map(shape::balance).collect();
    Ok(HttpResponse::Ok().json(shape::page(rows, page.next.map(|next| next.to_string()))))
}
