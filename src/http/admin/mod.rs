//! The admin API under `/api`: its whole route table on one screen, with the role each route needs. Reads go to the
//! store; the only thing that changes anything is a replay, and that is the booker's work.

mod callbacks;
mod events;
mod ledger;
mod operations;
pub mod query;
pub mod shape;

use actix_web::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::DefaultHeaders;
use actix_web::{FromRequest, Handler, HttpResponse, Resource, Responder, web};

use super::error::ApiError;

/// consumer: events. viewer: all that is read. operator: replays. Each may what those before it may.
pub fn routes(cfg: &mut web::ServiceConfig) {
    let headers = DefaultHeaders::new().add((CACHE_CONTROL, "no-store")).add((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    cfg.service(
        web::scope("/api")
            .wrap(headers)
            .service(get("/events", events::list)) // consumer
            .service(get("/events/stream", events::stream)) // consumer
            .service(get("/callbacks", callbacks::list)) // viewer
            .service(post("/callbacks/replay", callbacks::replay_filtered)) // operator
            .service(get("/callbacks/{id}", callbacks::show)) // viewer
            .service(post("/callbacks/{id}/replay", callbacks::replay_one)) // operator
            .service(get("/balances", ledger::balances)) // viewer
            .service(get("/discrepancies", operations::discrepancies)) // viewer
            .service(get("/outbox", operations::outbox)) // viewer
            .service(get("/rejected", operations::rejected)) // viewer
            .default_service(web::to(no_such_route)),
    );
}

/// The answer to everything that is not in the table.
pub async fn no_such_route() -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotFound("such route".to_owned()))
}

fn get<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path).route(web::get().to(handler)).default_service(web::to(only_get))
}

fn post<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path).route(web::post().to(handler)).default_service(web::to(only_post))
}

async fn only_get() -> Result<HttpResponse, ApiError> {
    Err(ApiError::MethodNotAllowed { allow: "GET" })
}

async fn only_post() -> Result<HttpResponse, ApiError> {
    Err(ApiError::MethodNotAllowed { allow: "POST" })
}
