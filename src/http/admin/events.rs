//! The HTTP feed: the same events as the queue, byte for byte, in journal order without gaps. Long poll and SSE wake up
//! when this process books, look again for what other replicas booked, and end at once on shutdown.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::http::header::HeaderName;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::query::{Params, position};
use super::shape;
use crate::app::App;
use crate::domain::event::Event;
use crate::http::error::ApiError;
use crate::store::{StoreError, events, merchants};

/// How often the database is asked for what other replicas booked.
const POLL: Duration = Duration::from_millis(500);
/// A silent stream is told to be alive, before proxies give it up.
const HEARTBEAT: Duration = Duration::from_secs(15);
const WAIT_S_MAX: u64 = 60;
const STREAM_PAGE: u64 = 200;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A reader of the feed: where it is, and what wakes it.
struct Feed {
    app: web::Data<App>,
    news: watch::Receiver<i64>,
    after: i64,
}

impl Feed {
    fn new(app: web::Data<App>, after: i64) -> Self {
        Self { news: app.booker.position(), app, after }
    }

    /// The next events; none when the reader has them all.
    async fn next(&mut self, limit: u64) -> Result<Vec<Event>, StoreError> {
        // Marked before the question, so that what is booked meanwhile wakes the next wait.
        self.news.mark_unchanged();
        if events::last_position(&self.app.db).await? <= self.after {
            return Ok(Vec::new());
        }
        let names = merchants::all(&self.app.db).await?;
        let events = events::after(&self.app.db, &names, self.after, limit).await?;
        self.after = events.last().map_or(self.after, |last| last.position);
        Ok(events)
    }

    /// Ends when there may be something new; false when the process stops.
    async fn wake(&mut self) -> bool {
        tokio::select! {
            () = self.app.stop.cancelled() => false,
            Ok(()) = self.news.changed() => true,
            () = sleep(POLL) => true,
        }
    }

    /// The next events, waited for no longer than `wait`.
    async fn poll(&mut self, limit: u64, wait: Duration) -> Result<Vec<Event>, StoreError> {
        let events = self.next(limit).await?;
        if !events.is_empty() || wait.is_zero() {
            return Ok(events);
        }
        let until_some = async {
            while self.wake().await {
                let events = self.next(limit).await?;
                if !events.is_empty() {
                    return Ok(events);
                }
            }
            Ok(Vec::new())
        };
        timeout(wait, until_some).await.unwrap_or_else(|_elapsed| Ok(Vec::new()))
    }

    /// The next piece of a stream: events, or a sign of life. `None` ends it.
    async fn piece(&mut self) -> Option<web::Bytes> {
        let heartbeat = Instant::now().checked_add(HEARTBEAT)?;
        loop {
            match self.next(STREAM_PAGE).await {
                Ok(events) if events.is_empty() => {}
                Ok(events) => return Some(frames(&events)),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "A stream of events ends; its reader comes back");
                    return None;
                }
            }
            tokio::select! {
                is_on = self.wake() => if !is_on { return None },
                () = sleep_until(heartbeat) => return Some(web::Bytes::from_static(b": still here\n\n")),
            }
        }
    }
}

/// `GET /api/events`
pub(super) async fn list(request: HttpRequest, app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::parse(request.query_string(), &["after", "limit", "wait"])?;
    let (limit, after) = (params.limit()?, params.position("after")?.unwrap_or_default());
    let wait = Duration::from_secs(params.number("wait", 0, WAIT_S_MAX, 0)?);
    let mut feed = Feed::new(app, after);
    let events = feed.poll(limit, wait).await?;
    let page = shape::event_page(&events, feed.after);
    Ok(HttpResponse::Ok().content_type("application/json").body(page))
}

/// `GET /api/events/stream`: goes on after `Last-Event-ID`, which a browser sends by itself, else after `after`.
pub(super) async fn stream(request: HttpRequest, app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::parse(request.query_string(), &["after"])?;
    let last = match request.headers().get(LAST_EVENT_ID) {
        Some(last) => Some(position("Last-Event-ID", last.to_str().unwrap_or_default())?),
        None => params.position("after")?,
    };
    let feed = Feed::new(app, last.unwrap_or_default());
    let hello = web::Bytes::from_static(b"retry: 1000\n\n");
    let pieces = stream::unfold((Some(hello), feed), async |(hello, mut feed)| {
        let piece = match hello {
            Some(hello) => hello,
            None => feed.piece().await?,
        };
        Some((Ok::<_, Infallible>(piece), (None, feed)))
    });
    let response = HttpResponse::Ok().content_type("text/event-stream").streaming(pieces);
    Ok(response)
}

/// The event's bytes are one line of JSON.
fn frames(events: &[Event]) -> web::Bytes {
    let mut frames = Vec::new();
    for event in events {
        frames.extend_from_slice(format!("id: {}\ndata: ", event.position).as_bytes());
        frames.extend_from_slice(&event.body);
        frames.extend_from_slice(b"\n\n");
    }
    frames.into()
}
