//! Writes a run folder, each row flushed as it is taken.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{
    CONNECT_HLOG, EVENTS, EventRow, HOST, HlogWriter, HostRow, MANIFEST, Manifest, SAMPLES, SampleRow, TAP_HLOG,
};

/// A run folder that can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The operating system refused.
    #[error("can't {action} {path}: {error}{hint}", path = path.display(), hint = hint(action, error))]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system answered.
        error: io::Error,
    },
    /// The folder holds a run already.
    #[error("{} holds a run already; name another folder with --out, or remove it", .0.display())]
    Exists(PathBuf),
    /// A file is not of the format.
    #[error("{} is damaged: {why}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// In words.
        why: String,
    },
    /// A folder of another version of this program.
    #[error("{} has schema version {found}; this holdline reads version {known}: analyse it with the holdline that wrote it", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// The version found.
        found: u64,
        /// The version that can be read.
        known: u32,
    },
}

impl RecordError {
    pub(crate) fn io(action: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), error }
    }

    pub(crate) fn format(path: &Path, why: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), why: why.into() }
    }
}

fn hint(action: &str, error: &io::Error) -> &'static str {
    match error.kind() {
        _ if action == "read" => "",
        io::ErrorKind::StorageFull => {
            "; free some space or name another folder with --out (what was recorded so far is kept)"
        }
        io::ErrorKind::PermissionDenied => "; name a folder you may write with --out",
        _ => "",
    }
}

/// A run folder being written.
pub struct RunWriter {
    folder: PathBuf,
    samples: csv::Writer<File>,
    host: csv::Writer<File>,
    events: BufWriter<File>,
    connect: HlogWriter,
    taps: HlogWriter,
}

impl RunWriter {
    /// Makes the folder and its files and writes the manifest.
    ///
    /// `mono_us` is CLOCK_MONOTONIC at `manifest.started_wall_us`.
    ///
    /// # Errors
    /// The folder holds a run already, or can't be written.
    pub fn create(folder: &Path, manifest: &Manifest, mono_us: u64) -> Result<Self, RecordError> {
        fs::create_dir_all(folder).map_err(|error| RecordError::io("make", folder, error))?;
        let path = folder.join(MANIFEST);
        if path.exists() {
            return Err(RecordError::Exists(folder.to_owned()));
        }
        write_json(&path, manifest)?;
        let hlog = |name: &str| {
            let path = folder.join(name);
            HlogWriter::create(&path, mono_us, manifest.started_wall_us)
                .map_err(|error| RecordError::io("make", &path, error))
        };
        Ok(Self {
            samples: csv::Writer::from_writer(create(&folder.join(SAMPLES))?),
            host: csv::Writer::from_writer(create(&folder.join(HOST))?),
            events: BufWriter::new(create(&folder.join(EVENTS))?),
            connect: hlog(CONNECT_HLOG)?,
            taps: hlog(TAP_HLOG)?,
            folder: folder.to_owned(),
        })
    }

    /// Writes the rows of one sample and flushes them.
    ///
    /// # Errors
    /// The files can't be written.
    pub fn sample(&mut self, processes: &[SampleRow], host: &HostRow) -> Result<(), RecordError> {
        write_rows(&mut self.samples, processes)
            .map_err(|error| RecordError::io("write", &self.folder.join(SAMPLES), error))?;
        write_rows(&mut self.host, std::slice::from_ref(host))
            .map_err(|error| RecordError::io("write", &self.folder.join(HOST), error))
    }

    /// Writes one event and flushes it.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn event(&mut self, row: &EventRow) -> Result<(), RecordError> {
        write_line(&mut self.events, row).map_err(|error| RecordError::io("write", &self.folder.join(EVENTS), error))
    }

    /// Appends to the log of connect-and-register latencies.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn connect_interval(
        &mut self,
        group: &str,
        start_us: u64,
        duration: std::time::Duration,
        histogram: &hdrhistogram::Histogram<u64>,
    ) -> Result<(), RecordError> {
        self.connect
            .append(group, start_us, duration, histogram)
            .map_err(|error| RecordError::io("write", &self.folder.join(CONNECT_HLOG), error))
    }

    /// Appends to the log of tap round trips.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn tap_interval(
        &mut self,
        tag: &str,
        start_us: u64,
        duration: std::time::Duration,
        histogram: &hdrhistogram::Histogram<u64>,
    ) -> Result<(), RecordError> {
        self.taps
            .append(tag, start_us, duration, histogram)
            .map_err(|error| RecordError::io("write", &self.folder.join(TAP_HLOG), error))
    }
}

fn create(path: &Path) -> Result<File, RecordError> {
    OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| RecordError::io("make", path, error))
}

fn write_rows<T: Serialize>(writer: &mut csv::Writer<File>, rows: &[T]) -> io::Result<()> {
    for row in rows {
        writer.serialize(row).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => error,
            other => io::Error::other(format!("{other:?}")),
        })?;
    }
    writer.flush()
}

fn write_line<T: Serialize>(writer: &mut BufWriter<File>, row: &T) -> io::Result<()> {
    serde_json::to_writer(&mut *writer, row).map_err(io::Error::from)?;
    writer.write_all(b"\n")?;
    writer.flush()
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), RecordError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| RecordError::format(path, error.to_string()))?;
    text.push(b'\n');
    create(path)?.write_all(&text).map_err(|error| RecordError::io("write", path, error))
}
