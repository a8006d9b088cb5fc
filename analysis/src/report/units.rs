//! Numbers for people. MB are 10^6 bytes.

/// `33000` as `33,000`.
pub(crate) fn count(value: u64) -> String {
    group(&value.to_string())
}

/// Digits in groups of three.
fn group(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with that many decimals, grouped before the point.
pub(crate) fn decimal(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return "not a number".to_owned();
    }
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    // A value that rounds to 0 has no sign.
    let sign = if value < 0.0 && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) { "-" } else { "" };
    rest.map_or_else(|| format!("{sign}{}", group(whole)), |rest| format!("{sign}{}.{rest}", group(whole)))
}

/// A rate a second: as many decimals as it has, up to 2.
pub(crate) fn rate(value: f64) -> String {
    let text = decimal(value, 2);
    match text.split_once('.') {
        Some((whole, "00")) => whole.to_owned(),
        Some((_, rest)) if rest.ends_with('0') => text[..text.len() - 1].to_owned(),
        _ => text,
    }
}

/// Bytes a connection: `29.0 B`, `8,123 B`.
pub(crate) fn bytes_each(value: f64) -> String {
    format!("{} B", decimal(value, usize::from(value.abs() < 999.5)))
}

/// Bytes in all: `264.1 MB`.
pub(crate) fn megabytes(bytes: f64) -> String {
    format!("{} MB", decimal(bytes / 1e6, 1))
}

/// Microseconds as milliseconds: `0.21 ms`, `41.3 ms`, `1,200 ms`.
pub(crate) fn ms(us: u64) -> String {
    ms_of(us as f64)
}

/// As [`ms`], of a float.
pub(crate) fn ms_of(us: f64) -> String {
    let decimals = if us.abs() < 9_995.0 { 2 } else { usize::from(us.abs() < 999_950.0) };
    format!("{} ms", decimal(us / 1e3, decimals))
}

/// Microseconds as seconds: `60.0 s`.
pub(crate) fn seconds(us: u64) -> String {
    format!("{} s", decimal(us as f64 / 1e6, 1))
}

/// A share from 0 to 1 as percent: `100%`, `99.9%`.
pub(crate) fn share(value: f64) -> String {
    format!("{}%", rate(value * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        let cases = [
            (count(0), "0"),
            (count(999), "999"),
            (count(33_000), "33,000"),
            (count(u64::MAX), "18,446,744,073,709,551,615"),
            (decimal(-0.04, 1), "0.0"),
            (decimal(-1_234.56, 1), "-1,234.6"),
            (decimal(f64::NAN, 1), "not a number"),
            (rate(10.0), "10"),
            (rate(2.5), "2.5"),
            (rate(1_000.25), "1,000.25"),
            (bytes_each(29.04), "29.0 B"),
            (bytes_each(8_123.4), "8,123 B"),
            (megabytes(264_120_000.0), "264.1 MB"),
            (ms(210), "0.21 ms"),
            (ms(41_290), "41.3 ms"),
            (ms(1_200_000), "1,200 ms"),
            (seconds(60_000_000), "60.0 s"),
            (share(1.0), "100%"),
            (share(0.999), "99.9%"),
        ];
        for (text, expected) in cases {
            assert_eq!(text, expected);
        }
    }
}
