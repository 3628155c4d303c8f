//! What may go wrong, how often, and which story a new operation follows. Settings of the simulator, by name.

use super::lies::Lie;
use super::php::Value;

/// Times in a hundred that each fault happens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// A delivered callback is sent once more, the same bytes.
    pub duplicate: u8,
    /// A callback is held back for up to 40 minutes, so that later ones overtake it.
    pub reorder: u8,
    /// A callback is never sent.
    pub lose: u8,
    /// The receiver's 200 is not heard, so the callback is sent again.
    pub unheard: u8,
    /// Types and shapes drift: "9" or 9, null errors, missing objects, fields nobody knows.
    pub drift: u8,
    /// An answer of the API comes up to `slow_ms` late.
    pub slow: u8,
    /// A request fails with a 5xx or a 429 and does nothing.
    pub fail: u8,
    /// A request is executed, and its answer is a 502 in HTML.
    pub swallow: u8,
    /// A withdrawal's callback is delivered before the API answers.
    pub early: u8,
    /// What goes wrong about money itself, in the order of [`Lie::ALL`].
    pub lies: [u8; Lie::ALL.len()],
    /// Milliseconds, of real time.
    pub slow_ms: u64,
}

impl Faults {
    pub const NAMES: [&'static str; 9] =
        ["duplicate", "reorder", "lose", "unheard", "drift", "slow", "fail", "swallow", "early"];

    /// Every fault at the same rate, but a lost callback and a failing API at a quarter of it. What callbacks say about
    /// money stays true.
    pub fn all(rate: u8) -> Self {
        let rare = rate.div_ceil(4);
        Self {
            duplicate: rate,
            reorder: rate,
            lose: rare,
            unheard: rate,
            drift: rate,
            slow: rate,
            fail: rare,
            swallow: rare,
            early: rate,
            lies: [0; Lie::ALL.len()],
            slow_ms: 50,
        }
    }

    /// Sets one rate by its name, or all of them: `Err` says what is allowed.
    pub fn set(&mut self, name: &str, value: u64) -> Result<(), String> {
        if name == "slow_ms" {
            self.slow_ms = value.min(600_000);
            return Ok(());
        }
        let rate = u8::try_from(value).ok().filter(|rate| *rate <= 100);
        let rate = rate.ok_or_else(|| format!("{name} is a rate in percent, from 0 to 100"))?;
        let place = match name {
            "all" => {
                *self = Self { slow_ms: self.slow_ms, lies: self.lies, ..Self::all(rate) };
                return Ok(());
            }
            "duplicate" => &mut self.duplicate,
            "reorder" => &mut self.reorder,
            "lose" => &mut self.lose,
            "unheard" => &mut self.unheard,
            "drift" => &mut self.drift,
            "slow" => &mut self.slow,
            "fail" => &mut self.fail,
            "swallow" => &mut self.swallow,
            "early" => &mut self.early,
            _ => match Lie::ALL.iter().zip(&mut self.lies).find(|(lie, _)| lie.word() == name) {
                Some((_, place)) => place,
                None => {
                    return Err(format!("there is no fault {name}, only all, slow_ms, {}", Self::names().join(", ")));
                }
            },
        };
        *place = rate;
        Ok(())
    }

    fn names() -> Vec<&'static str> {
        Self::NAMES.into_iter().chain(Lie::ALL.map(Lie::word)).collect()
    }

    /// As the control API shows it.
    pub(super) fn shown(&self) -> Value {
        let rates = [
            self.duplicate,
            self.reorder,
            self.lose,
            self.unheard,
            self.drift,
            self.slow,
            self.fail,
            self.swallow,
            self.early,
        ];
        let rates = Self::names().into_iter().zip(rates.into_iter().chain(self.lies));
        let rates = rates.map(|(name, rate)| (name.to_owned(), Value::int(rate.into())));
        let slow_ms = ("slow_ms".to_owned(), Value::Number(self.slow_ms.to_string()));
        Value::Object(rates.chain([slow_ms]).collect())
    }
}

/// Kinds of operation that have scenarios, with the names of them. The first is what happens without a choice.
pub const SCENARIOS: [(&str, &[&str]); 3] = [
    ("deposit", &["normal", "instant", "slow", "internal", "double_spend", "below_minimum", "cross_currency"]),
    ("withdrawal", &["normal", "bare", "approve", "decline", "cancel", "limit", "limit_cancel", "timeout", "early"]),
    ("invoice", &["manual", "paid", "instalments", "underpaid", "overpaid", "unpaid", "stuck"]),
];
/// Any scenario, by the seed.
pub const RANDOM: &str = "random";

/// The scenario of new operations of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    pub usual: &'static str,
    /// Another one for so many operations.
    pub next: Option<(&'static str, u32)>,
}

impl Choice {
    /// The name for a new operation.
    pub(super) fn take(&mut self) -> &'static str {
        let Some((name, times)) = self.next else { return self.usual };
        self.next = times.checked_sub(1).filter(|left| *left > 0).map(|left| (name, left));
        name
    }
}

/// The scenarios of new operations.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub deposit: Choice,
    pub withdrawal: Choice,
    pub invoice: Choice,
}

impl Default for Plan {
    fn default() -> Self {
        let usual = |usual| Choice { usual, next: None };
        Self { deposit: usual("normal"), withdrawal: usual("normal"), invoice: usual("manual") }
    }
}

/// The scenario of that name, as its own list spells it.
pub fn scenario(kind: &str, name: &str) -> Result<&'static str, String> {
    let Some((_, names)) = SCENARIOS.iter().find(|(known, _)| *known == kind) else {
        return Err(format!("{kind} has no scenarios: deposit, withdrawal and invoice have"));
    };
    let found = names.iter().chain([&RANDOM]).find(|known| **known == name);
    found.copied().ok_or_else(|| format!("a {kind} has no scenario {name}, only {RANDOM}, {}", names.join(", ")))
}

impl Plan {
    /// `deposit=slow`, or a bare name for every kind that knows it.
    pub fn choose(&mut self, text: &str) -> Result<(), String> {
        if let Some((kind, name)) = text.split_once('=') {
            let name = scenario(kind, name)?;
            self.of(kind).usual = name;
            return Ok(());
        }
        let mut verdict = Err(format!("there is no scenario {text}"));
        for (kind, _) in SCENARIOS {
            if let Ok(name) = scenario(kind, text) {
                self.of(kind).usual = name;
                verdict = Ok(());
            }
        }
        verdict
    }

    /// The choice of a kind; an unknown one is an invoice's, because `scenario` refused it before.
    pub(super) fn of(&mut self, kind: &str) -> &mut Choice {
        match kind {
            "deposit" => &mut self.deposit,
            "withdrawal" => &mut self.withdrawal,
            _ => &mut self.invoice,
        }
    }
}
