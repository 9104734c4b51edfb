//! How much memory there is: on the machine, and for the control groups that a container or a job of a cluster is shut in.

use std::fs;
use std::path::Path;

/// Memory in bytes; 0 where the system does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What programs can take before others have to give some up.
    pub free: u64,
    /// All there is.
    pub total: u64,
}

impl Memory {
    /// As it is now, where it is scarcest.
    pub fn now() -> Memory {
        let of = |key| kib("/proc/meminfo", key);
        let machine = Memory { free: of("MemAvailable:"), total: of("MemTotal:") };
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let limits = limits("/sys/fs/cgroup".as_ref(), &groups).into_iter().filter(|limit| limit.total < machine.total);
        limits.fold(machine, |least, limit| if limit.free < least.free { limit } else { least })
    }
}

/// The most memory that a process has taken; 0 where the system does not say.
pub fn peak_bytes(pid: u32) -> u64 {
    kib(&format!("/proc/{pid}/status"), "VmHWM:")
}

/// How a version of control groups tells of memory.
struct Version {
    /// What the process's groups are listed under.
    controller: &'static str,
    folder: &'static str,
    limit: &'static str,
    used: &'static str,
    /// In `memory.stat`: files that are kept because there is room, and are given up first.
    cache: &'static str,
}

const VERSIONS: [Version; 2] = [
    Version {
        controller: "memory",
        folder: "memory",
        limit: "memory.limit_in_bytes",
        used: "memory.usage_in_bytes",
        cache: "total_inactive_file",
    },
    Version { controller: "", folder: "", limit: "memory.max", used: "memory.current", cache: "inactive_file" },
];

/// What each group with a limit has that a process belongs to, by the text of its `/proc/PID/cgroup`.
fn limits(mounted: &Path, groups: &str) -> Vec<Memory> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let named = |version: &&Version| controllers.split(',').any(|controller| controller == version.controller);
        let Some(version) = VERSIONS.iter().find(named) else { continue };
        let root = mounted.join(version.folder);
        let own = root.join(group.trim_start_matches('/'));
        // Whatever a group around it has is its own limit too. In a container the root alone may be there.
        limits.extend(
            own.ancestors().take_while(|group| group.starts_with(&root)).filter_map(|group| version.read(group)),
        );
    }
    limits
}

impl Version {
    /// None where there is no limit, or no such group.
    fn read(&self, group: &Path) -> Option<Memory> {
        let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
        let (total, used) = (number(self.limit)?, number(self.used)?);
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let cache = stat.lines().find_map(|line| line.strip_prefix(self.cache)?.trim().parse().ok()).unwrap_or(0);
        Some(Memory { free: total.saturating_sub(used.saturating_sub(cache)), total })
    }
}

fn kib(file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_with_a_limit_has_less_than_the_machine() {
        let mounted = tempfile::tempdir().unwrap();
        let group = |name: &str, files: [(&str, &str); 3]| {
            let folder = mounted.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            files.into_iter().for_each(|(file, text)| fs::write(folder.join(file), text).unwrap());
        };
        let first = |limit, used, stat| {
            [("memory.limit_in_bytes", limit), ("memory.usage_in_bytes", used), ("memory.stat", stat)]
        };
        let second = |limit, used, stat| [("memory.max", limit), ("memory.current", used), ("memory.stat", stat)];
        group("memory", first("9223372036854771712\n", "5000\n", "cache 9\n"));
        group("memory/job", first("1000\n", "700\n", "inactive_file 7\ntotal_inactive_file 100\n"));
        group("memory/job/step", first("800\n", "900\n", ""));
        group("slice", second("max\n", "5000\n", "inactive_file 1\n"));
        group("slice/box", second("600\n", "200\n", "file 90\ninactive_file 50\n"));
        let of = |free, total| Memory { free, total };
        let unlimited = of(9223372036854771712 - 5000, 9223372036854771712);
        let rows: &[(&str, &[Memory])] = &[
            ("3:cpuset:/job\n4:cpu,memory:/job/step\n0::/\n", &[of(0, 800), of(400, 1000), unlimited]),
            ("0::/slice/box\n", &[of(450, 600)]),
            // Seen from within a container, which knows its group by another name.
            ("4:memory:/docker/12ab\n", &[unlimited]),
            ("0::/slice\n1:name=systemd:/slice/box\nnonsense\n", &[]),
        ];
        for (groups, expected) in rows {
            assert_eq!(limits(mounted.path(), groups), *expected, "{groups}");
        }
    }

    #[test]
    fn this_machine_has_memory_and_this_process_takes_some_of_it() {
        let now = Memory::now();
        assert!(0 < now.free && now.free <= now.total, "{now:?}");
        assert!((1 << 20..now.total).contains(&peak_bytes(std::process::id())));
    }
}
