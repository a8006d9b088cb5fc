//! Synthetic run folders through the whole of analysis; one file per flow.

mod files;
mod nulls;
mod synthetic;
mod verdict;
