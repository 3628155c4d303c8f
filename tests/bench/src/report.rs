//! Prints: one line a row while a run goes on, two tables at its end, and everything as JSON.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::bars::Judged;
use crate::procfs;
use crate::row::{Figures, Row};

/// A measured row.
pub(crate) struct Done {
    pub(crate) row: Row,
    pub(crate) round: usize,
    pub(crate) figures: Figures,
}

const ROW_HEAD: [&str; 12] = [
    "row",
    "round",
    "200s/s",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "not 200",
    "RSS MB",
    "cpu app",
    "cpu pg",
    "cpu rabbit",
    "cpu gen",
];
const BAR_HEAD: [&str; 6] = ["bar", "median", "rounds", "floor", "aim", ""];

/// Columns as wide as their widest cell; the first to the left, the others to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width =
        |n: usize| rows.iter().filter_map(|row| row.get(n)).map(String::len).chain([head[n].len()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (n, (cell, width)) in cells.zip(&widths).enumerate() {
            let gap = " ".repeat(width.saturating_sub(cell.len()));
            text += &if n == 0 { format!("{cell}{gap}") } else { format!("  {gap}{cell}") };
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut head.iter().copied());
    text += &(widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join("  ") + "\n");
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

pub(crate) fn print_done(done: &Done) {
    let f = &done.figures;
    let extra = [
        f.verdict.as_ref().map(crate::check::Verdict::summary),
        f.backlog.map(|(events, seconds)| format!("backlog {events}, published {seconds:.1} s later")),
        (f.broken > 0).then(|| format!("{} broken connections", f.broken)),
        (f.late_unsent > 0).then(|| format!("{} due requests could not be sent", f.late_unsent)),
        f.deck_ran_out.then(|| {
            "the signed requests ran out: measured over a shorter time (raise --signed-per-second)".to_owned()
        }),
    ];
    let extra = extra.into_iter().flatten().collect::<Vec<_>>().join("; ");
    println!(
        "round {} {:<26} {:>8.0}/s  p50 {:>7.2}  p99 {:>7.2} ms  {extra}",
        done.round + 1,
        done.row.name,
        f.rate,
        f.p50_ms,
        f.p99_ms
    );
}

fn row_cells(done: &Done) -> Vec<String> {
    let (f, u) = (&done.figures, &done.figures.usage);
    let cores = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    let rss = u.rss_kib.map_or("-".to_owned(), |kib| format!("{:.1}", kib as f64 / 1024.0));
    let mut cells = vec![done.row.name.to_owned(), (done.round + 1).to_string(), format!("{:.0}", f.rate)];
    cells.extend([f.p50_ms, f.p99_ms, f.p999_ms].map(|ms| format!("{ms:.2}")));
    cells.extend([f.not_200.to_string(), rss, cores(u.server), cores(u.postgres), cores(u.beam), cores(u.generator)]);
    cells
}

pub(crate) fn number(value: f64, unit: &str) -> String {
    if unit == "/s" { format!("{value:.0} {unit}") } else { format!("{value:.2} {unit}") }
}

fn bar_cells(bar: &Judged) -> Vec<String> {
    let rounds = bar.rounds.iter().map(|value| number(*value, "").trim().to_owned()).collect::<Vec<_>>().join(" ");
    let sign = if bar.more_is_better { ">=" } else { "<=" };
    let limit = |value: f64| format!("{sign} {}", number(value, bar.unit));
    vec![
        bar.name.clone(),
        number(bar.median, bar.unit),
        rounds,
        limit(bar.floor),
        limit(bar.aim),
        bar.mark().to_owned(),
    ]
}

pub(crate) fn print_rows(done: &[Done]) {
    println!("\n{}", table(&ROW_HEAD, &done.iter().map(row_cells).collect::<Vec<_>>()));
}

pub(crate) fn print_bars(bars: &[Judged]) {
    println!("\n{}", table(&BAR_HEAD, &bars.iter().map(bar_cells).collect::<Vec<_>>()));
}

fn row_json(done: &Done) -> Value {
    let (f, u) = (&done.figures, &done.figures.usage);
    let verdict = f.verdict.as_ref().map(|v| {
        json!({
            "right": v.is_right(), "acknowledged": v.acknowledged, "booked": v.booked, "verify_seconds": v.verify_seconds,
            "queued": v.queued.map(|(messages, repeated)| json!({"messages": messages, "repeated": repeated})), "wrong": v.wrong,
        })
    });
    json!({
        "row": done.row.name, "round": done.round + 1, "connections": done.row.connections, "rate_per_second": f.rate,
        "p50_ms": f.p50_ms, "p99_ms": f.p99_ms, "p999_ms": f.p999_ms, "max_ms": f.max_ms, "not_200": f.not_200,
        "broken_connections": f.broken, "late_unsent": f.late_unsent, "deck_ran_out": f.deck_ran_out,
        "rss_kib": u.rss_kib, "rss_max_kib": u.rss_max_kib,
        "cores": {"server": u.server, "postgres": u.postgres, "rabbitmq": u.beam, "generator": u.generator},
        "backlog": f.backlog.map(|(events, seconds)| json!({"events": events, "published_after_seconds": seconds})),
        "check": verdict,
    })
}

fn bar_json(bar: &Judged) -> Value {
    json!({
        "bar": bar.name, "unit": bar.unit, "median": bar.median, "rounds": bar.rounds, "floor": bar.floor, "aim": bar.aim,
        "more_is_better": bar.more_is_better, "mark": bar.mark(),
    })
}

pub(crate) fn write_json(file: Option<&Path>, done: &[Done], bars: &[Judged], more: &Value) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let whole = json!({
        "machine": {"processor": procfs::processor(), "memory_gib": procfs::memory_total_gib()},
        "rows": done.iter().map(row_json).collect::<Vec<_>>(),
        "bars": bars.iter().map(bar_json).collect::<Vec<_>>(),
        "more": more,
    });
    let text = serde_json::to_string_pretty(&whole)? + "\n";
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

/// An error when a callback was not booked as it should have been.
pub(crate) fn insist(done: &[Done]) -> Result<()> {
    let bad = |done: &&Done| done.figures.verdict.as_ref().is_some_and(|verdict| !verdict.is_right());
    if let Some(found) = done.iter().find(bad) {
        let verdict = found.figures.verdict.as_ref().map(crate::check::Verdict::summary).unwrap_or_default();
        anyhow::bail!("{} in round {}: {verdict}", found.row.name, found.round + 1);
    }
    Ok(())
}
