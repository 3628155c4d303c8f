//! What `/proc` says about a process: memory, processor time, who listens on a port. Answers `None`
//! rather than failing: a figure that can't be read is missing from the table.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// Processor time of a process, and of its children as far as they are still there or were waited for.
pub(crate) fn cpu_of_tree(pid: u32) -> Option<Duration> {
    let mut ticks = own_ticks(pid, true)?;
    for child in children(pid) {
        ticks += own_ticks(child, true).unwrap_or(0);
    }
    Some(from_ticks(ticks))
}

/// Processor time of this process without its children.
pub(crate) fn cpu_of_self() -> Option<Duration> {
    own_ticks(std::process::id(), false).map(from_ticks)
}

fn from_ticks(ticks: u64) -> Duration {
    static PER_SECOND: OnceLock<u64> = OnceLock::new();
    let per_second = *PER_SECOND.get_or_init(|| {
        let told = Command::new("getconf").arg("CLK_TCK").output().ok();
        told.and_then(|out| String::from_utf8(out.stdout).ok()?.trim().parse().ok()).unwrap_or(100)
    });
    Duration::from_millis(ticks * 1000 / per_second.max(1))
}

/// The fields after the name, which may hold blanks and brackets.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(|field| field.trim().parse().unwrap_or(0)).collect())
}

/// `utime` and `stime` are fields 14 and 15 of the manual's count, those of waited-for children 16
/// and 17; ours starts at the third.
fn own_ticks(pid: u32, with_waited_for: bool) -> Option<u64> {
    let fields = stat(pid)?;
    let last = if with_waited_for { 14 } else { 12 };
    Some(fields.get(11..=last)?.iter().sum())
}

fn children(parent: u32) -> Vec<u32> {
    pids().into_iter().filter(|pid| stat(*pid).is_some_and(|f| f.get(1) == Some(&u64::from(parent)))).collect()
}

fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Resident memory now and at its highest, in KiB.
pub(crate) fn memory_kib(pid: u32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

/// The process that listens on a TCP port of this machine, its parent before its children.
pub(crate) fn listener(port: u16) -> Option<u32> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| listening_inode(table, port))?;
    let wanted = format!("socket:[{inode}]");
    let holds = |pid: &u32| {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        entries.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str()))
    };
    pids().into_iter().filter(holds).min()
}

fn listening_inode(table: &str, port: u16) -> Option<u64> {
    let text = fs::read_to_string(table).ok()?;
    let ending = format!(":{port:04X}");
    text.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&ending) && *fields.get(3)? == "0A";
        if listens { fields.get(9)?.parse().ok() } else { None }
    })
}

pub(crate) fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} x {}", model.map_or("unknown processor", |(_, name)| name))
}

pub(crate) fn memory_total_gib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024 / 1024
}
