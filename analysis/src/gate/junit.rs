//! The outcome of a gate as JUnit XML, which CI servers show as tests: one for the promise, each limit and each figure.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{FigureVerdict, Gate, GateVerdict};

/// What a test case comes to.
enum Outcome {
    Good,
    /// It fails: a regression, or a limit broken.
    Failed(String),
    /// It can't be told, which must not look like success.
    Error(String),
    Skipped(String),
}

/// The gate as a report with one suite.
pub(crate) fn report(gate: &Gate) -> Report {
    let mut suite = TestSuite::new(format!("gate.{}", gate.name));
    let class = format!("holdline.gate.{}", gate.name);
    for (name, outcome) in cases(gate) {
        let status = match outcome {
            Outcome::Good => TestCaseStatus::success(),
            Outcome::Failed(why) => non_success(NonSuccessKind::Failure, why),
            Outcome::Error(why) => non_success(NonSuccessKind::Error, why),
            Outcome::Skipped(why) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(why);
                status
            }
        };
        let mut case = TestCase::new(name, status);
        case.set_classname(class.clone());
        suite.add_test_case(case);
    }
    suite.set_system_out(super::gate_markdown(gate));
    let mut report = Report::new(format!("holdline gate {}", gate.name));
    report.add_test_suite(suite);
    report
}

fn non_success(kind: NonSuccessKind, why: String) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(why);
    status
}

fn cases(gate: &Gate) -> Vec<(String, Outcome)> {
    // All reasons stand here, so that none is lost that is of no single figure.
    let reasons = || gate.reasons.join(" ");
    let verdict = match gate.verdict {
        GateVerdict::Pass => Outcome::Good,
        GateVerdict::Regression | GateVerdict::NotHeld => Outcome::Failed(reasons()),
        GateVerdict::NotEnough => Outcome::Error(reasons()),
    };
    let limits = gate.limits.iter().map(|held| {
        let outcome = match (held.kept, held.median) {
            (Some(true), _) => Outcome::Good,
            (Some(false), median) => Outcome::Failed(format!("it is {}", median.unwrap_or(f64::NAN))),
            (None, _) => Outcome::Error("no run has that figure".to_owned()),
        };
        (format!("limit: {}", held.limit), outcome)
    });
    let figures = gate.figures.iter().map(|figure| {
        let row = || super::table::figure_words(figure);
        let outcome = match figure.verdict {
            FigureVerdict::Pass => Outcome::Good,
            FigureVerdict::Regression => Outcome::Failed(row()),
            FigureVerdict::NotEnough => Outcome::Error(row()),
            FigureVerdict::NotMeasured => Outcome::Skipped("neither side has it".to_owned()),
        };
        (format!("figure: {}", figure.figure), outcome)
    });
    std::iter::once(("verdict".to_owned(), verdict)).chain(limits).chain(figures).collect()
}
