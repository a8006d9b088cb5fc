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
        // Inputs and results of the tests of @actions/core, which defines the format (packages/core, command.test.ts).
        let all = "percent % percent % cr \r cr \r lf \n lf \n colon : colon : comma , comma ,";
        for (title, message, expected) in [
            (
                "",
                "percent % percent % cr \r cr \r lf \n lf \n",
                "::error title=::percent %25 percent %25 cr %0D cr %0D lf %0A lf %0A\n",
            ),
            ("", "%25 %25 %0D %0D %0A %0A", "::error title=::%2525 %2525 %250D %250D %250A %250A\n"),
            (
                all,
                "",
                "::error title=percent %25 percent %25 cr %0D cr %0D lf %0A lf %0A colon %3A colon %3A comma %2C comma %2C::\n",
            ),
            ("value 1", "some message", "::error title=value 1::some message\n"),
        ] {
            assert_eq!(command("error", title, message), expected);
        }
    }
}
