//! A bound on a figure, as `server.user_bytes_per_connection <= 72`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A bound that a figure of `summary.json` is held to, whatever it was before. Written `FIGURE <= NUMBER` or
/// `FIGURE >= NUMBER`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Limit {
    /// The dotted name of the figure.
    pub figure: String,
    /// On which side of the number it has to stay.
    pub bound: Bound,
    /// The number, in the figure's unit.
    pub value: f64,
}

/// On which side of a number a figure has to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
}

impl Limit {
    /// Whether a figure of `value` keeps it.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        match self.bound {
            Bound::AtMost => value <= self.value,
            Bound::AtLeast => value >= self.value,
        }
    }
}

/// A text that is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no limit; write FIGURE <= NUMBER or FIGURE >= NUMBER, as in \"server.user_bytes_per_connection <= 72\""
)]
pub struct LimitError(String);

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let parse = || {
            let (bound, at) = text
                .find("<=")
                .map(|at| (Bound::AtMost, at))
                .or_else(|| text.find(">=").map(|at| (Bound::AtLeast, at)))?;
            let figure = text[..at].trim();
            // Digits may be grouped as in TOML.
            let value: f64 = text[at + 2..].trim().replace('_', "").parse().ok()?;
            let named = !figure.is_empty() && figure.chars().all(|c| c.is_ascii_alphanumeric() || "._".contains(c));
            (named && value.is_finite()).then(|| Self { figure: figure.to_owned(), bound, value })
        };
        parse().ok_or_else(|| LimitError(text.to_owned()))
    }
}

impl TryFrom<String> for Limit {
    type Error = LimitError;

    fn try_from(text: String) -> Result<Self, LimitError> {
        text.parse()
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.bound {
            Bound::AtMost => "<=",
            Bound::AtLeast => ">=",
        };
        write!(f, "{} {sign} {}", self.figure, self.value)
    }
}

impl From<Limit> for String {
    fn from(limit: Limit) -> Self {
        limit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_written() {
        let cases = [
            ("server.user_bytes_per_connection <= 72", Bound::AtMost, 72.0),
            ("connect.rate_per_s>=15_000", Bound::AtLeast, 15_000.0),
            ("taps.by_rate.0.round_trip_us.p99 <= 1.5e3", Bound::AtMost, 1_500.0),
        ];
        for (text, bound, value) in cases {
            let limit: Limit = text.parse().unwrap();
            assert_eq!((limit.bound, limit.value), (bound, value), "{text}");
            assert_eq!(limit.to_string().parse::<Limit>().unwrap(), limit);
        }
        for text in
            ["", "x", "x < 5", "x = 5", "<= 5", "x <=", "x <= y", "x <= inf", "x <= NaN", "a b <= 5", "5 <= x <= 7"]
        {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bound_includes_its_number() {
        let at = |text: &str, value| text.parse::<Limit>().unwrap().holds(value);
        assert!(at("x <= 72", 72.0) && !at("x <= 72", 72.01) && at("x >= 9", 9.0) && !at("x >= 9", 8.9));
        assert!(!at("x <= 72", f64::NAN) && !at("x >= 72", f64::NAN));
    }
}
