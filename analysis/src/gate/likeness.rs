//! Whether runs are alike enough that a difference between them is one between the builds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use holdline_record::Manifest;
use serde_json::Value;

use super::{GateError, Run};

/// Something in which runs differ that is not the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is.
    pub what: String,
    /// The values found, each with a run that has it.
    pub values: Vec<(String, String)>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.iter().map(|(value, run)| format!("{value} ({run})"));
        write!(f, "{}: {}", self.what, values.collect::<Vec<_>>().join(", "))
    }
}

/// Keys of an experiment that do not change what is played.
const WORDS: [&str; 3] = ["description", "reference", "gate"];

/// Memory that differs by less is the same machine started again.
const MEMORY_STEP_BYTES: u64 = 256 << 20;

/// All differences between the runs, by name.
pub(crate) fn differences<'a>(runs: impl Iterator<Item = &'a Run>) -> Vec<Difference> {
    between(runs.map(|run| (run.folder.display().to_string(), &run.manifest)))
}

/// Checks that the runs of a baseline are alike, and like one that is about to be played.
///
/// # Errors
/// They are not, and here are the differences.
pub fn check_alike(baseline: &[Run], planned: &Manifest) -> Result<(), GateError> {
    let stored = baseline.iter().map(|run| (run.folder.display().to_string(), &run.manifest));
    let differences = between(stored.chain([("to be played".to_owned(), planned)]));
    if differences.is_empty() { Ok(()) } else { Err(GateError::NotAlike(differences)) }
}

/// The differences between manifests, each with the name of its run.
fn between<'a>(manifests: impl Iterator<Item = (String, &'a Manifest)>) -> Vec<Difference> {
    let runs: Vec<(String, BTreeMap<String, String>)> =
        manifests.map(|(run, manifest)| (run, aspects(manifest).into_iter().collect())).collect();
    let names: BTreeSet<&String> = runs.iter().flat_map(|(_, aspects)| aspects.keys()).collect();
    let differing = names.into_iter().filter_map(|what| {
        let mut values: Vec<(String, String)> = Vec::new();
        for (run, aspects) in &runs {
            let value = aspects.get(what).map_or("nothing", String::as_str);
            if values.iter().all(|(known, _)| known != value) {
                values.push((value.to_owned(), run.clone()));
            }
        }
        (values.len() > 1).then(|| Difference { what: what.clone(), values })
    });
    differing.collect()
}

/// What has to be the same, by name.
fn aspects(manifest: &Manifest) -> Vec<(String, String)> {
    let environment = &manifest.environment;
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".to_owned());
    let memory = environment.mem_total_bytes.map(|bytes| (bytes + MEMORY_STEP_BYTES / 2) / MEMORY_STEP_BYTES * 256);
    let mut aspects = vec![
        ("host".to_owned(), manifest.host.clone()),
        ("kernel".to_owned(), known(&environment.kernel)),
        ("processor".to_owned(), known(&environment.cpu_model)),
        ("cores".to_owned(), environment.cpu_cores.to_string()),
        ("memory in MiB, about".to_owned(), known(&memory.map(|mebibytes| mebibytes.to_string()))),
        ("open files a process".to_owned(), environment.open_files_per_process.to_string()),
        ("cargo profile".to_owned(), manifest.build.profile.clone()),
    ];
    aspects.extend(environment.sysctls.iter().map(|(name, value)| (format!("sysctl {name}"), value.clone())));
    if let Value::Object(settings) = &manifest.experiment {
        for (key, value) in settings.iter().filter(|(key, _)| !WORDS.contains(&key.as_str())) {
            flatten(value, &format!("experiment: {key}"), &mut aspects);
        }
    }
    aspects
}

fn flatten(value: &Value, name: &str, aspects: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| flatten(value, &format!("{name}.{key}"), aspects));
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| flatten(value, &format!("{name}.{index}"), aspects));
        }
        value => aspects.push((name.to_owned(), value.to_string())),
    }
}
