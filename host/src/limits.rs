//! What a plugin may take, and how long the program waits for others: every limit has a name and a figure here.
//!
//! No limit stands here that nobody checks. `docs/reference/limits.md` has the same table, and a test holds it to this one.

use coldstart_plugin_api::tensors::MOST_TENSORS;
use std::fmt;
use std::time::Duration;

/// The most of something that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What errors and the table call it.
    pub name: &'static str,
    /// The most that is allowed.
    pub most: u64,
    /// What is counted.
    pub unit: Unit,
    /// What happens beyond it.
    pub beyond: &'static str,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things of this name.
    Of(&'static str),
}

/// More than a limit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// The limit.
    pub limit: Limit,
    /// What there was.
    pub figure: u64,
}

impl Limit {
    const fn bytes(name: &'static str, most: u64, beyond: &'static str) -> Limit {
        Limit { name, most, unit: Unit::Bytes, beyond }
    }

    const fn of(name: &'static str, most: u64, unit: &'static str, beyond: &'static str) -> Limit {
        Limit { name, most, unit: Unit::Of(unit), beyond }
    }

    /// The same limit with a figure that the config or the machine decides.
    pub const fn at(self, most: u64) -> Limit {
        Limit { most, ..self }
    }

    /// The figure as a length in memory.
    pub const fn length(self) -> usize {
        self.most as usize
    }

    /// Errs with the excess when `figure` is more than allowed.
    pub fn check(self, figure: u64) -> Result<(), Excess> {
        if figure > self.most { Err(Excess { limit: self, figure }) } else { Ok(()) }
    }

    /// The figure with its unit, such as `64 KiB`.
    pub fn figure(self) -> String {
        self.unit.say(self.most)
    }
}

impl Unit {
    /// A figure of this unit, for people.
    pub fn say(self, figure: u64) -> String {
        match (self, figure) {
            (Unit::Of(unit), figure) => format!("{figure} {unit}"),
            (Unit::Bytes, ..KIB) => format!("{figure} bytes"),
            (Unit::Bytes, ..MIB) => in_units(figure, KIB, "KiB"),
            (Unit::Bytes, ..GIB) => in_units(figure, MIB, "MiB"),
            (Unit::Bytes, _) => in_units(figure, GIB, "GiB"),
        }
    }
}

