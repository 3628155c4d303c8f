//! Reads a request's body, whole: no longer than the limit, no slower than the limit.

use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap};
use actix_web::web::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

use crate::config::Limits;

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    TooLarge,
    TooSlow,
    Broken,
}

/// The body that `payload` brings.
pub async fn read(
    headers: &HeaderMap,
    mut payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    limits: &Limits,
) -> Result<Vec<u8>, Cut> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limits.body_bytes) {
        return Err(Cut::TooLarge);
    }
    let collect = async {
        let mut body = Vec::with_capacity(announced.unwrap_or(2048));
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_incomplete| Cut::Broken)?;
            if body.len().saturating_add(chunk.len()) > limits.body_bytes {
                return Err(Cut::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    timeout(Duration::from_millis(limits.body_timeout_ms), collect).await.unwrap_or(Err(Cut::TooSlow))
}
