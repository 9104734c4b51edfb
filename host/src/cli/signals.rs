//! Signals that would end the process, and what has to go on in spite of them.

use std::ffi::c_int;

/// Has a write beyond the limit on the size of files (`ulimit -f`) fail as any other write does, with an error that names the file.
pub fn survive_large_files() {
    ignore(libc::SIGXFSZ);
}

/// Whether whoever started the program had it ignore that its terminal goes away, as `nohup` does.
pub fn ignores_hangup() -> bool {
    // SAFETY: all zeros are a valid `sigaction`; without a new action the call only fills in the one that there is.
    let (asked, action) = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(libc::SIGHUP, std::ptr::null(), &mut action), action)
    };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Go on when the terminal goes away.
pub fn ignore_hangup() {
    ignore(libc::SIGHUP);
}

fn ignore(signal: c_int) {
    // SAFETY: ignoring a signal runs no code of ours when it comes.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}
