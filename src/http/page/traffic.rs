//! Traffic and latency of the last hour: as numbers for everybody, and as JSON for the charts.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::Answer;
use super::show::When;
use crate::app::App;
use crate::metrics::history::{EVERY_S, Sample};

/// Samples in a minute.
const MINUTE: usize = 12;

/// A minute in numbers.
pub(super) struct Minute {
    pub at: When,
    pub taken: u64,
    pub refused: u64,
    pub p50: String,
    pub p99: String,
}

/// `GET /live/traffic`
pub(super) async fn series(app: web::Data<App>) -> Answer {
    let samples = app.metrics.history.samples();
    let of = |value: fn(&Sample) -> u64| samples.iter().map(value).collect::<Vec<_>>();
    let at_s: Vec<i64> = samples.iter().map(|sample| sample.at_us.div_euclid(1_000_000)).collect();
    Ok(HttpResponse::Ok().json(json!({
        "every_s": EVERY_S,
        "at_s": at_s,
        "taken": of(|sample| sample.taken),
        "refused": of(|sample| sample.refused),
        "p50_us": of(|sample| sample.p50_us),
        "p99_us": of(|sample| sample.p99_us),
    })))
}

/// The latest minutes, newest first. A minute is as slow as its slowest sample.
pub(super) fn minutes(app: &App) -> Vec<Minute> {
    let samples = app.metrics.history.samples();
    samples.rchunks(MINUTE).take(10).map(minute).collect()
}

fn minute(samples: &[Sample]) -> Minute {
    let sum = |value: fn(&Sample) -> u64| samples.iter().map(value).fold(0, u64::saturating_add);
    let slowest = |value: fn(&Sample) -> u64| samples.iter().map(value).max().unwrap_or_default();
    Minute {
        at: When(samples.last().map_or(0, |sample| sample.at_us)),
        taken: sum(|sample| sample.taken),
        refused: sum(|sample| sample.refused),
        p50: millis(slowest(|sample| sample.p50_us)),
        p99: millis(slowest(|sample| sample.p99_us)),
    }
}

fn millis(us: u64) -> String {
    if us == 0 {
        return "–".to_owned();
    }
    format!("{}.{} ms", us.div_euclid(1_000), us.rem_euclid(1_000).div_euclid(100))
}
