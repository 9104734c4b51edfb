//! What goes to stdout. A reader who has read enough, as `head` does, ends the program without a word; std's own macros panic.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// As `println!`.
macro_rules! outln {
    ($($text:tt)*) => { crate::cli::stdout::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// As `print!`.
macro_rules! out {
    ($($text:tt)*) => { crate::cli::stdout::write(format_args!($($text)*)) };
}

/// Write it, or end the program: with 0 where nobody reads any more, with 1 and the reason otherwise.
pub fn write(text: Arguments<'_>) {
    let Err(error) = std::io::stdout().write_fmt(text) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    eprintln!("cannot write to stdout: {error}");
    std::process::exit(1);
}
