//! The rows of a full run and the bars that are judged by them: which figure of which row, divided
//! by which other, and where floor and aim lie.

use crate::row::{Figures, Row, Store, Target};

/// How a bar reads the figures of one round.
pub(crate) enum Reading {
    /// Answers per second of one row divided by those of another.
    Ratio(&'static str, &'static str),
    /// Answers per second.
    Rate(&'static str),
    P99Ms(&'static str),
    /// Seconds of traffic that waited to be published when the load stopped.
    BacklogSeconds(&'static str),
    RssMb(&'static str),
}

pub(crate) struct Bar {
    pub(crate) name: &'static str,
    pub(crate) reading: Reading,
    pub(crate) floor: f64,
    pub(crate) aim: f64,
}

/// One figure against its bar.
pub(crate) struct Judged {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// One for each round, in the order of the rounds.
    pub(crate) rounds: Vec<f64>,
    pub(crate) median: f64,
    pub(crate) floor: f64,
    pub(crate) aim: f64,
    pub(crate) more_is_better: bool,
}

impl Judged {
    pub(crate) fn new(
        name: &str,
        unit: &'static str,
        rounds: Vec<f64>,
        floor_aim: (f64, f64),
        more_is_better: bool,
    ) -> Self {
        let (median, (floor, aim)) = (median(&rounds), floor_aim);
        Self { name: name.to_owned(), unit, rounds, median, floor, aim, more_is_better }
    }

    pub(crate) fn mark(&self) -> &'static str {
        let reaches = |bar: f64| {
            if self.more_is_better { self.median >= bar } else { self.median <= bar }
        };
        match (reaches(self.floor), reaches(self.aim)) {
            (_, true) => "met aim",
            (true, false) => "met floor",
            (false, false) => "BELOW",
        }
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (Some(value), 1) => *value,
        (Some(value), _) => (value + sorted[middle - 1]) / 2.0,
        (None, _) => f64::NAN,
    }
}

const TALLYHOOK: Row = Row {
    name: "tallyhook 64",
    target: Target::Tallyhook,
    store: Store::Postgres,
    broker: false,
    connections: 64,
    rate: None,
    hot: false,
    repeats_permille: 0,
};
const FORWARD: Row = Row { name: "forward 64", target: Target::Forward, broker: true, ..TALLYHOOK };
const NAIVE: Row = Row { name: "naive 64", target: Target::Naive, ..TALLYHOOK };

/// In the order in which a round runs them: what is compared runs close together.
pub(crate) fn rows() -> Vec<Row> {
    vec![
        FORWARD,
        TALLYHOOK,
        Row { name: "tallyhook 64 repeats", repeats_permille: 100, ..TALLYHOOK },
        Row { name: "tallyhook 64 publishing", broker: true, ..TALLYHOOK },
        NAIVE,
        Row { name: "forward 256", connections: 256, ..FORWARD },
        Row { name: "tallyhook 256", connections: 256, ..TALLYHOOK },
        Row { name: "tallyhook 256 publishing", connections: 256, broker: true, ..TALLYHOOK },
        Row { name: "naive 256", connections: 256, ..NAIVE },
        Row { name: "tallyhook 256 hot", connections: 256, hot: true, ..TALLYHOOK },
        Row { name: "naive 256 hot", connections: 256, hot: true, ..NAIVE },
        // Sockets enough that none is waited for: with few, what is measured is how fast these get their answers.
        Row { name: "tallyhook 9000/s", connections: 256, rate: Some(9000), ..TALLYHOOK },
        Row { name: "tallyhook 64 sqlite", store: Store::Sqlite, ..TALLYHOOK },
    ]
}

pub(crate) fn bars() -> Vec<Bar> {
    let mut all = comparisons();
    all.extend(measures());
    all
}

fn bar(name: &'static str, reading: Reading, floor: f64, aim: f64) -> Bar {
    Bar { name, reading, floor, aim }
}

/// Against the baselines.
fn comparisons() -> Vec<Bar> {
    vec![
        bar("booked / forwarded, 64", Reading::Ratio("tallyhook 64", "forward 64"), 0.7, 1.25),
        bar("booked / forwarded, 256", Reading::Ratio("tallyhook 256", "forward 256"), 1.0, 1.75),
        bar("published / forwarded, 64", Reading::Ratio("tallyhook 64 publishing", "forward 64"), 0.5, 0.9),
        bar("backlog left, 64 publishing", Reading::BacklogSeconds("tallyhook 64 publishing"), 1.0, 1.0),
        bar("booked / naive, 64", Reading::Ratio("tallyhook 64", "naive 64"), 5.0, 7.0),
        bar("booked / naive, 256", Reading::Ratio("tallyhook 256", "naive 256"), 9.0, 11.0),
        bar("booked / naive, one hot customer", Reading::Ratio("tallyhook 256 hot", "naive 256 hot"), 18.0, 20.0),
    ]
}

/// Tallyhook by itself.
fn measures() -> Vec<Bar> {
    vec![
        bar("p99 at 9,000/s", Reading::P99Ms("tallyhook 9000/s"), 8.0, 3.0),
        bar("SQLite", Reading::Rate("tallyhook 64 sqlite"), 4000.0, 10_000.0),
        bar("10 % repeats / none", Reading::Ratio("tallyhook 64 repeats", "tallyhook 64"), 0.95, 1.0),
        bar("memory, 64 publishing", Reading::RssMb("tallyhook 64 publishing"), 48.0, 24.0),
        bar("memory, 256 publishing", Reading::RssMb("tallyhook 256 publishing"), 64.0, 40.0),
    ]
}

impl Bar {
    /// The bar's figure in each round that has the rows it needs.
    pub(crate) fn judge<'a>(&self, rounds: usize, find: impl Fn(usize, &str) -> Option<&'a Figures>) -> Option<Judged> {
        let values: Vec<f64> = (0..rounds).filter_map(|round| self.value(|row| find(round, row))).collect();
        let (unit, more_is_better) = match self.reading {
            Reading::Ratio(..) => ("x", true),
            Reading::Rate(_) => ("/s", true),
            Reading::P99Ms(_) => ("ms", false),
            Reading::BacklogSeconds(_) => ("s", false),
            Reading::RssMb(_) => ("MB", false),
        };
        (!values.is_empty()).then(|| Judged::new(self.name, unit, values, (self.floor, self.aim), more_is_better))
    }

    fn value<'a>(&self, find: impl Fn(&str) -> Option<&'a Figures>) -> Option<f64> {
        match self.reading {
            Reading::Ratio(above, below) => Some(find(above)?.rate / find(below)?.rate),
            Reading::Rate(row) => Some(find(row)?.rate),
            Reading::P99Ms(row) => Some(find(row)?.p99_ms),
            Reading::BacklogSeconds(row) => find(row).and_then(|f| Some(f.backlog?.0 as f64 / f.rate)),
            Reading::RssMb(row) => Some(find(row)?.usage.rss_kib? as f64 / 1024.0),
        }
    }
}
