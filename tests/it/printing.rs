//! What is printed: lists in their four shapes, the metrics page.

use std::time::Duration;

use serde_json::json;
use tallyhook::cli::output::{Listing, Output};
use tallyhook::metrics::Metrics;

fn listing() -> Listing {
    let mut listing = Listing::new(&["id", "reference"]);
    listing.push([json!(7), json!("a \"b\", c")]);
    listing.push([json!(12), json!("\u{1b}[31mred\n")]);
    listing.push([json!(13), json!(null)]);
    listing
}

#[test]
fn a_table_cannot_steer_the_terminal() {
    let table = listing().render(Output::Table).expect("it renders");
    assert_eq!(table, "ID  REFERENCE\n7   a \"b\", c\n12  \\u{1b}[31mred\\n\n13\n");
}

#[test]
fn csv_quotes_what_would_break_a_line() {
    let csv = listing().render(Output::Csv).expect("it renders");
    assert_eq!(csv, "id,reference\n7,\"a \"\"b\"\", c\"\n12,\"\u{1b}[31mred\n\"\n13,\n");
}

#[test]
fn ndjson_is_one_object_a_line_and_json_one_list() {
    let lines = listing().render(Output::Ndjson).expect("it renders");
    assert_eq!(lines.lines().count(), 3);
    assert_eq!(lines.lines().last(), Some(r#"{"id":13,"reference":null}"#));
    let list: serde_json::Value =
        serde_json::from_str(&listing().render(Output::Json).expect("it renders")).expect("JSON");
    assert_eq!(list.as_array().map(Vec::len), Some(3));
    assert_eq!(Listing::new(&["id"]).render(Output::Json).expect("it renders"), "[]\n");
}

#[test]
fn histograms_add_up_and_times_are_seconds() {
    let metrics = Metrics::default();
    for us in [500, 1_500, 9_000_000] {
        metrics.callback_us.observe_time(Duration::from_micros(us));
    }
    metrics.callbacks.duplicate.add(2);
    metrics.publishing_blocked.raise(true);
    let page = metrics.render();
    let has = |line: &str| assert!(page.lines().any(|other| other == line), "no {line} in\n{page}");
    has("tallyhook_callback_seconds_bucket{le=\"0.0005\"} 1");
    has("tallyhook_callback_seconds_bucket{le=\"5\"} 2");
    has("tallyhook_callback_seconds_bucket{le=\"+Inf\"} 3");
    has("tallyhook_callback_seconds_sum 9.002000");
    has("tallyhook_callbacks_total{state=\"duplicate\"} 2");
    has("tallyhook_publishing_blocked 1");
    let is_sound = |line: &str| line.starts_with("# ") || line.starts_with("tallyhook_");
    assert!(page.ends_with('\n') && page.lines().all(is_sound), "{page}");
}
