//! Payments, customers, accounts and their statements: what the ledger says about each. Reads only.

use actix_web::http::header::{ACCEPT, CONTENT_DISPOSITION};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;

use super::query::{Params, merchant, moment};
use super::{book_shape, csv, shape};
use crate::app::App;
use crate::domain::ids::{CustomerId, MerchantId};
use crate::domain::payment::{Family, Status};
use crate::http::error::ApiError;
use crate::store::lines::Place;
use crate::store::statement::{self, PostingPlace, Span};
use crate::store::{customers, ledger, merchants, payments};

type Answer = Result<HttpResponse, ApiError>;

/// Lines of one page of a CSV: it is sent page by page, so its length costs no memory.
const CSV_PAGE: u64 = 1_000;

/// `GET /api/payments`
pub(super) async fn payments(request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["merchant", "type", "status", "q", "after", "limit"])?;
    let (limit, after) = (params.limit()?, params.position("after")?);
    let filter = payments::Filter {
        merchant: known_merchant(&mut params, &app).await?,
        family: params.take("type").map(|word| family(&word)).transpose()?,
        status: params.take("status").map(|word| status(&word)).transpose()?,
        q: params.take("q"),
    };
    let page = payments::list(&app.db, &filter, after, limit).await?;
    let rows = page.rows.iter().map(book_shape::payment).collect();
    Ok(HttpResponse::Ok().json(shape::page(rows, page.next.map(|next| next.to_string()))))
}

/// `GET /api/payments/{id}`
pub(super) async fn payment(id: web::Path<String>, app: web::Data<App>) -> Answer {
    let none = || ApiError::NotFound(format!("payment {id}"));
    let number = id.parse().map_err(|_not_a_number| none())?;
    let detail = payments::get(&app.db, number).await?.ok_or_else(none)?;
    Ok(HttpResponse::Ok().json(book_shape::payment_detail(&detail)))
}

/// `GET /api/customers`
pub(super) async fn customers(request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["merchant", "q", "after", "limit"])?;
    let (limit, after) = (params.limit()?, params.position("after")?);
    let merchant = known_merchant(&mut params, &app).await?;
    let page = customers::list(&app.db, merchant, params.take("q").as_deref(), after, limit).await?;
    let rows = page.rows.iter().map(book_shape::customer).collect();
    Ok(HttpResponse::Ok().json(shape::page(rows, page.next.map(|next| next.to_string()))))
}

/// `GET /api/customers/{id}`
pub(super) async fn customer(id: web::Path<String>, app: web::Data<App>) -> Answer {
    let detail = known_customer(&id, &app).await?;
    Ok(HttpResponse::Ok().json(book_shape::customer_detail(&detail)))
}

/// `GET /api/customers/{id}/statement`: JSON by the page, or CSV from `after` to the end, for who accepts `text/csv`.
pub(in crate::http) async fn statement(id: web::Path<String>, request: HttpRequest, app: web::Data<App>) -> Answer {
    let allowed = ["currency", "since", "until", "after", "limit", "format"];
    let mut params = Params::parse(request.query_string(), &allowed)?;
    let is_csv = wants_csv(&request, &mut params)?;
    let limit = params.is_given("limit").then(|| params.limit()).transpose()?;
    let after = params.take("after").map(|text| Place::parse(&text).ok_or_else(bad_cursor)).transpose()?;
    let span = span(&mut params, (app.clock)())?;
    let currency = params.take("currency");
    let customer = known_customer(&id, &app).await?.customer;
    if is_csv {
        let wanted = Wanted { customer: customer.id, currency, span, after, left: limit };
        return Ok(statement_csv(app, wanted));
    }
    let limit = limit.unwrap_or(super::query::LIMIT_DEFAULT);
    let page = statement::of_customer(&app.db, customer.id, currency.as_deref(), &span, after, limit).await?;
    let rows = page.rows.iter().map(book_shape::statement_line).collect();
    Ok(HttpResponse::Ok().json(shape::page(rows, page.next.map(|next| next.to_string()))))
}

/// `GET /api/accounts`: the balances with the numbers of their accounts.
pub(super) async fn accounts(request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["customer", "currency", "after", "limit"])?;
    let (limit, after) = (params.limit()?, params.position("after")?.unwrap_or_default());
    let (customer, currency) = (params.take("customer"), params.take("currency"));
    let page = ledger::balances(&app.db, customer.as_deref(), currency.as_deref(), after, limit).await?;
    let rows = page.rows.iter().map(book_shape::account).collect();
    Ok(HttpResponse::Ok().json(shape::page(rows, page.next.map(|next| next.to_string()))))
}