fn in_units(figure: u64, unit: u64, name: &str) -> String {
    match figure.is_multiple_of(unit) {
        true => format!("{} {name}", figure / unit),
        false => format!("{:.1} {name}", figure as f64 / unit as f64),
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Excess { limit, figure } = self;
        write!(f, "{}: {}, and {} are allowed", limit.name, limit.unit.say(*figure), limit.figure())
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Beyond it a worker is ended.
const ENDED: &str = "P021, the worker is ended";
/// Beyond it an operation answers with an error.
const REFUSED: &str = "the operation is refused";
/// Beyond it text is cut.
const CUT: &str = "cut, with the number of bytes left out";

/// A body of any kind; what announces more is no message.
pub const FRAME: Limit = Limit::bytes("a message between program and worker", GIB, "P020, the worker is ended");
/// Its first words, and the manifest that it repeats.
pub const FRAME_MANIFEST: Limit = Limit::bytes("its manifest", 4 * MIB, ENDED);
/// An answer that holds no data, and a question without arguments.
pub const FRAME_PLAIN: Limit = Limit::bytes("a message without data", 64 * KIB, ENDED);
/// A log message with its fields; the kits cut theirs.
pub const FRAME_LOG: Limit = Limit::bytes("a log message", 256 * KIB, ENDED);
/// An error's sentence and details; the kits cut theirs.
pub const FRAME_FAULT: Limit = Limit::bytes("an error's text", MIB, ENDED);
/// The arguments of an operation: the largest are an artifact's bytes.
pub const FRAME_ARGUMENTS: Limit = Limit::bytes("the arguments of an operation", ARTIFACT.most + MIB, ENDED);
/// A tensor that is handed to the program; `plugins.memory` where that is less.
pub const FRAME_TENSOR: Limit = Limit::bytes("a tensor handed to the program", GIB - MIB, ENDED);
/// The chosen images beside their own numbers, a sizer's report among it.
pub const FRAME_SELECTION: Limit = Limit::bytes("its answer, beside 16 bytes for each image asked for", MIB, ENDED);
/// A piece of a learner's answer; the kit's are smaller.
pub const FRAME_PIECE: Limit = Limit::bytes("a piece of a learner's answer", 9 * MIB, "L009, the learner is ended");
/// Descriptors that a worker sends.
pub const SENT_DESCRIPTORS: Limit = Limit::of("descriptors sent to the program", 0, "descriptors", ENDED);

/// Threads of a worker beside [`THREADS_OF_A_CORE`] for each core.
pub const THREADS: Limit = Limit::of("threads of a worker, beside 4 for each core", 64, "threads", ENDED);
/// Threads of a worker for each core of the machine.
pub const THREADS_OF_A_CORE: u64 = 4;
/// Descriptors that a worker has open.
pub const DESCRIPTORS: Limit = Limit::of("open descriptors of a worker", 128, "descriptors", ENDED);
/// What a worker's own memory and the tensors that it keeps open may take beyond `plugins.memory`, in bytes: pages that were
/// its own before it loaded the plugin, and were touched later.
pub const MEMORY: Limit = Limit::bytes("memory of a worker, beside `plugins.memory`", 64 * MIB, ENDED);

/// A plugin's sentence in errors, hints and reasons.
pub const MESSAGE: Limit = Limit::bytes("a sentence in an error, on the terminal and in the journal", 4 * KIB, CUT);
/// A line in the log.
pub const LOG_LINE: Limit = Limit::bytes("a line of the log", 4 * KIB, CUT);
/// Lines that one call writes into the log.
pub const LOG_LINES: Limit = Limit::of("log lines of a call", 1000, "lines", "left out, and counted at the end");
/// Bytes that one call writes into the log.
pub const LOG_BYTES: Limit = Limit::bytes("log lines of a call, together", MIB, "left out, and counted at the end");
/// Numbers that a sizer gives beside its reason.
pub const MEASURES: Limit = Limit::of("numbers in a sizer's answer", 64, "numbers", "P018");
/// The name of a stage that it reports progress of.
pub const STAGE: Limit = Limit::bytes("the name of a stage of its progress", 120, CUT);

/// One artifact: they are small tables and images, and they stay with the run for good.
pub const ARTIFACT: Limit = Limit::bytes("an artifact", 64 * MIB, REFUSED);
/// Artifacts and maps of a round.
pub const ARTIFACTS_OF_A_ROUND: Limit = Limit::bytes("artifacts and maps of a round", 256 * MIB, REFUSED);
/// Files of a round.
pub const ARTIFACT_FILES: Limit = Limit::of("artifacts and maps of a round, by number", 1000, "files", REFUSED);
/// Artifacts and maps of a run.
pub const ARTIFACTS_OF_A_RUN: Limit = Limit::bytes("artifacts and maps of a run", 4 * GIB, REFUSED);
/// The state of an instance.
pub const STATE: Limit = Limit::bytes("the state of an instance", 256 * MIB, "P021");
/// A recording.
pub const RECORDING: Limit = Limit::bytes("a recording", 4 * GIB, "the recording ends there");

/// Trainings that one call asks for, those from the cache included.
pub const TRAININGS: Limit = Limit::of("trainings of a call", 256, "trainings", REFUSED);
/// Tensors that one call keeps.
pub const TENSORS: Limit = Limit::of("tensors of a call", MOST_TENSORS as u64, "tensors", REFUSED);
/// Tensors that go into one operation.
pub const INPUTS: Limit = Limit::of("tensors that go into an operation", 64, "tensors", REFUSED);
/// Ids that one operation is asked about, for each image of the pool.
pub const IDS: Limit = Limit::of("ids in an operation, for each image of the pool", 4, "ids", REFUSED);
/// Random bytes of one question; a plugin that wants many draws them from a generator of its own.
pub const RANDOM: Limit = Limit::bytes("bytes drawn for a question", 16 * MIB, REFUSED);
/// How many times `plugins.timeout` the program works for one call before that counts as the plugin's own time.
pub const HOST_TIME: Limit =
    Limit::of("the program's work for a call, in `plugins.timeout`", 24, "times as long", "P019, or refused");

/// Every limit on plugins, in the order of the table in `docs/reference/limits.md`.
pub const ALL: [Limit; 30] = [
    MEMORY,
    THREADS,
    DESCRIPTORS,
    SENT_DESCRIPTORS,
    FRAME,
    FRAME_MANIFEST,
    FRAME_PLAIN,
    FRAME_LOG,
    FRAME_FAULT,
    FRAME_ARGUMENTS,
    FRAME_TENSOR,
    FRAME_SELECTION,
    STATE,
    MESSAGE,
    STAGE,
    LOG_LINE,
    LOG_LINES,
    LOG_BYTES,
    MEASURES,
    ARTIFACT,
    ARTIFACTS_OF_A_ROUND,
    ARTIFACT_FILES,
    ARTIFACTS_OF_A_RUN,
    RECORDING,
    TRAININGS,
    TENSORS,
    INPUTS,
    IDS,
    RANDOM,
    HOST_TIME,
];

/// How long a worker may take to come up; loading the program takes a while on a busy machine.
pub const START: Duration = Duration::from_secs(60);
/// How long a call may go on after the user has cancelled.
pub const GRACE: Duration = Duration::from_secs(5);
/// How long a worker that is told goodbye may take to end.
pub const GOODBYE: Duration = Duration::from_millis(500);
/// How long `git config` may take.
pub const GIT: Duration = Duration::from_secs(10);
/// How long an interpreter may take to say where its packages are.
pub const PYTHON: Duration = Duration::from_secs(60);
/// How long one of Slurm's programs may take; they wait for the controller themselves, and give up before that.
pub const SLURM: Duration = Duration::from_secs(300);
/// How long `cargo zigbuild --help` may take.
pub const CARGO_HELP: Duration = Duration::from_secs(60);
/// How long the build of a plugin may take.
pub const CARGO: Duration = Duration::from_secs(4 * 3600);
/// How long a worker of a sweep may take to reach a safe point after it was asked to stop.
pub const SAFE_POINT: Duration = Duration::from_secs(600);
/// How long a command waits for another process that makes the same cache entry; a training may take days.
pub const CACHE_ENTRY: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a command waits for another process that lets go of a cache entry which is made.
pub const CACHE_LOCK: Duration = Duration::from_secs(60);
/// How long a server may say nothing in the middle of a download.
pub const SILENCE: Duration = Duration::from_secs(120);
/// How long the system may take to end a process that was killed.
pub const DEATH: Duration = Duration::from_secs(10);

/// The text, cut to so many bytes, with a note of what is left out.
pub fn shortened(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let left_out = text.len() - end;
        text.truncate(end);
        text.shrink_to_fit();
        text.push_str(&format!("... {left_out} bytes left out"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_limit_stands_in_the_table_with_its_figure() {
        let table = include_str!("../../docs/reference/limits.md");
        let mut names = BTreeSet::new();
        for limit in ALL {
            let row = format!("| {} | {} | {} |", limit.name, limit.figure(), limit.beyond);
            assert!(table.contains(&row), "docs/reference/limits.md has no row\n{row}");
            assert!(names.insert(limit.name), "two limits are called {}", limit.name);
        }
    }

    #[test]
    fn a_text_is_cut_at_a_character_and_says_what_is_left_out() {
        for (text, most, expected) in [
            ("short", 5, "short"),
            ("longer", 5, "longe... 1 bytes left out"),
            ("ééé", 3, "é... 4 bytes left out"),
            ("é", 1, "... 2 bytes left out"),
            ("", 0, ""),
        ] {
            assert_eq!(shortened(text.to_owned(), most), expected);
        }
    }

    #[test]
    fn figures_are_said_in_units_of_people() {
        for (unit, figure, said) in [
            (Unit::Bytes, 1023, "1023 bytes"),
            (Unit::Bytes, 4096, "4 KiB"),
            (Unit::Bytes, 1_500_000, "1.4 MiB"),
            (Unit::Bytes, 3 << 30, "3 GiB"),
            (Unit::Of("threads"), 3001, "3001 threads"),
        ] {
            assert_eq!(unit.say(figure), said);
        }
        let excess = LOG_LINES.check(1001).unwrap_err().to_string();
        assert_eq!(excess, "log lines of a call: 1001 lines, and 1000 lines are allowed");
        assert!(LOG_LINES.check(1000).is_ok());
    }
}
