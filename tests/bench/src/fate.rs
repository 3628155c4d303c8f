//! What became of each body of a deck, noted by the sockets of a load and read by the checker.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::deck::Deck;

/// What is known about a body. A later state wins: one 200 among several answers is a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Unsent,
    /// Answered, but not with 200.
    Refused,
    /// Sent, and no answer came.
    Unknown,
    Acknowledged,
}

/// What became of the bodies of a deck, by their place in it.
pub(crate) struct Fates {
    pub(crate) first: u64,
    marks: Vec<AtomicU8>,
}

impl Fates {
    pub(crate) fn new(deck: &Deck) -> Self {
        Self { first: deck.first, marks: (0..deck.count).map(|_| AtomicU8::new(0)).collect() }
    }

    pub(crate) fn mark(&self, place: usize, fate: Fate) {
        let value = match fate {
            Fate::Unsent => 0,
            Fate::Refused => 1,
            Fate::Unknown => 2,
            Fate::Acknowledged => 3,
        };
        if let Some(mark) = self.marks.get(place) {
            mark.fetch_max(value, Ordering::Relaxed);
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (u64, Fate)> {
        (self.first..).zip(self.marks.iter().map(|mark| match mark.load(Ordering::Relaxed) {
            0 => Fate::Unsent,
            1 => Fate::Refused,
            2 => Fate::Unknown,
            _ => Fate::Acknowledged,
        }))
    }
}
