//! A server that lies about itself never gets `held`; the same server without a lie does.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use holdline_analysis::{Summary, Verdict};
use holdline_conductor::{Experiment, Options, Plan};
use holdline_record::Build;
use tokio::sync::mpsc::unbounded_channel;

const SMOKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments/smoke.toml");

/// A program that is Holdline but for the server.
fn program(folder: &Path, lie: &str) -> PathBuf {
    let holdline = env!("CARGO_BIN_EXE_holdline");
    let liar = Path::new(holdline).with_file_name("examples").join("lying_server");
    assert!(liar.exists(), "cargo builds examples with the tests");
    let path = folder.join("program");
    let script = format!(
        "#!/bin/sh\nif [ \"$2\" = server ]; then HOLDLINE_LIE={lie} exec {} \"$@\"; fi\nexec {holdline} \"$@\"\n",
        liar.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn run_with(lie: &str) -> Summary {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        ["promise.hold=1s", "taps.0.for=500ms", "taps.1.for=1s", "alerter.max_lag_p99=500ms", "target.tap_timeout=1s"];
    let settings: Vec<String> = settings.map(str::to_owned).to_vec();
    let plan = Plan::new(Experiment::read(Path::new(SMOKE), &settings).unwrap(), 20_000).unwrap();
    let run = folder.path().join("run");
    let options = Options {
        run: format!("lie-{lie}"),
        program: program(folder.path(), lie),
        folder: run.clone(),
        command: "a test".to_owned(),
        build: Build { version: "0".to_owned(), commit: None, profile: "test".to_owned() },
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_interrupt, interrupts) = unbounded_channel();
    let played = runtime.block_on(holdline_conductor::run(&plan, options, interrupts, &mut |_| {}));
    assert!(played.unwrap().cut.is_none());
    holdline_analysis::analyze(&run).unwrap()
}

#[test]
fn a_lie_is_never_held() {
    let honest = run_with("nothing");
    assert_eq!(honest.verdict, Verdict::Held, "{:?}", honest.reasons);
    for (lie, verdict, words) in [
        ("drop", Verdict::Invalid, "half open"),
        ("forget", Verdict::Invalid, "half open"),
        ("acknowledge", Verdict::Invalid, "acknowledgements sent by the swarm"),
        ("count", Verdict::Invalid, "half open"),
    ] {
        let summary = run_with(lie);
        assert_eq!(summary.verdict, verdict, "{lie}: {:?}", summary.reasons);
        assert!(summary.reasons.iter().any(|reason| reason.contains(words)), "{lie}: {:?}", summary.reasons);
    }
}
