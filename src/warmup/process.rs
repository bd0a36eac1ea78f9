//! What the kernel knows of this process: when it started and what memory it has.

use std::time::Duration;

use tokio::time::Instant;

/// A process older than this when it first looks can't be right: some sandboxes report the machine's
/// start instead of the process's.
const OLDEST: Duration = Duration::from_secs(600);

/// When the kernel started this process, to its clock's tick of 10 ms; now, where it can't be told.
pub fn started() -> Instant {
    let now = Instant::now();
    age().filter(|age| *age < OLDEST).and_then(|age| now.checked_sub(age)).unwrap_or(now)
}

/// Linux counts in hundredths of a second on every platform that warmcut runs on (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

fn age() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let up: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(up - start_ticks(&stat)? / TICKS_PER_SECOND).ok()
}

/// Field 22 of `/proc/[pid]/stat` (proc(5)). The second field is the name in parentheses and may hold
/// anything, so the count begins after the last one.
fn start_ticks(stat: &str) -> Option<f64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Of the machine.
    pub total: u64,
    /// Of the machine, what could be had.
    pub available: u64,
    /// Of this process's control groups, if they have one.
    pub limit: Option<u64>,
    /// In use by this process.
    pub resident: u64,
    /// The most that it ever used.
    pub peak: u64,
}

/// Reads what the kernel says now; zeros where it doesn't.
pub fn memory() -> Memory {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (machine, status) = (read("/proc/meminfo"), read("/proc/self/status"));
    let total = kilobytes(&machine, "MemTotal:");
    Memory {
        total,
        available: kilobytes(&machine, "MemAvailable:"),
        limit: limit_below(total),
        resident: kilobytes(&status, "VmRSS:"),
        peak: kilobytes(&status, "VmHWM:"),
    }
}

/// The least that any of this process's control groups allows, if that is less than the machine has.
fn limit_below(total: u64) -> Option<u64> {
    let files = limit_files(&std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
    let limits = files.iter().filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok());
    // Version 1 says "no limit" by a number near the largest.
    limits.min().filter(|limit| *limit < total)
}

/// Where limits may be written: for the process's group and those around it, of both versions. Inside a
/// container the names that the kernel gives are often those outside, and only the root is there.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        for group in std::path::Path::new(path).ancestors() {
            let group = group.to_string_lossy();
            files.push(format!("{mount}{}/{file}", group.trim_end_matches('/')));
        }
    }
    files
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_looked_for_in_the_process_group_and_around_it() {
        assert_eq!(
            limit_files("0::/system.slice/warmcut.service\n"),
            [
                "/sys/fs/cgroup/system.slice/warmcut.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ],
        );
        assert_eq!(
            limit_files("8:cpu,cpuacct:/a\n4:memory:/a\nnonsense\n"),
            ["/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"],
        );
    }

    #[test]
    fn the_start_is_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 1 2";
        assert_eq!(start_ticks(stat), Some(12345.0));
        assert_eq!(start_ticks("nonsense"), None);
    }

    #[test]
    fn this_process_started_before_now_and_not_long_ago() {
        let age = started().elapsed();
        assert!(age < OLDEST, "{age:?}");
        assert!(memory().resident > 1 << 20);
    }
}
