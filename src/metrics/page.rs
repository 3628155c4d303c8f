//! The text format 0.0.4 of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::{Counter, Gauge, Histogram};

pub(super) struct Page(pub(super) String);

impl Page {
    /// Writing to a `String` cannot fail.
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.0.write_fmt(line).expect("a String takes every write");
    }

    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP tallyhook_{name} {help}\n# TYPE tallyhook_{name} {kind}\n"));
    }

    pub(super) fn sample(&mut self, name: &str, labels: &str, value: &str) {
        self.line(format_args!("tallyhook_{name}{labels} {value}\n"));
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.family(name, "counter", help);
        self.sample(name, "", &counter.get().to_string());
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, gauge: &Gauge) {
        self.family(name, "gauge", help);
        self.sample(name, "", &gauge.get().to_string());
    }

    pub(super) fn labelled(&mut self, name: &str, help: &str, label: &str, counters: &[(&str, &Counter)]) {
        self.family(name, "counter", help);
        for (value, counter) in counters {
            self.sample(name, &format!("{{{label}=\"{value}\"}}"), &counter.get().to_string());
        }
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram, unit: fn(u64) -> String) {
        self.family(name, "histogram", help);
        let mut below: u64 = 0;
        for ((_, bound), count) in histogram.bounds.iter().zip(&histogram.counts) {
            below = below.saturating_add(count.load(Ordering::Relaxed));
            self.sample(name, &format!("_bucket{{le=\"{bound}\"}}"), &below.to_string());
        }
        // Never less than a bucket, though another thread counts meanwhile.
        let all = histogram.count.load(Ordering::Relaxed).max(below).to_string();
        self.sample(name, "_bucket{le=\"+Inf\"}", &all);
        self.sample(name, "_sum", &unit(histogram.sum.load(Ordering::Relaxed)));
        self.sample(name, "_count", &all);
    }
}

/// Microseconds as seconds.
pub(super) fn seconds(us: u64) -> String {
    format!("{}.{:06}", us.div_euclid(1_000_000), us.rem_euclid(1_000_000))
}

/// Milliseconds as seconds.
pub(super) fn thousandths(ms: u64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}
