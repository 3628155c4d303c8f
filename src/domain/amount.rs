//! Exact money: an `i128` at a fixed scale of 18 decimals, parsed strictly from the raw JSON token.
//! Nothing here rounds, and nothing is ever a float: what does not fit is refused, and the caller holds it.

use std::fmt;

/// Decimals kept for every currency.
pub const DECIMALS: usize = 18;
/// Digits allowed before the point; balances obey the same bound.
pub const INTEGER_DIGITS: usize = 20;

const ONE: i128 = 1_000_000_000_000_000_000;
/// 10^20 whole units: no amount and no balance reaches this.
const LIMIT: i128 = 100_000_000_000_000_000_000 * ONE;

/// An exact amount of some currency, below 10^20 in size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(i128);

/// Why a token is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    #[error("not a plain decimal number")]
    Malformed,
    #[error("more than 18 decimals")]
    TooPrecise,
    #[error("10^20 or more")]
    TooLarge,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads `-?(0|[1-9][0-9]*)(\.[0-9]+)?` with at most 20 digits before and 18 after the point.
    ///
    /// ```
    /// use tallyhook::domain::amount::Amount;
    /// assert_eq!(Amount::parse("6.5119800").unwrap().to_string(), "6.51198");
    /// assert!(Amount::parse("1e5").is_err() && Amount::parse("0.106.75000000").is_err());
    /// ```
    pub fn parse(token: &str) -> Result<Self, AmountError> {
        let (negative, digits) = match token.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, token),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(AmountError::Malformed),
            Some((whole, fraction)) => (whole, fraction),
            None => (digits, ""),
        };
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(fraction) || (whole.len() > 1 && whole.starts_with('0')) {
            return Err(AmountError::Malformed);
        }
        if fraction.len() > DECIMALS {
            return Err(AmountError::TooPrecise);
        }
        if whole.len() > INTEGER_DIGITS {
            return Err(AmountError::TooLarge);
        }
        let units = shift_in(shift_in(0, whole), fraction);
        let padding = u32::try_from(DECIMALS.saturating_sub(fraction.len())).unwrap_or_default();
        let units = units.checked_mul(10_i128.pow(padding)).ok_or(AmountError::TooLarge)?;
        Ok(Self(if negative { units.saturating_neg() } else { units }))
    }

    /// From units of 10^-18; `None` outside the bound. The inverse of [`Amount::units`].
    pub const fn from_units(units: i128) -> Option<Self> {
        if units > -LIMIT && units < LIMIT { Some(Self(units)) } else { None }
    }

    /// Units of 10^-18.
    pub const fn units(self) -> i128 {
        self.0
    }

    /// The sum, unless it leaves the bound.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(Self::from_units)
    }

    /// The difference, unless it leaves the bound.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).and_then(Self::from_units)
    }

    /// Above zero: what a posting must be.
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// Exactly nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The other sign: a credit seen from the debit side.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

/// Appends decimal digits. At most 38 of them, so it stays below 10^38 and cannot overflow an `i128`.
fn shift_in(units: i128, digits: &str) -> i128 {
    digits.bytes().fold(units, |sum, byte| sum.saturating_mul(10).saturating_add(i128::from(byte.saturating_sub(b'0'))))
}

impl fmt::Display for Amount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.unsigned_abs();
        let one = ONE.unsigned_abs();
        let (whole, fraction) = (size.div_euclid(one), size.rem_euclid(one));
        if self.0 < 0 {
            out.write_str("-")?;
        }
        // Most fit into 64 bits, which are written faster.
        match u64::try_from(whole) {
            Ok(whole) => write!(out, "{whole}")?,
            Err(_beyond) => write!(out, "{whole}")?,
        }
        let Some(mut fraction) = u64::try_from(fraction).ok().filter(|fraction| *fraction != 0) else { return Ok(()) };
        let mut width = DECIMALS;
        while fraction.rem_euclid(10) == 0 {
            fraction = fraction.div_euclid(10);
            width = width.saturating_sub(1);
        }
        write!(out, ".{fraction:0width$}")
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl serde::Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}
