//! What goes to stdout and, line by line, to stderr: one place, so that no text of somebody else's reaches the terminal as it is.
//!
//! A reader who has read enough, as `head` does, ends the program without a word; std's own macros panic.

use crate::foreign;
use std::fmt::Arguments;
use std::io::{ErrorKind, IsTerminal, Write};

/// One line on stdout, safe for a terminal: line feeds within it are escaped, too.
macro_rules! outln {
    ($($text:tt)*) => { crate::cli::stdout::line(format_args!($($text)*)) };
}

/// One line on stderr, in the same way.
macro_rules! errln {
    ($($text:tt)*) => { crate::cli::stdout::error_line(format_args!($($text)*)) };
}

/// Write a line to stdout, or end the program: with 0 where nobody reads any more, with 1 and the reason otherwise.
pub fn line(text: Arguments<'_>) {
    write(&format!("{}\n", foreign::line(&text.to_string())));
}

/// Write a line to stderr; where nobody hears it, it is not said.
pub fn error_line(text: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{}", foreign::line(&text.to_string()));
}

/// Write a table to stdout: byte for byte, but line by line as a terminal shows it where a person looks at one.
pub fn table(text: &str) {
    match std::io::stdout().is_terminal() {
        true => text.lines().for_each(|row| line(format_args!("{row}"))),
        false => write(text),
    }
}

/// Write the program's own text to stdout, byte for byte.
pub fn own(text: &str) {
    write(text);
}

/// Write JSON to stdout.
pub fn json(text: &str) {
    write(&format!("{}\n", foreign::json(text)));
}

fn write(text: &str) {
    let Err(error) = std::io::stdout().write_all(text.as_bytes()) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    error_line(format_args!("cannot write to stdout: {error}"));
    std::process::exit(1);
}
