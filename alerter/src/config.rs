//! The alerter's settings, as resolved.

use std::net::SocketAddr;
use std::time::Duration;

use holdline_host::{limits, reach};
use holdline_protocol::MAX_PAYLOAD_BYTES;
use serde::{Deserialize, Serialize};

/// Beyond this one process can't keep its schedule, and would only measure itself.
const MAX_RATE: f64 = 1_000_000.0;

/// Settings of an alerter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The service's alert interface.
    pub connect: SocketAddr,
    /// The first client id that may be tapped.
    pub first_id: u64,
    /// The id after the last that may be tapped.
    pub end_id: u64,
    /// Alerts a second.
    pub rate: f64,
    /// How long alerts are sent.
    pub duration: Duration,
    /// Decides which clients are tapped.
    pub seed: u64,
    /// An alert that is not acknowledged this long after its intended send has timed out.
    pub timeout: Duration,
    /// How long after the last alert answers are waited for: longer than the service's own bound on taps.
    pub grace: Duration,
    /// Bytes of each payload.
    pub payload_bytes: u32,
    /// The target may be a public address.
    pub allow_public_target: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect: SocketAddr::from(([127, 0, 0, 1], 7001)),
            first_id: 0,
            end_id: 1000,
            rate: 10.0,
            duration: Duration::from_secs(60),
            seed: 1,
            timeout: Duration::from_secs(1),
            grace: Duration::from_secs(7),
            payload_bytes: 64,
            allow_public_target: false,
        }
    }
}

/// Settings that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value that makes no sense.
    #[error("{setting} must be {bound}")]
    Value {
        /// The setting.
        setting: &'static str,
        /// What it must be.
        bound: &'static str,
    },
    /// A public address without the flag that says it is meant.
    #[error(
        "{0} is neither loopback nor private: load on somebody's public address must be meant; if it is yours, say so \
         with --allow-public-target"
    )]
    PublicTarget(SocketAddr),
}

impl Config {
    /// Checks the settings.
    ///
    /// # Errors
    /// The setting that can't be used, and what it must be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let value = |setting, bound| Err(ConfigError::Value { setting, bound });
        if self.first_id >= self.end_id {
            return value("--ids", "a range A..B with A below B");
        }
        if !self.rate.is_finite() || self.rate <= 0.0 || self.rate > MAX_RATE {
            return value("--rate", "above 0 and at most 1000000 a second");
        }
        if self.duration.is_zero() || self.scheduled() == 0 {
            return value("--duration", "long enough for one alert at that rate");
        }
        if self.duration > limits::MAX_TIME {
            return value("--duration", "at most 365days");
        }
        if self.timeout.is_zero() || self.timeout > limits::MAX_TIME || self.grace > limits::MAX_TIME {
            return value("--timeout and --grace", "more than 0 and at most 365days");
        }
        if self.payload_bytes as usize > MAX_PAYLOAD_BYTES {
            return value("--payload-bytes", "at most 4096");
        }
        if !reach::is_near(self.connect.ip()) && !self.allow_public_target {
            return Err(ConfigError::PublicTarget(self.connect));
        }
        Ok(())
    }

    /// Alerts in the schedule.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and saturating as casts do")]
    pub fn scheduled(&self) -> u64 {
        // A schedule of 10/s for 60 s has 600 alerts, not 599: rounding must not lose the last one.
        (self.rate * self.duration.as_secs_f64() + 1e-6).floor() as u64
    }

    /// Microseconds from the start to the intended send of alert `index`.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "positive, and exact below 2^52 microseconds"
    )]
    pub fn intended_us(&self, index: u64) -> u64 {
        (index as f64 * 1e6 / self.rate) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        let config = |rate, secs| Config { rate, duration: Duration::from_secs(secs), ..Config::default() };
        for (rate, secs, scheduled, last_us) in [
            (10.0, 60, 600, 59_900_000),
            (1000.0, 30, 30_000, 29_999_000),
            (0.5, 10, 5, 8_000_000),
            (3.0, 1, 3, 666_666),
        ] {
            let config = config(rate, secs);
            assert_eq!(config.scheduled(), scheduled, "{rate}/s for {secs} s");
            assert_eq!(config.intended_us(scheduled - 1), last_us);
        }
    }

    #[test]
    fn settings_that_make_no_sense() {
        let setting = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(setting(|c| c.end_id = 0).starts_with("--ids"));
        assert!(setting(|c| c.rate = 0.0).starts_with("--rate"));
        assert!(setting(|c| c.rate = f64::INFINITY).starts_with("--rate"));
        assert!(setting(|c| c.rate = 0.001).starts_with("--duration"));
        assert!(setting(|c| c.payload_bytes = 4097).starts_with("--payload"));
        assert!(setting(|c| c.connect = "1.1.1.1:1".parse().unwrap()).contains("--allow-public-target"));
        assert_eq!(Config::default().validate(), Ok(()));
    }
}
