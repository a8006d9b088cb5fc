//! `.hlog` files: the interval log format of HdrHistogram, readable by its usual viewers (which want V2 compressed).
//!
//! Values are microseconds. The maximum in each line is in milliseconds, as those viewers expect.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogHistogram, IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer, V2Serializer};

use crate::RecordError;

/// Longest latency that is told apart, in microseconds: ten minutes. Longer ones are recorded as this.
const MAX_US: u64 = 600_000_000;

/// A histogram of microseconds with 2 significant digits: some 20 KB, and within 1% of every value.
///
/// # Panics
/// Never: the bounds are constants that the library accepts.
#[must_use]
pub fn new_histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, MAX_US, 2).expect("constant bounds are valid");
    histogram.auto(false);
    histogram
}

/// A histogram as bytes (HdrHistogram V2, uncompressed), for the channel between processes. Empty for an empty one.
///
/// # Panics
/// Never: writing to memory does not fail.
#[must_use]
pub fn encode_histogram(histogram: &Histogram<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !histogram.is_empty() {
        V2Serializer::new().serialize(histogram, &mut bytes).expect("memory accepts every write");
    }
    bytes
}

/// The histogram in `bytes` of [`encode_histogram`].
///
/// # Errors
/// The bytes are not a histogram.
pub fn decode_histogram(bytes: &[u8]) -> io::Result<Histogram<u64>> {
    if bytes.is_empty() {
        return Ok(new_histogram());
    }
    Deserializer::new()
        .deserialize(&mut io::Cursor::new(bytes))
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("not a histogram: {error}")))
}

/// Appends intervals to a log.
pub struct HlogWriter {
    file: BufWriter<File>,
    /// CLOCK_MONOTONIC that the log counts from.
    base_us: u64,
}

impl HlogWriter {
    /// Starts a log at `path`; intervals count from `base_us` of CLOCK_MONOTONIC, which is `wall_us` on the wall clock.
    ///
    /// # Errors
    /// The file could not be made or written.
    pub fn create(path: &Path, base_us: u64, wall_us: u64) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create_new(path)?);
        // The library leaves out the version line, which viewers look for.
        writeln!(file, "#[Histogram log format version 1.3]")?;
        writeln!(file, "#[Values are microseconds]")?;
        let mut header = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        IntervalLogWriterBuilder::new()
            .with_start_time(std::time::UNIX_EPOCH + Duration::from_micros(wall_us))
            .with_max_value_divisor(1000.0)
            .begin_log_with(&mut header, &mut serializer)?;
        file.write_all(&header)?;
        writeln!(file, "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"")?;
        file.flush()?;
        Ok(Self { file, base_us })
    }

    /// Appends one interval that began at `start_us` of CLOCK_MONOTONIC, and flushes it.
    ///
    /// # Errors
    /// The tag holds a character the format has no place for, or the file could not be written.
    pub fn append(
        &mut self,
        tag: &str,
        start_us: u64,
        duration: Duration,
        histogram: &Histogram<u64>,
    ) -> io::Result<()> {
        let tag = Tag::new(tag).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{tag:?} can't be a tag: no commas, spaces or line ends"),
            )
        })?;
        let mut line = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let start = Duration::from_micros(start_us.saturating_sub(self.base_us));
        // A log writer of its own for each line keeps the borrow of the serializer out of this struct; it writes its
        // header lines (comments) only when told to.
        IntervalLogWriterBuilder::new()
            .with_max_value_divisor(1000.0)
            .begin_log_with(&mut line, &mut serializer)?
            .write_histogram(histogram, start, duration, Some(tag))
            .map_err(|error| io::Error::other(format!("can't write a histogram: {error:?}")))?;
        let text = String::from_utf8(line).map_err(io::Error::other)?;
        for row in text.lines().filter(|row| !row.starts_with('#') && !row.is_empty()) {
            writeln!(self.file, "{row}")?;
        }
        self.file.flush()
    }
}

/// One interval of a log.
#[derive(Debug, Clone)]
pub struct HlogInterval {
    /// What it belongs to: a group, or a rate.
    pub tag: String,
    /// From the start of the log.
    pub start: Duration,
    /// How long it lasted.
    pub duration: Duration,
    /// Its values, in microseconds.
    pub histogram: Histogram<u64>,
}

/// All intervals of the log at `path`. A last line that was cut off is left out.
///
/// # Errors
/// The file could not be read, or an earlier line is not of the format.
pub fn read_hlog(path: &Path) -> Result<Vec<HlogInterval>, RecordError> {
    let bytes = crate::reader::read_file(path)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    // The table heading is no part of the format's grammar, but every viewer skips it, and some ask for it.
    let lines: Vec<u8> = bytes[..whole]
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(b"\""))
        .flatten()
        .copied()
        .collect();
    let mut intervals = Vec::new();
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(&lines) {
        let entry = entry.map_err(|error| RecordError::format(path, format!("{error:?}")))?;
        if let LogEntry::Interval(interval) = entry {
            intervals.push(decode(&interval, &mut deserializer).map_err(|why| RecordError::format(path, why))?);
        }
    }
    Ok(intervals)
}

fn decode(interval: &IntervalLogHistogram<'_>, deserializer: &mut Deserializer) -> Result<HlogInterval, String> {
    let bytes = base64_decode(interval.encoded_histogram())?;
    let histogram = deserializer.deserialize(&mut io::Cursor::new(bytes)).map_err(|error| error.to_string())?;
    Ok(HlogInterval {
        tag: interval.tag().map_or_else(String::new, |tag| tag.as_str().to_owned()),
        start: interval.start_timestamp(),
        duration: interval.duration(),
        histogram,
    })
}

fn base64_decode(text: &str) -> Result<Vec<u8>, String> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).map_err(|error| error.to_string())
}
