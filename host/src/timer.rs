//! A timer of the kernel's (timerfd_create(2)) for schedules finer than the 1 ms of a runtime's timer wheel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};

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

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
