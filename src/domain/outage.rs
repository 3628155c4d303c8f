//! What an outage of reception does to the processor's repeats. Pure: the documented schedule, and intervals of time.
//!
//! A callback that is not answered 200 is sent again after each of [`DELAYS_MIN`], counted from the attempt before, and
//! then never again by itself. Attempts that end in a time-out make the schedule a little later than it is here, so
//! rather too much counts as lost than too little.

/// Minutes between an attempt and the next.
pub const DELAYS_MIN: [i64; 12] = [1, 5, 15, 30, 60, 90, 120, 180, 240, 240, 240, 240];
const MINUTE_US: i64 = 60_000_000;

/// From a moment up to another, which is no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub from_us: i64,
    pub to_us: i64,
}

/// Callbacks that come back by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeat {
    /// The first repeat is 1.
    pub attempt: usize,
    /// When they were first sent.
    pub first: Span,
    /// When they come.
    pub back: Span,
}

/// What becomes of the callbacks that were first sent during an outage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    pub repeats: Vec<Repeat>,
    /// Those first sent then had every attempt in an outage: they can't come back by themselves.
    pub lost: Vec<Span>,
    /// Until when the processor repeats by itself what the outage missed.
    pub until_us: i64,
}

impl Span {
    pub const fn is_empty(self) -> bool {
        self.to_us <= self.from_us
    }

    pub const fn length_us(self) -> i64 {
        self.to_us.saturating_sub(self.from_us)
    }

    const fn later(self, by_us: i64) -> Self {
        Self { from_us: self.from_us.saturating_add(by_us), to_us: self.to_us.saturating_add(by_us) }
    }

    fn shared(self, other: Self) -> Self {
        Self { from_us: self.from_us.max(other.from_us), to_us: self.to_us.min(other.to_us) }
    }
}

/// How long the processor repeats a callback.
pub const fn schedule_us() -> i64 {
    let mut sum: i64 = 0;
    let mut rest = DELAYS_MIN.as_slice();
    while let Some((delay, more)) = rest.split_first() {
        sum = sum.saturating_add(*delay);
        rest = more;
    }
    sum.saturating_mul(MINUTE_US)
}

/// What becomes of the callbacks that were first sent during `outage`. `all`: every outage around it, itself included,
/// because a repeat may fall into another one.
pub fn outlook(outage: Span, all: &[Span]) -> Outlook {
    let all = merged(all.iter().copied().chain([outage]).collect());
    let mut unheard = vec![outage];
    let mut outlook = Outlook { repeats: Vec::new(), lost: Vec::new(), until_us: outage.to_us };
    let mut offset_us: i64 = 0;
    for (before, delay) in DELAYS_MIN.iter().enumerate() {
        offset_us = offset_us.saturating_add(delay.saturating_mul(MINUTE_US));
        let attempt = before.saturating_add(1);
        let missed: Vec<Span> = all.iter().map(|span| span.later(offset_us.saturating_neg())).collect();
        for first in without(&unheard, &missed) {
            let back = first.later(offset_us);
            outlook.until_us = outlook.until_us.max(back.to_us);
            outlook.repeats.push(Repeat { attempt, first, back });
        }
        unheard = shared(&unheard, &missed);
    }
    outlook.lost = unheard;
    outlook
}

/// In order, with those that touch joined.
fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::new();
    for span in spans.into_iter().filter(|span| !span.is_empty()) {
        match merged.last_mut().filter(|last| span.from_us <= last.to_us) {
            Some(last) => last.to_us = last.to_us.max(span.to_us),
            None => merged.push(span),
        }
    }
    merged
}

fn shared(left: &[Span], right: &[Span]) -> Vec<Span> {
    let pairs = left.iter().flat_map(|one| right.iter().map(|other| one.shared(*other)));
    merged(pairs.collect())
}

/// What of `left` no span of `right` covers; `right` is in order.
fn without(left: &[Span], right: &[Span]) -> Vec<Span> {
    let mut rest = Vec::new();
    for span in left {
        let mut from_us = span.from_us;
        for hole in right.iter().filter(|hole| !span.shared(**hole).is_empty()) {
            rest.push(Span { from_us, to_us: hole.from_us });
            from_us = from_us.max(hole.to_us);
        }
        rest.push(Span { from_us, to_us: span.to_us });
    }
    rest.retain(|span| !span.is_empty());
    rest
}
