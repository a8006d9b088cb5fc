//! Synthetic run folders through the whole of analysis; one file per flow.

mod files;
mod gate;
mod nulls;
mod synthetic;
mod verdict;
