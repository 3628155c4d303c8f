//! The board of reconciliation: what agrees, what is open by age and value, what the processor is asked about, how it
//! went over the runs, outages of reception, the exports that were imported, and a button to run it now.

use std::collections::BTreeMap;

use actix_web::web;
use askama::Template;

use super::show::{Badge, Dash, Names, Raw, When, duration, words};
use super::{Answer, Frame, html, query_of, see};
use crate::app::App;
use crate::config::Role;
use crate::domain::amount::Amount;
use crate::domain::expected::By;
use crate::domain::ids::MerchantId;
use crate::domain::outage::Span;
use crate::domain::reconcile::Verdict;
use crate::http::admin::board::begin;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::outbound::outages;
use crate::store::reconcile::{self, Run};
use crate::store::{asks, board, exports};

/// Runs that the trend shows.
const RUNS: u64 = 60;
const EXPORTS: u64 = 20;
const OUTAGES: u64 = 20;
/// Open differences, and questions, that are listed, the oldest first.
const LISTED: usize = 50;
const ASKED: u64 = 50;
const HOUR_US: i64 = 3_600_000_000;
/// Ages, by what they are less than.
const AGES: [(&str, i64); 4] = [
    ("less than an hour", HOUR_US),
    ("less than a day", 24 * HOUR_US),
    ("less than a week", 168 * HOUR_US),
    ("a week or more", i64::MAX),
];

