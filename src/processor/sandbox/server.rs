//! The simulator on a listener: the API and the control routes for others, and the delivery of callbacks. It calls
//! nothing but the callback URLs it was given.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App as Site, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::Context;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::api::{Request, Wait};
use super::clock::Clock;
use super::control::{Refusal, asked};
use super::php::{self, Value, object};
use super::post::{Delivery, Ticket};
use super::world::{SECOND_US, World};

const BODY_BYTES_MAX: usize = 65_536;
/// How long the receiver of a callback may take, in real time.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);
/// Deliveries at a time.
const UNDER_WAY_MAX: usize = 64;
/// How long an answer waits for its early callback, and how long one that never comes is held.
const EARLY_LIMIT: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::from_secs(600);

/// The simulator and what wakes it.
pub(super) struct State {
    inner: Mutex<Inner>,
    /// Something new may be due.
    changed: Notify,
    /// A delivery has ended.
    tried: Notify,
    pub(super) stop: CancellationToken,
}

struct Inner {
    world: World,
    clock: Clock,
}

impl State {
    pub(super) fn new(world: World, clock: Clock) -> Self {
        let inner = Mutex::new(Inner { world, clock });
        Self { inner, changed: Notify::new(), tried: Notify::new(), stop: CancellationToken::new() }
    }

    /// Does something with the world at the present time, and lets it go on.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut World, i64) -> T) -> T {
        self.with_clock(|world, clock| work(world, clock.now()))
    }

    pub(super) fn with_clock<T>(&self, work: impl FnOnce(&mut World, &mut Clock) -> T) -> T {
        let result = {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let Inner { world, clock } = &mut *inner;
            work(world, clock)
        };
        self.changed.notify_one();
        result
    }
}

/// Serves and delivers until told to stop.
pub(super) async fn run(state: Arc<State>, listener: TcpListener) -> anyhow::Result<()> {
    let data = web::Data::from(Arc::clone(&state));
    let site = move || {
        let limit = web::PayloadConfig::new(BODY_BYTES_MAX);
        Site::new().app_data(data.clone()).app_data(limit).default_service(web::to(serve))
    };
    let server = HttpServer::new(site).workers(1).disable_signals().shutdown_timeout(1).listen(listener)?.run();
    let handle = server.handle();
    let stopped = async {
        state.stop.cancelled().await;
        handle.stop(true).await;
        anyhow::Ok(())
    };
    let served = async { server.await.context("the sandbox can't listen any more") };
    tokio::try_join!(served, stopped, deliver(&state))?;
    Ok(())
}

async fn serve(request: HttpRequest, body: web::Bytes, state: web::Data<State>) -> HttpResponse {
    if let Some(path) = request.path().strip_prefix("/control") {
        return control(&request, path, &body, &state);
    }
    let header = |name: &str| request.headers().get(name).map(actix_web::http::header::HeaderValue::as_bytes);
    let asked = Request {
        method: request.method().as_str(),
        path: request.path(),
        key: header("x-processing-key"),
        signature: header("x-processing-signature"),
        has_content_type: header("content-type").is_some(),
        body: &body,
    };
    let answer = state.with(|world, now| world.answer(now, &asked));
    match answer.wait {
        Wait::No => {}
        Wait::Ms(ms) => sleep(Duration::from_millis(ms)).await,
        Wait::Tried(callback) => {
            // When the receiver takes too long, the answer comes first after all.
            drop(timeout(EARLY_LIMIT, until_tried(&state, callback)).await);
        }
        Wait::Never => {
            // Whoever asked has gone by then.
            drop(timeout(NEVER, state.stop.cancelled()).await);
            return HttpResponse::GatewayTimeout().finish();
        }
    }
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(status).content_type(answer.content_type).body(answer.body)
}

async fn until_tried(state: &State, callback: usize) {
    loop {
        let heard = state.tried.notified();
        if state.with(|world, _| world.was_tried(callback)) {
            return;
        }
        heard.await;
    }
}

