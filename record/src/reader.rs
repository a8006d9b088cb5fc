//! Reads a run folder, complete or cut short; its tables and logs may be compressed with gzip(1) to be kept.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::{
    CONNECT_HLOG, EVENTS, EventRow, FLOOR, Floor, HOST, HlogInterval, HostRow, MANIFEST, Manifest, RecordError,
    SAMPLES, SCHEMA_VERSION, SampleRow, TAP_HLOG, read_hlog,
};

/// The largest file that is read. A run of a million connections and an hour writes less than a tenth of it.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// Something in a folder that could not be read; the rest could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: &'static str,
    /// In words.
    pub why: String,
}

/// A run as read back.
#[derive(Debug)]
pub struct RunFolder {
    /// Where it was read from.
    pub path: PathBuf,
    /// What was known before it began.
    pub manifest: Manifest,
    /// Rows of processes, in the order taken.
    pub samples: Vec<SampleRow>,
    /// Rows of the host, in the order taken.
    pub host: Vec<HostRow>,
    /// Connect-and-register latencies.
    pub connect: Vec<HlogInterval>,
    /// Tap round trips.
    pub taps: Vec<HlogInterval>,
    /// What happened.
    pub events: Vec<EventRow>,
    /// What the host itself costs, if that was played beside the run.
    pub floor: Option<Floor>,
    /// Files that are missing or damaged. A row cut off at the end of a file is not one: a killed run leaves it.
    pub problems: Vec<Problem>,
}

impl RunFolder {
    /// Reads the folder at `path`. Only the manifest must be whole; what else is missing stands in
    /// [`problems`](Self::problems).
    ///
    /// # Errors
    /// There is no manifest, or it is damaged or of another version.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let manifest = Manifest::read(path)?;
        let mut problems = Vec::new();
        let run = manifest.run.as_str();
        Ok(Self {
            path: path.to_owned(),
            samples: keep(SAMPLES, read_csv(&path.join(SAMPLES)).and_then(of_run(run, path)), &mut problems),
            host: keep(HOST, read_csv(&path.join(HOST)).and_then(of_run(run, path)), &mut problems),
            connect: keep(CONNECT_HLOG, read_hlog(&path.join(CONNECT_HLOG)), &mut problems),
            taps: keep(TAP_HLOG, read_hlog(&path.join(TAP_HLOG)), &mut problems),
            events: keep(EVENTS, read_lines(&path.join(EVENTS)).and_then(of_run(run, path)), &mut problems),
            floor: read_floor(path),
            manifest,
            problems,
        })
    }
}

/// Most runs have no floor, and one that can't be read is as if it had not been played: the run does not need it.
fn read_floor(folder: &Path) -> Option<Floor> {
    serde_json::from_str(&fs::read_to_string(folder.join(FLOOR)).ok()?).ok()
}

/// A row that says which run it is of.
trait Row {
    fn run(&self) -> &str;
}

impl Row for SampleRow {
    fn run(&self) -> &str {
        &self.run
    }
}

impl Row for HostRow {
    fn run(&self) -> &str {
        &self.run
    }
}

impl Row for EventRow {
    fn run(&self) -> &str {
        &self.run
    }
}

/// Rows of several hosts of one run may stand together; those of two runs say nothing together.
fn of_run<T: Row>(run: &str, folder: &Path) -> impl FnOnce(Vec<T>) -> Result<Vec<T>, RecordError> {
    move |rows| match rows.iter().find(|row| row.run() != run) {
        Some(other) => {
            let why = format!("it has rows of the run {:?}, but the manifest is of {run:?}", other.run());
            Err(RecordError::format(folder, why))
        }
        None => Ok(rows),
    }
}

fn keep<T>(file: &'static str, read: Result<Vec<T>, RecordError>, problems: &mut Vec<Problem>) -> Vec<T> {
    read.unwrap_or_else(|error| {
        problems.push(Problem { file, why: error.to_string() });
        Vec::new()
    })
}

impl Manifest {
    /// Reads the manifest of the run folder at `folder`.
    ///
    /// # Errors
    /// There is none, or it is damaged or of another version.
    pub fn read(folder: &Path) -> Result<Self, RecordError> {
        read_manifest(&folder.join(MANIFEST))
    }
}

fn read_manifest(path: &Path) -> Result<Manifest, RecordError> {
    let text = fs::read(path).map_err(|error| RecordError::io("read", path, error))?;
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| RecordError::format(path, error.to_string()))?;
    // The version is looked at before anything else: another version's fields may mean something else.
    match value.get("schema_version").and_then(serde_json::Value::as_u64) {
        Some(found) if found == u64::from(SCHEMA_VERSION) => {}
        Some(found) => return Err(RecordError::Version { path: path.to_owned(), found, known: SCHEMA_VERSION }),
        None => return Err(RecordError::format(path, "it has no schema_version")),
    }
    serde_json::from_value(value).map_err(|error| RecordError::format(path, error.to_string()))
}

/// The bytes of the file at `path`, or of the one beside it with `.gz` appended to its name.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, RecordError> {
    let failed = |error| RecordError::io("read", path, error);
    let bounded = |file: &mut dyn Read| {
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            let why = format!("it is larger than {} MB, which no run writes", MAX_FILE_BYTES >> 20);
            return Err(RecordError::format(path, why));
        }
        Ok(bytes)
    };
    match File::open(path) {
        Ok(mut file) => bounded(&mut file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut compressed = OsString::from(path);
            compressed.push(".gz");
            // Missing both ways, the name without .gz is the one to be told of.
            let Ok(file) = File::open(compressed) else { return Err(failed(error)) };
            bounded(&mut flate2::read::MultiGzDecoder::new(file))
        }
        Err(error) => Err(failed(error)),
    }
}

/// The text of a file up to its last whole line.
fn whole_lines(path: &Path) -> Result<String, RecordError> {
    let text = String::from_utf8(read_file(path)?);
    let mut text = text.map_err(|_| RecordError::format(path, "it is no text"))?;
    text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    Ok(text)
}

fn read_csv<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, RecordError> {
    csv::Reader::from_reader(whole_lines(path)?.as_bytes())
        .deserialize()
        .collect::<Result<_, _>>()
        .map_err(|error| RecordError::format(path, error.to_string()))
}

fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, RecordError> {
    whole_lines(path)?
        .lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line)
                .map_err(|error| RecordError::format(path, format!("line {}: {error}", index + 1)))
        })
        .collect()
}
