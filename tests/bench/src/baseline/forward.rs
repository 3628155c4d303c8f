//! `forward`: verify, parse, publish to a quorum queue under a mutex without waiting for a confirm,
//! answer 200. The way receivers that only forward do it: fast, and what the broker had not yet
//! taken is lost with the process or with the broker.

use std::net::SocketAddr;
use std::path::Path;

use actix_web::web::{Bytes, Data, PayloadConfig, get, post};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use anyhow::Result;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel};
use tokio::sync::Mutex;

use super::{BODY_BYTES_MAX, Deposit, Keys, WORKERS};
use crate::broker;

struct Service {
    keys: Keys,
    channel: Mutex<Channel>,
}

pub(crate) async fn serve(listen: SocketAddr, amqp: &str, merchants: &Path) -> Result<()> {
    let (connection, channel) = broker::connect(amqp).await?;
    broker::declare_quorum(&channel, broker::FORWARD).await?;
    let service = Data::new(Service { keys: Keys::read(merchants)?, channel: Mutex::new(channel) });
    let app = move || {
        App::new()
            .app_data(Data::clone(&service))
            .app_data(PayloadConfig::new(BODY_BYTES_MAX))
            .route("/callbacks/alphapo", post().to(receive))
            .route("/readyz", get().to(|| async { "ready" }))
    };
    HttpServer::new(app).workers(WORKERS).bind(listen)?.run().await?;
    connection.close(200, "done".into()).await?;
    Ok(())
}

async fn receive(request: HttpRequest, body: Bytes, service: Data<Service>) -> HttpResponse {
    if service.keys.verify(&request, &body).is_none() {
        return HttpResponse::Unauthorized().finish();
    }
    let Ok(deposit) = serde_json::from_slice::<Deposit<'_>>(&body) else {
        return HttpResponse::BadRequest().finish();
    };
    let properties = BasicProperties::default().with_delivery_mode(2).with_message_id(deposit.id.to_string().into());
    let channel = service.channel.lock().await;
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish("".into(), broker::FORWARD.into(), options, &body, properties).await;
    match sent {
        Ok(_never_awaited) => HttpResponse::Ok().finish(),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}
