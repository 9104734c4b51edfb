//! A worker shuts itself in before it loads a plugin, because constructors run inside `dlopen`.
//!
//! landlock keeps it from every file but the system's libraries, seccomp from sockets, other programs and other
//! processes, limits from taking all memory. None of it can be taken back by the plugin.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, apply_filter_all_threads,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the dynamic loader looks; nothing else on disk can be read.
const LIBRARIES: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"];

/// Tensors travel as descriptors and are closed again; no plugin needs many files.
const OPEN_FILES: u64 = 256;

/// How well a process is shut in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// Files, network, programs and processes are out of reach.
    Full,
    /// The kernel's landlock is too old for some of it; seccomp holds.
    Partial,
    /// The kernel knows no landlock: files can be read. seccomp holds.
    NoFiles,
}

impl Confinement {
    /// The word for it in records.
    pub fn name(self) -> &'static str {
        match self {
            Confinement::Full => "full",
            Confinement::Partial => "partial",
            Confinement::NoFiles => "no-landlock",
        }
    }
}

/// Shut this process in, for good; `memory` bytes are left to it beside what it holds already.
///
/// Errs if a part that every supported kernel has cannot be set up. The process must have one thread only: what is set
/// here holds for the thread that calls it and for those that it starts.
pub fn confine(memory: u64) -> Result<Confinement, String> {
    shut_in(memory, &Open { readable: LIBRARIES.map(PathBuf::from).into(), scratch: None }, &only_read_code()?)
}

/// The same for a process that is about to become an interpreter, which reads these folders as well, and writes to `scratch`
/// where there is such a folder.
pub fn confine_interpreter(memory: u64, folders: &[PathBuf], scratch: Option<&Path>) -> Result<Confinement, String> {
    let readable = LIBRARIES.iter().map(PathBuf::from).chain(folders.iter().cloned()).collect();
    // Only programs in these folders, and without fork only in its own place.
    let mut more_calls = Rules::from([(libc::SYS_execve, vec![])]);
    if scratch.is_some() {
        more_calls.extend(WRITING.map(|call| (call, vec![])));
    }
    shut_in(memory, &Open { readable, scratch }, &more_calls)
}

/// What is left open of the file system.
struct Open<'a> {
    readable: Vec<PathBuf>,
    scratch: Option<&'a Path>,
}

/// What a system call's arguments must be, for each call that has such rules: one of them must fit.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Memory is never code and writable at once: what is made before the seal cannot become other code after it.
fn only_read_code() -> Result<Rules, String> {
    let without = |right: i32| when(2, SeccompCmpOp::MaskedEq(right as u64), [0]);
    let one_of =
        || -> Result<_, seccompiler::Error> { Ok([without(libc::PROT_WRITE)?, without(libc::PROT_EXEC)?].concat()) };
    let calls = [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect];
    let rules: Result<Rules, seccompiler::Error> = calls.into_iter().map(|call| Ok((call, one_of()?))).collect();
    rules.map_err(|error| format!("seccomp: {error}"))
}

fn shut_in(memory: u64, open: &Open<'_>, more_calls: &Rules) -> Result<Confinement, String> {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    if let Ok(threads @ 2..) = threads {
        return Err(format!("the worker has {threads} threads already"));
    }
    // What is written takes no more of the disk than of the memory.
    let file_size = if open.scratch.is_some() { memory } else { 0 };
    limit(memory, file_size).map_err(|error| format!("limits: {error}"))?;
    let confinement = hide_files(open).map_err(|error| format!("landlock: {error}"))?;
    filter_calls(more_calls).map_err(|error| format!("seccomp: {error}"))?;
    Ok(confinement)
}

/// Take away the network and all writing but below `folder`; for a process that runs a stranger's code in a test.
///
/// It reads, and may start programs, which are shut in as well. Where the kernel knows no landlock nothing is taken.
pub fn only_read(folder: &Path) -> Result<(), String> {
    let abi = ABI::V6;
    let reading = AccessFs::from_read(abi);
    let shut_in = || -> Result<_, landlock::RulesetError> {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            .create()?
            .add_rules(path_beneath_rules(["/"], reading))?
            .add_rules(path_beneath_rules([folder, Path::new("/dev/null")], AccessFs::from_all(abi)))?
            .restrict_self()
    };
    shut_in().map(|_| ()).map_err(|error| format!("landlock: {error}"))
}

/// The sentence for a system whose sandbox does not suffice.
pub fn too_weak(confinement: Confinement) -> String {
    format!("this system's sandbox is only `{}`, and the config requires all of it", confinement.name())
}

/// Once the instance is made, nothing new can become code, and no file is opened any more, in any thread.
///
/// Errs if the kernel cannot bring a thread under it, because that has set up a filter of its own.
pub fn seal_code() -> Result<(), String> {
    seal().map_err(|error| format!("seccomp: {error}"))
}

fn seal() -> Result<(), seccompiler::Error> {
    let code = libc::PROT_EXEC as u64;
    let mut rules: Rules = OPENING.iter().map(|call| (*call, vec![])).collect();
    for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        rules.insert(call, when(2, SeccompCmpOp::MaskedEq(code), [code])?);
    }
    // A plugin may have started threads by then: the filter holds for them as well, or the call errs.
    apply_filter_all_threads(&program(rules, SeccompAction::Allow, errno(libc::EACCES))?)
}