#[derive(Template)]
#[template(path = "reconciliation.html")]
struct Board {
    frame: Frame,
    may_run: bool,
    tiles: Vec<(&'static str, String, &'static str)>,
    lines: Vec<Line>,
    silent: Vec<(String, String)>,
    ages: Vec<(&'static str, usize, String)>,
    open: Vec<Open>,
    asked: Vec<Asked>,
    outages: Vec<Outage>,
    runs: usize,
    trend: Raw,
    exports: Vec<Export>,
}

/// A currency of a merchant, as the last run found it.
struct Line {
    merchant: String,
    currency: String,
    verdict: Badge,
    ours: Amount,
    theirs: Amount,
    in_flight: Amount,
    difference: Dash,
    age: Dash,
    discrepancy: Option<i64>,
    at: When,
}

struct Open {
    id: i64,
    merchant: String,
    reason: String,
    amount: Amount,
    currency: String,
    age: String,
}

/// What should be over by now, and what the processor is asked about.
struct Asked {
    kind: &'static str,
    merchant: String,
    reference: String,
    /// Where it is looked up, if it has a page.
    link: Option<String>,
    amount: Dash,
    age: String,
    times: i32,
    next: When,
    discrepancy: Option<i64>,
}

struct Outage {
    from: When,
    to: When,
    length: String,
    told: String,
}

struct Export {
    id: i64,
    merchant: String,
    file: String,
    at: When,
    rows: i64,
    matched: i64,
    differences: i64,
    duplicates: i64,
    open: u64,
    state: Badge,
}

/// `GET /reconciliation`
pub(super) async fn show(caller: Caller, app: web::Data<App>) -> Answer {
    let now_us = (app.clock)();
    let (mut lines, mut silent) = (Vec::new(), Vec::new());
    let runs = reconcile::runs(&app.db, i64::MAX, RUNS).await?;
    for (id, name) in &app.names.0 {
        if let Some(run) = reconcile::last(&app.db, MerchantId(*id)).await? {
            lines.extend(run.lines.iter().map(|line| described(name, &run, line, now_us)));
        }
        let latest = runs.iter().find(|run| run.merchant.0 == *id);
        silent.extend(latest.and_then(|run| run.error.clone()).map(|error| (name.clone(), error)));
    }
    let open = board::open(&app.db).await?;
    let (overdue, _) = asks::counts(&app.db).await?;
    let matched = lines.iter().filter(|line| !matches!(line.verdict.0, "waiting" | "open")).count();
    let frame = Frame::new(&app, &caller, "/reconciliation", "Reconciliation");
    Ok(html(&Board {
        may_run: caller.role >= Role::Operator,
        tiles: vec![
            ("Agree", matched.to_string(), "currencies of merchants, at the last run"),
            ("Differ", lines.len().saturating_sub(matched).to_string(), "currencies of merchants, at the last run"),
            ("Open", open.len().to_string(), "differences that someone must look at"),
            ("Asked about", overdue.to_string(), "payments that should be over by now"),
        ],
        ages: ages(&open, now_us),
        open: open.iter().take(LISTED).map(|open| listed(&app, open, now_us)).collect(),
        asked: asked(&app, now_us).await?,
        outages: outages::latest(&app.db, OUTAGES).await?.into_iter().map(outage).collect(),
        runs: runs.len(),
        trend: trend(&runs),
        exports: imported(&app).await?,
        frame,
        lines,
        silent,
    }))
}

/// `POST /reconciliation/run`
pub(super) async fn run(caller: Caller, app: web::Data<App>) -> Answer {
    begin(&app, &caller).await?;
    Ok(see("/reconciliation"))
}

fn described(merchant: &str, run: &Run, line: &reconcile::Line, now_us: i64) -> Line {
    Line {
        merchant: merchant.to_owned(),
        currency: line.currency.clone(),
        verdict: Badge(line.verdict.word()),
        ours: line.sides.ours,
        theirs: line.sides.theirs,
        in_flight: line.sides.in_flight,
        difference: Dash(line.sides.difference().filter(|gap| !gap.is_zero()).map(|gap| gap.to_string())),
        age: Dash(line.since_us.map(|since_us| duration(now_us.saturating_sub(since_us)))),
        discrepancy: line.discrepancy,
        at: When(run.began_us),
    }
}

fn listed(app: &App, open: &board::Open, now_us: i64) -> Open {
    Open {
        id: open.discrepancy,
        merchant: app.merchant_name(open.merchant).to_owned(),
        reason: words(open.reason.word()),
        amount: open.amount,
        currency: open.currency.clone(),
        age: duration(now_us.saturating_sub(open.opened_us)),
    }
}

async fn asked(app: &App, now_us: i64) -> Result<Vec<Asked>, ApiError> {
    let names = Names::of(app);
    let asks = asks::list(&app.db, false, ASKED).await?;
    let row = |ask: asks::Ask| Asked {
        kind: ask.expected.word(),
        merchant: app.merchant_name(ask.merchant).to_owned(),
        link: match ask.by {
            By::Id => Some(format!("/payments{}", query_of(&[("q", &ask.reference)]))),
            By::Callback => Some(format!("/callbacks/{}", ask.reference)),
            By::ForeignId => None,
        },
        amount: Dash(ask.amount.zip(ask.currency).map(|(amount, currency)| format!("{amount} {currency}"))),
        age: duration(now_us.saturating_sub(ask.since_us)),
        times: ask.attempts,
        next: When(ask.next_us),
        discrepancy: ask.discrepancy,
        reference: if ask.by == By::ForeignId { names.show(ask.reference) } else { ask.reference },
    };
    Ok(asks.into_iter().map(row).collect())
}

fn outage((span, told): (Span, String)) -> Outage {
    Outage { from: When(span.from_us), to: When(span.to_us), length: duration(span.length_us()), told }
}

/// How many are how old, and what they are worth in each currency.
fn ages(open: &[board::Open], now_us: i64) -> Vec<(&'static str, usize, String)> {
    let mut least = i64::MIN;
    let mut rows = Vec::new();
    for (label, most) in AGES {
        let is_so_old = |open: &&board::Open| {
            let age_us = now_us.saturating_sub(open.opened_us).max(0);
            least <= age_us && age_us < most
        };
        let mut sums: BTreeMap<&str, Amount> = BTreeMap::new();
        let mut count = 0_usize;
        for open in open.iter().filter(is_so_old) {
            let sum = sums.entry(&open.currency).or_default();
            *sum = sum.checked_add(open.amount).unwrap_or(*sum);
            count = count.saturating_add(1);
        }
        let worth: Vec<String> = sums.iter().map(|(currency, sum)| format!("{sum} {currency}")).collect();
        rows.push((label, count, worth.join(", ")));
        least = most;
    }
    rows
}

async fn imported(app: &App) -> Result<Vec<Export>, ApiError> {
    let mut rows = Vec::new();
    for export in exports::list(&app.db, i64::MAX, EXPORTS).await? {
        let open = exports::open_rows(&app.db, export.id).await?;
        rows.push(Export {
            id: export.id,
            merchant: app.merchant_name(export.merchant).to_owned(),
            at: When(export.began_us),
            rows: export.rows,
            matched: export.counts.matched,
            differences: export.counts.differences(),
            duplicates: export.counts.duplicates,
            open,
            state: Badge(match (export.ended_us, open) {
                (None, _) => "attention",
                (Some(_), 0) => "done",
                (Some(_), _) => "open",
            }),
            file: export.file,
        });
    }
    Ok(rows)
}

const BAR: u64 = 10;
const HEIGHT: u64 = 80;

/// A bar for each run, oldest first: what agreed below, what differed above. Drawn here, so it needs no script.
fn trend(runs: &[Run]) -> Raw {
    let most = runs.iter().map(|run| run.lines.len()).max().unwrap_or_default().max(1);
    let scaled = |count: usize| {
        let count = u64::try_from(count).unwrap_or_default();
        count.saturating_mul(HEIGHT).div_euclid(u64::try_from(most).unwrap_or(u64::MAX).max(1))
    };
    let width = BAR.saturating_mul(RUNS);
    let mut svg = format!(
        "<svg class=\"trend\" viewBox=\"0 0 {width} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"Currencies that agree and that differ, over the last {} runs\">",
        runs.len()
    );
    for (at, run) in (0_u64..).zip(runs.iter().rev()) {
        let x = at.saturating_mul(BAR);
        let open = run.lines.iter().filter(|line| line.verdict == Verdict::Open).count();
        let waiting = run.lines.iter().filter(|line| line.verdict == Verdict::Waiting).count();
        let fine = run.lines.len().saturating_sub(open).saturating_sub(waiting);
        let mut y = HEIGHT;
        let failed = usize::from(run.error.is_some()).saturating_mul(most);
        for (class, count) in [("fine", fine), ("waiting", waiting), ("open", open), ("silent", failed)] {
            let height = scaled(count);
            y = y.saturating_sub(height);
            if height > 0 {
                let wide = BAR.saturating_sub(2);
                svg.push_str(&format!(
                    "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{height}\"/>"
                ));
            }
        }
    }
    svg.push_str("</svg>");
    Raw(svg)
}
