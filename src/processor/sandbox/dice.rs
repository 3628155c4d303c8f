//! Chance that can be had again: every draw is a digest of the seed and its number, so a seed tells the whole story on
//! every machine and in every version.

use sha2::{Digest, Sha256};

/// A stream of draws.
#[derive(Debug, Clone)]
pub struct Dice {
    seed: u64,
    drawn: u64,
}

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// A stream of its own: what is drawn from it depends on the seed and the name alone.
    #[must_use]
    pub fn stream(&self, name: &str) -> Self {
        let seed = self.named(name).first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
        Self::new(seed)
    }

    /// 32 bytes that depend on the seed and the name alone, not on what was drawn before.
    pub fn named(&self, name: &str) -> [u8; 32] {
        Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(name).finalize().into()
    }

    fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        let digest = self.named(&format!("draw {}", self.drawn));
        digest.first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
    }

    /// Any number from 0 up to but not including `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw().checked_rem(bound).unwrap_or(0)
    }

    /// Any number of the range, both ends included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = u64::try_from(high.saturating_sub(low)).unwrap_or(0).saturating_add(1);
        low.saturating_add(i64::try_from(self.below(span)).unwrap_or(0))
    }

    /// True so many times in a hundred. A rate of zero draws nothing.
    pub fn percent(&mut self, rate: u8) -> bool {
        rate > 0 && self.below(100) < u64::from(rate)
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let index = self.below(u64::try_from(of.len()).unwrap_or(1));
        of.get(usize::try_from(index).unwrap_or(0))
    }
}
