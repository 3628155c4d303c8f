//! Is it alive, is it ready, what does it count. The broker's troubles do not fail readiness: the outbox absorbs them.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use tokio::time::timeout;

use crate::app::App;

/// `GET /livez`: the process answers.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("OK\n")
}

/// `GET /readyz`: it is not stopping, and the database answers.
pub async fn ready(app: web::Data<App>) -> HttpResponse {
    let is_stopping = app.stop.is_cancelled();
    let database = matches!(timeout(Duration::from_secs(2), app.db.ping()).await, Ok(Ok(())));
    let broker = match (app.settings.broker.urls.is_empty(), app.metrics.broker_connected.get()) {
        (true, _) => "none",
        (false, 0) => "disconnected",
        (false, _) => "connected",
    };
    let is_ready = database && !is_stopping;
    let state = serde_json::json!({
        "ready": is_ready,
        "stopping": is_stopping,
        "database": if database { "ok" } else { "unreachable" },
        "broker": broker,
    });
    if is_ready { HttpResponse::Ok().json(state) } else { HttpResponse::ServiceUnavailable().json(state) }
}

/// `GET /metrics`
pub async fn metrics(app: web::Data<App>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(app.metrics.render())
}

/// Everything that is not in the table.
pub async fn nothing_here() -> HttpResponse {
    let problem = serde_json::json!({"type": "about:blank", "title": "Not Found", "status": 404, "code": "not_found"});
    HttpResponse::NotFound().content_type("application/problem+json").body(problem.to_string())
}
