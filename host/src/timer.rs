//! A timer of the kernel's (timerfd_create(2)) for schedules finer than the 1 ms of a runtime's timer wheel.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Becomes readable at a set time of CLOCK_MONOTONIC.
#[derive(Debug)]
pub struct Timer(OwnedFd);

impl Timer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// EMFILE or ENFILE: no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?))
    }

    /// Nests the timer in the runtime that this is called in.
    ///
    /// # Errors
    /// The runtime can't watch another descriptor.
    #[allow(unsafe_code, reason = "the safe constructor is deprecated: it takes descriptors that may be closed early")]
    pub fn nest(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is owned by `self`, always the same, and closed only when `self` is dropped.
        unsafe { AsyncFd::register(self) }.map_err(io::Error::from)
    }

    /// Readable at `mono_us` of CLOCK_MONOTONIC, at once if that has passed. Forgets an earlier setting.
    ///
    /// # Errors
    /// None that a valid time can cause.
    pub fn set(&self, mono_us: u64) -> io::Result<()> {
        // A time of all zeros would unset the timer.
        let mono_us = mono_us.max(1);
        let value = Timespec {
            tv_sec: i64::try_from(mono_us / 1_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(mono_us % 1_000_000 * 1000).unwrap_or(0),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
