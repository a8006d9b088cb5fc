//! Annotations of a job on GitHub Actions: lines on standard output that it shows beside the change ("workflow commands").

use super::{Gate, GateVerdict};

/// One line an annotation: errors for what fails, warnings for what can't be told, a notice for a gate that passed.
#[must_use]
pub fn annotations(gate: &Gate) -> String {
    let title = format!("Gate {}: {}", gate.name, gate.verdict.words());
    let level = match gate.verdict {
        GateVerdict::Pass => "notice",
        GateVerdict::Regression | GateVerdict::NotHeld => "error",
        GateVerdict::NotEnough => "warning",
    };
    let all = format!("{} of {} candidate runs held.", gate.candidate.held, gate.candidate.runs);
    let reasons = if gate.reasons.is_empty() { std::slice::from_ref(&all) } else { &gate.reasons[..] };
    let lines = reasons.iter().map(|reason| command(level, &title, reason));
    lines.chain(gate.warnings.iter().map(|warning| command("warning", &title, warning))).collect()
}

/// `::LEVEL title=TITLE::MESSAGE` with what would end a part of it escaped, as GitHub's own toolkit writes it.
fn command(level: &str, title: &str, message: &str) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    format!("::{level} title={}::{}\n", property(title), data(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_message_can_end_it() {
        // The results that the tests of @actions/core expect of the same input.
        for (title, message, expected) in [
            ("", "%251\r\n", "::error title=::%25251%0D%0A\n"),
            ("a:b,c%d\n", "x::y, z", "::error title=a%3Ab%2Cc%25d%0A::x::y, z\n"),
        ] {
            assert_eq!(command("error", title, message), expected);
        }
    }
}
