//! Who holds a claim: a process, told from every other one, on this host or another.
//!
//! The number of a process says little: the same one exists on every host and in every container, and is given again when its process
//! has ended. Therefore a holder is known by its kernel, the namespaces of its number and of its clock, the number, and when it was
//! started.

use crate::hash::sha256;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use std::fs;

/// A worker, as its claims name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What it is called.
    pub name: String,
    /// Whether an executor watches it, and says what becomes of its run when it dies.
    pub watched: bool,
    /// The host's name, for people alone: two may have the same.
    pub host: String,
    /// What its kernel has called itself since it was booted; empty where that is not known.
    pub boot: String,
    /// Where its number counts, such as `pid:[4026531836] time:[4026531834]`; empty where that is not known.
    pub namespace: String,
    /// The number of its process.
    pub process: u32,
    /// When it was started, in ticks since the boot.
    pub started: u64,
}

/// What this process can see of a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It is a process of this system, and works.
    Alive,
    /// It was a process of this system, and has ended.
    Gone,
    /// It is, or was, somewhere else.
    Elsewhere,
}

impl Holder {
    /// This process: by the name that an executor which watches it has given it, or by its host and number.
    pub fn this_process(known_as: Option<&str>) -> Holder {
        let word = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let process = std::process::id();
        let host = word("/proc/sys/kernel/hostname");
        Holder {
            name: known_as.map_or_else(|| format!("{host}-{process}"), str::to_owned),
            watched: known_as.is_some(),
            boot: word("/proc/sys/kernel/random/boot_id"),
            namespace: namespaces(),
            process,
            started: Stat::of(process).map_or(0, |stat| stat.started),
            host,
        }
    }

    /// A word that no other process has, on this host or another.
    pub fn token(&self) -> String {
        let Holder { host, boot, namespace, process, started, .. } = self;
        sha256(format!("{host} {boot} {namespace} {process} {started}").as_bytes())[..8].to_owned()
    }

    /// Whether it runs, or ran, under the kernel that `me` runs under.
    pub fn shares_kernel(&self, me: &Holder) -> bool {
        !self.boot.is_empty() && self.boot == me.boot
    }

    /// What `me`, which is this process, sees of it.
    pub fn seen_by(&self, me: &Holder) -> Sight {
        let is_ours = self.shares_kernel(me) && !self.namespace.is_empty() && self.namespace == me.namespace;
        let pid = i32::try_from(self.process).ok().and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|_| is_ours) else { return Sight::Elsewhere };
        match (Stat::of(self.process), test_kill_process(pid)) {
            (Some(stat), _) if stat.started == self.started && !stat.has_ended => Sight::Alive,
            (Some(_), _) | (None, Err(Errno::SRCH)) => Sight::Gone,
            // Of other users' processes some systems show nothing but that they are there.
            (None, _) => Sight::Elsewhere,
        }
    }
}

/// The namespaces that numbers and starts of processes are counted in; empty where they are not known.
fn namespaces() -> String {
    let link =
        |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).map(|link| link.to_string_lossy().into_owned());
    // A kernel before 5.6 has no namespaces of clocks.
    link("pid").map_or_else(|_| String::new(), |pid| format!("{pid} {}", link("time").unwrap_or_default()))
}

/// What the system says of a process.
struct Stat {
    /// It is only kept for its parent to hear of its end.
    has_ended: bool,
    started: u64,
}

impl Stat {
    fn of(process: u32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    /// The line of `/proc/PID/stat`; the program's name in it may hold anything.
    fn parse(line: &str) -> Option<Stat> {
        let (_, fields) = line.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let started = fields.get(19)?.parse().ok()?;
        Some(Stat { has_ended: matches!(fields[0], "Z" | "X"), started })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_told_from_every_other_one() {
        let me = Holder::this_process(None);
        assert!(!me.boot.is_empty() && !me.namespace.is_empty() && me.started > 0 && !me.watched);
        let dead = {
            let mut child = Command::new("true").spawn().unwrap();
            child.wait().unwrap();
            Holder { process: child.id(), ..me.clone() }
        };
        for (what, holder, sight) in [
            ("itself", me.clone(), Sight::Alive),
            ("one that has ended", dead, Sight::Gone),
            ("one whose number was given again", Holder { started: me.started - 1, ..me.clone() }, Sight::Gone),
            ("the same number on another host", Holder { boot: "other".to_owned(), ..me.clone() }, Sight::Elsewhere),
            ("in another container", Holder { namespace: "pid:[1]".to_owned(), ..me.clone() }, Sight::Elsewhere),
            ("where little is known", Holder { namespace: String::new(), ..me.clone() }, Sight::Elsewhere),
            ("a number that is none", Holder { process: 0, ..me.clone() }, Sight::Elsewhere),
            ("a number too large", Holder { process: u32::MAX, ..me.clone() }, Sight::Elsewhere),
        ] {
            assert_eq!(holder.seen_by(&me), sight, "{what}");
            assert_eq!(holder.token() == me.token(), what == "itself", "{what}");
        }
        // What is not known is never the same.
        let unknown = Holder { boot: String::new(), ..me.clone() };
        assert_eq!(unknown.seen_by(&unknown), Sight::Elsewhere);
    }

    #[test]
    fn a_process_that_waits_for_its_parent_is_gone() {
        let me = Holder::this_process(None);
        let mut child = Command::new("true").spawn().unwrap();
        while !Stat::of(child.id()).unwrap().has_ended {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let started = Stat::of(child.id()).unwrap().started;
        assert_eq!(Holder { process: child.id(), started, ..me.clone() }.seen_by(&me), Sight::Gone);
        child.wait().unwrap();
    }

    #[test]
    fn the_name_of_a_program_hides_nothing() {
        let line = "7 (a) Z 1 (b)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let stat = Stat::parse(line).unwrap();
        assert!((stat.started, stat.has_ended) == (4711, false));
        assert!(
            ["", "7 (a)", "7 (a) S 1", "7 (a) S x x x x x x x x x x x x x x x x x x x"]
                .iter()
                .all(|line| Stat::parse(line).is_none())
        );
    }
}
