//! What harms more than the plugin's own answer: the process, the machine, the user's files.

use crate::Behaviour;
use coldstart_plugin_api::prelude::*;
use std::ffi::{c_int, c_void};
use std::io;
use std::time::Duration;

// The C library is there anyway.
unsafe extern "C" {
    fn fork() -> c_int;
    fn kill(process: c_int, signal: c_int) -> c_int;
    fn write(file: c_int, bytes: *const c_void, count: usize) -> isize;
}

/// Do harm. What the system forbids comes back as an error with the system's own words.
pub fn act(behaviour: Behaviour, file: &str) -> Result<()> {
    use Behaviour::*;
    match behaviour {
        Aborts => std::process::abort(),
        // SAFETY: none, on purpose: nothing is mapped there.
        Segfaults => unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) },
        OverflowsStack => _ = overflow(0),
        Exits => std::process::exit(0),
        LoopsForever => loop {
            std::hint::spin_loop();
        },
        EatsMemory => eat_memory(),
        CorruptsReply => corrupt_every_line(),
        Forks => fork_many()?,
        RunsProgram => _ = std::process::Command::new("/bin/true").status()?,
        KillsHost => {
            // SAFETY: a plain system call.
            let sent = unsafe { kill(std::os::unix::process::parent_id() as c_int, 9) };
            if sent < 0 {
                return Err(io::Error::last_os_error().into());
            }
        }
        ReadsFile => return Err(Error::plugin(format!("read: {}", std::fs::read_to_string(file)?))),
        WritesFile => std::fs::write(file, "changed by a plugin")?,
        OpensSocket => _ = std::net::TcpStream::connect("127.0.0.1:9")?,
        ReadsEnvironment => {
            let variables: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
            return Err(Error::plugin(format!("environment: {}", variables.join(" "))));
        }
        harmless => return Err(Error::plugin(format!("{harmless:?} kills nobody"))),
    }
    Ok(())
}

#[expect(unconditional_recursion, reason = "that is the harm")]
fn overflow(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 512]);
    overflow(depth + 1) + here[depth as usize % 512]
}

fn eat_memory() {
    let mut eaten = Vec::new();
    loop {
        eaten.push(std::hint::black_box(vec![1_u8; 64 << 20]));
    }
}

/// Whatever is open, the line to the host among it, gets bytes that nobody asked for.
fn corrupt_every_line() {
    let garbage = [0xff_u8; 64];
    for file in 3..64 {
        // SAFETY: the bytes are there; a file that is not open is an error that nobody looks at.
        unsafe { write(file, garbage.as_ptr().cast(), garbage.len()) };
    }
}

/// A fork bomb with a short fuse, for the day on which nothing stops it.
fn fork_many() -> Result<()> {
    for _ in 0..200 {
        // SAFETY: the child does nothing but sleep and end.
        match unsafe { fork() } {
            0 => {
                std::thread::sleep(Duration::from_secs(3));
                std::process::exit(0);
            }
            child if child < 0 => return Err(io::Error::last_os_error().into()),
            _ => {}
        }
    }
    Ok(())
}
