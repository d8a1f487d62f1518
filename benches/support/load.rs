//! How much others disturb a measurement.

use std::fs;
use std::time::Duration;

/// How long threads of this process have been ready to run but without a CPU, where the system
/// tells (Linux).
pub(crate) fn waited() -> Option<Duration> {
    let threads = fs::read_dir("/proc/self/task").ok()?;
    let waits = threads.filter_map(|thread| {
        let statistics = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        statistics.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(waits.sum()))
}