fn limit(memory: u64, file_size: u64) -> rustix::io::Result<()> {
    lower(Resource::Core, 0)?;
    lower(Resource::Fsize, file_size)?;
    lower(Resource::Nofile, OPEN_FILES)?;
    lower(Resource::As, address_space().saturating_add(memory))
}

/// Bounds a resource; where the shell allows less already, that holds.
fn lower(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |allowed| allowed.min(most));
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}

/// What the process has mapped so far, libtorch among it, in bytes.
fn address_space() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Take away every file that is not open, every file for writing but in the scratch folder, and TCP.
fn hide_files(open: &Open<'_>) -> Result<Confinement, landlock::RulesetError> {
    let abi = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(&open.readable, AccessFs::from_read(abi)))?
        .add_rules(path_beneath_rules(open.scratch, AccessFs::from_all(abi) & !AccessFs::Execute))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Confinement::Full,
        RulesetStatus::PartiallyEnforced => Confinement::Partial,
        RulesetStatus::NotEnforced => Confinement::NoFiles,
    })
}

/// Let through what computing and talking to the host take; everything else fails with EPERM.
fn filter_calls(more: &Rules) -> Result<(), seccompiler::Error> {
    let mut rules: Rules = COMPUTING.iter().chain(&OLDER).chain(&OPENING).map(|call| (*call, vec![])).collect();
    rules.extend(more.clone());
    let (thread, own) = (libc::CLONE_THREAD as u64, u64::from(std::process::id()));
    // Threads, but no processes.
    rules.insert(libc::SYS_clone, when(0, SeccompCmpOp::MaskedEq(thread), [thread])?);
    // Signals to itself, as abort() sends them; its own limits.
    rules.insert(libc::SYS_kill, when(0, SeccompCmpOp::Eq, [own])?);
    rules.insert(libc::SYS_tgkill, when(0, SeccompCmpOp::Eq, [own])?);
    rules.insert(libc::SYS_prlimit64, when(0, SeccompCmpOp::Eq, [0, own])?);
    // Names of threads and of memory; and what a further filter takes, which can only take more away.
    let names = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA, libc::PR_SET_NO_NEW_PRIVS];
    let names = names.map(|option| option as u64);
    rules.insert(libc::SYS_seccomp, vec![]);
    rules.insert(libc::SYS_prctl, when(0, SeccompCmpOp::Eq, names)?);
    // Not F_SETOWN, which has the kernel send signals to others.
    let flags = [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL];
    rules.insert(libc::SYS_fcntl, when(1, SeccompCmpOp::Eq, flags.map(|command| command as u64))?);
    apply_filter(&program(rules, errno(libc::EPERM), SeccompAction::Allow)?)?;
    // glibc asks for clone3 first, whose arguments no filter can see; told that there is none, it takes clone.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    apply_filter(&program(clone3, SeccompAction::Allow, errno(libc::ENOSYS))?)
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number as u32)
}

fn program(rules: Rules, otherwise: SeccompAction, matched: SeccompAction) -> Result<BpfProgram, seccompiler::Error> {
    let arch = if cfg!(target_arch = "aarch64") { TargetArch::aarch64 } else { TargetArch::x86_64 };
    Ok(SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()?)
}

/// A rule for each value that an argument (32 bits of it) may have.
fn when<const N: usize>(
    argument: u8,
    compare: SeccompCmpOp,
    values: [u64; N],
) -> Result<Vec<SeccompRule>, seccompiler::Error> {
    let rule = |value| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare.clone(), value)?;
        Ok(SeccompRule::new(vec![condition])?)
    };
    values.into_iter().map(rule).collect()
}

/// Opening files: landlock says which.
#[cfg(target_arch = "x86_64")]
const OPENING: [i64; 3] = [libc::SYS_open, libc::SYS_openat, libc::SYS_openat2];
#[cfg(not(target_arch = "x86_64"))]
const OPENING: [i64; 2] = [libc::SYS_openat, libc::SYS_openat2];

/// What it takes to write files, in the one folder where landlock lets it.
const WRITING: [i64; 8] = [
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_fallocate,
    libc::SYS_pwrite64,
];

/// What a program that computes and speaks over an open socket needs of the kernel.
const COMPUTING: [i64; 69] = [
    // memory
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_membarrier,
    libc::SYS_pkey_mprotect,
    // threads
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_set_tid_address,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // time and chance
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getrandom,
    // signals of its own
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // descriptors that are open
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fstat,
    libc::SYS_ppoll,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    // looking, where landlock lets it
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    // who and where it is
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_capget,
];

/// The older calls that this machine has beside them.
#[cfg(target_arch = "x86_64")]
const OLDER: [i64; 10] = [
    libc::SYS_poll,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_dup2,
    libc::SYS_arch_prctl,
    libc::SYS_time,
    libc::SYS_getrlimit,
    libc::SYS_faccessat2,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: [i64; 1] = [libc::SYS_faccessat2];
