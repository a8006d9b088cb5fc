//! Says which commit and profile the binary was built from, for the record of each run.

use std::path::Path;
use std::process::Command;

fn main() {
    let root = Path::new("..");
    // The crates whose change makes the commit a lie, and what git changes when the commit does.
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let sources = entry.path().join("src");
        if sources.is_dir() {
            println!("cargo::rerun-if-changed={}", sources.display());
        }
    }
    for file in ["Cargo.toml", "Cargo.lock", ".git/HEAD", ".git/index"] {
        if root.join(file).exists() {
            println!("cargo::rerun-if-changed={}", root.join(file).display());
        }
    }
    println!("cargo::rustc-env=HOLDLINE_COMMIT={}", commit().unwrap_or_default());
    println!("cargo::rustc-env=HOLDLINE_PROFILE={}", std::env::var("PROFILE").unwrap_or_default());
}

/// The commit with `-dirty` if tracked files have changed; none outside a checkout.
fn commit() -> Option<String> {
    let output = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]).output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