fn control(request: &HttpRequest, path: &str, body: &[u8], state: &State) -> HttpResponse {
    let method = request.method().as_str();
    if (method, path) == ("GET", "/transactions.csv") {
        let text = state.with(|world, _| world.export(asked(request.query_string(), "key")));
        return HttpResponse::Ok().content_type("text/csv; charset=utf-8; header=present").body(text);
    }
    let form = if body.is_empty() { Some(Value::Object(Vec::new())) } else { php::decode(body) };
    let told = match (form, method, path) {
        (None, _, _) => Err(Refusal::Invalid("the body is no JSON".to_owned())),
        (Some(_), "GET", "/time") => Ok(time(state)),
        (Some(form), "POST", "/time") => set_time(state, &form).map(|()| time(state)),
        (Some(form), _, _) => state.with(|world, now| world.command(now, method, path, request.query_string(), &form)),
    };
    let (status, body) = match told {
        Ok(body) => (StatusCode::OK, body),
        Err(Refusal::Invalid(what)) => (StatusCode::BAD_REQUEST, object([("error", Value::Text(what))])),
        Err(Refusal::Missing(what)) => (StatusCode::NOT_FOUND, object([("error", Value::Text(what))])),
    };
    HttpResponse::build(status).content_type("application/json").body(format!("{}\n", php::encode(&body)))
}

fn time(state: &State) -> Value {
    state.with_clock(|_, clock| {
        let now = Value::int(clock.now().div_euclid(SECOND_US));
        object([("now", now), ("scale", Value::int(clock.scale().into()))])
    })
}

fn set_time(state: &State, form: &Value) -> Result<(), Refusal> {
    let number = |name: &str| {
        let text = form.get(name).and_then(Value::scalar);
        let number = text.map(str::parse::<u32>).transpose();
        number.map_err(|_not_a_number| Refusal::Invalid(format!("{name} is a whole number")))
    };
    let (advance_s, scale) = (number("advance_s")?, number("scale")?);
    state.with_clock(|_, clock| {
        if let Some(scale) = scale {
            clock.set_scale(scale);
        }
        clock.advance(i64::from(advance_s.unwrap_or(0)).saturating_mul(SECOND_US));
    });
    Ok(())
}

/// Lets the world go on, and delivers what it has to tell.
async fn deliver(state: &State) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .timeout(DELIVERY_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .context("the HTTP client can't be made")?;
    let mut waiting = VecDeque::new();
    let mut under_way = FuturesUnordered::new();
    loop {
        let pause_us = {
            let mut inner = state.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let now = inner.clock.now();
            waiting.extend(inner.world.step(now));
            inner.world.next_due().and_then(|due| inner.clock.until(due))
        };
        while under_way.len() < UNDER_WAY_MAX
            && let Some(delivery) = waiting.pop_front()
        {
            under_way.push(post(&client, delivery));
        }
        let pause = pause_us.and_then(|us| u64::try_from(us).ok()).map_or(NEVER, Duration::from_micros);
        tokio::select! {
            () = state.stop.cancelled() => return Ok(()),
            () = state.changed.notified() => {}
            () = sleep(pause) => {}
            Some((ticket, status)) = under_way.next(), if !under_way.is_empty() => {
                state.with(|world, now| world.delivered(now, ticket, status));
                state.tried.notify_waiters();
            }
        }
    }
}

/// One attempt: the status of the answer, if one came.
async fn post(client: &reqwest::Client, delivery: Delivery) -> (Ticket, Option<u16>) {
    let request = client
        .post(&delivery.url)
        .header("Content-Type", "application/json")
        .header("X-Processing-Key", &delivery.key)
        .header("X-Processing-Signature", &delivery.signature)
        .body(delivery.body);
    let answer = request.send().await;
    if let Err(error) = &answer {
        tracing::debug!(operation = delivery.operation, is_timeout = error.is_timeout(), "A callback was not taken");
    }
    (delivery.ticket, answer.ok().map(|answer| answer.status().as_u16()))
}