/// `GET /api/accounts/{id}/postings`
pub(super) async fn postings(id: web::Path<String>, request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["since", "until", "after", "limit"])?;
    let limit = params.limit()?;
    let after = params.take("after").map(|text| PostingPlace::parse(&text).ok_or_else(bad_cursor)).transpose()?;
    let span = span(&mut params, (app.clock)())?;
    let none = || ApiError::NotFound(format!("account {id}"));
    let number = id.parse().map_err(|_not_a_number| none())?;
    let (rows, next) = statement::of_account(&app.db, number, &span, after, limit).await?.ok_or_else(none)?;
    let rows = rows.iter().map(book_shape::account_posting).collect();
    Ok(HttpResponse::Ok().json(shape::page(rows, next.map(|next| next.to_string()))))
}

pub(super) async fn known_merchant(params: &mut Params, app: &App) -> Result<Option<MerchantId>, ApiError> {
    let Some(name) = params.take("merchant") else { return Ok(None) };
    merchant(&name, &merchants::all(&app.db).await?).map(Some).map_err(ApiError::Invalid)
}

async fn known_customer(id: &str, app: &App) -> Result<customers::Detail, ApiError> {
    let none = || ApiError::NotFound(format!("customer {id}"));
    let number = id.parse().map_err(|_not_a_number| none())?;
    customers::get(&app.db, CustomerId(number)).await?.ok_or_else(none)
}

pub(in crate::http) fn family(word: &str) -> Result<Family, ApiError> {
    Family::ALL.into_iter().find(|family| family.name() == word).ok_or_else(|| {
        let words: Vec<_> = Family::ALL.iter().map(|family| family.name()).collect();
        ApiError::Invalid(format!("`type` must be one of {}", words.join(", ")))
    })
}

pub(in crate::http) fn status(word: &str) -> Result<Status, ApiError> {
    Status::of(word).ok_or_else(|| {
        let words: Vec<_> = Status::ALL.iter().map(|status| status.word()).collect();
        ApiError::Invalid(format!("`status` must be one of {}", words.join(", ")))
    })
}

fn span(params: &mut Params, now_us: i64) -> Result<Span, ApiError> {
    let mut at = |name: &str| params.take(name).map(|text| moment(name, &text, now_us)).transpose();
    let span =
        Span { since_us: at("since").map_err(ApiError::Invalid)?, until_us: at("until").map_err(ApiError::Invalid)? };
    Ok(span)
}

fn bad_cursor() -> ApiError {
    ApiError::Invalid("`after` must be the `next` of an earlier answer".into())
}

/// `format` decides; without it the name of the file, else `Accept`.
fn wants_csv(request: &HttpRequest, params: &mut Params) -> Result<bool, ApiError> {
    match params.take("format").as_deref() {
        Some("csv") => Ok(true),
        Some("json") => Ok(false),
        Some(_) => Err(ApiError::Invalid("`format` must be json or csv".into())),
        None if request.path().ends_with(".csv") => Ok(true),
        None => {
            let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
            Ok(accept.is_some_and(|accept| accept.to_ascii_lowercase().starts_with("text/csv")))
        }
    }
}

/// What of a statement is still to be sent.
struct Wanted {
    customer: CustomerId,
    currency: Option<String>,
    span: Span,
    after: Option<Place>,
    /// `None`: all of it.
    left: Option<u64>,
}

/// Page after page. A failure half-way cuts the answer off, so that nobody takes a part for the whole.
fn statement_csv(app: web::Data<App>, wanted: Wanted) -> HttpResponse {
    let name = format!("attachment; filename=\"statement-{}.csv\"", wanted.customer);
    let head = csv::line(book_shape::STATEMENT.iter().map(|column| (*column).to_owned()));
    let pages = stream::try_unfold((Some(head), Some(wanted)), move |(head, wanted)| {
        let app = app.clone();
        async move {
            if let Some(head) = head {
                return Ok::<_, ApiError>(Some((web::Bytes::from(head), (None, wanted))));
            }
            let Some(mut wanted) = wanted else { return Ok(None) };
            let limit = wanted.left.map_or(CSV_PAGE, |left| left.min(CSV_PAGE));
            let Wanted { customer, currency, span, after, .. } = &wanted;
            let page = statement::of_customer(&app.db, *customer, currency.as_deref(), span, *after, limit).await?;
            let rows = page.rows.iter().map(book_shape::statement_line);
            let text: String = rows.map(|row| csv::row(&row, book_shape::STATEMENT)).collect();
            let sent = u64::try_from(page.rows.len()).unwrap_or(u64::MAX);
            wanted.left = wanted.left.map(|left| left.saturating_sub(sent));
            wanted.after = page.next;
            let is_over = page.next.is_none() || wanted.left == Some(0);
            Ok(Some((web::Bytes::from(text), (None, Some(wanted).filter(|_| !is_over)))))
        }
    });
    let mut response = HttpResponse::Ok();
    response.content_type("text/csv; charset=utf-8").insert_header((CONTENT_DISPOSITION, name));
    response.streaming(Box::pin(pages))
}
