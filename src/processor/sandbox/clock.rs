//! Time as the simulator has it: real time, faster or standing still, and moved on by hand.

/// A clock that never goes back.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    real: fn() -> i64,
    /// Where both clocks were when the scale was last set.
    real_us: i64,
    own_us: i64,
    /// Seconds of the simulator in a second. 0 stands still.
    scale: u32,
}

impl Clock {
    pub(super) fn new(real: fn() -> i64, scale: u32) -> Self {
        let now = real();
        Self { real, real_us: now, own_us: now, scale }
    }

    pub(super) fn now(&self) -> i64 {
        let passed = (self.real)().saturating_sub(self.real_us).max(0);
        self.own_us.saturating_add(passed.saturating_mul(self.scale.into()))
    }

    pub(super) const fn scale(&self) -> u32 {
        self.scale
    }

    pub(super) fn set_scale(&mut self, scale: u32) {
        (self.own_us, self.real_us) = (self.now(), (self.real)());
        self.scale = scale;
    }

    pub(super) fn advance(&mut self, by_us: i64) {
        self.own_us = self.own_us.saturating_add(by_us.max(0));
    }

    /// Microseconds of real time until `due`; `None` while the clock stands still.
    pub(super) fn until(&self, due: i64) -> Option<i64> {
        let left = due.saturating_sub(self.now()).max(0);
        if left == 0 { Some(0) } else { left.checked_div(self.scale.into()).map(|us| us.saturating_add(1)) }
    }
}
