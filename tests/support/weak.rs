//! Systems that have less than this one.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A kernel without landlock, as far as the process can tell.
pub fn without_landlock(command: &mut Command) {
    // Three calls with one number each on every machine.
    let calls = (444..=446).map(|call| (call, vec![])).collect();
    let unknown = SeccompAction::Errno(38);
    let arch = if cfg!(target_arch = "aarch64") { TargetArch::aarch64 } else { TargetArch::x86_64 };
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, unknown, arch).unwrap();
    let filter: BpfProgram = filter.try_into().unwrap();
    // SAFETY: between fork and exec it makes two system calls, and allocates only to report that one failed.
    unsafe { command.pre_exec(move || seccompiler::apply_filter(&filter).map_err(std::io::Error::other)) };
}
