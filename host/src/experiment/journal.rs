//! The journal: one event a line, appended and on disk before the run goes on.
//!
//! Each line ends with a hash of itself. So a line that was torn, which only the last one can be, is told apart from one that was
//! changed: the first is cut off, the second is an error. Journals of earlier versions have no such hashes, and are read as they are.

use super::budget::End;
use super::error::RunError;
use super::files;
use super::hashes::Hashes;
use super::{Mishap, Pretext, Retried};
use crate::hash;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What happened. The names are kebab-case in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The run begins.
    RunStarted {
        /// The files that say what runs.
        #[serde(default, skip_serializing_if = "Hashes::is_empty")]
        files: Hashes,
    },
    /// The run goes on after a stop, with this round.
    Resumed {
        /// The first round to do.
        round: u32,
    },
    /// Round 0 was taken over from another run, whose events of it follow.
    Round0Taken {
        /// The other run's folder.
        from: PathBuf,
    },
    /// A round begins.
    RoundStarted {
        /// Which.
        round: u32,
    },
    /// The images of a round are chosen.
    Selected {
        /// Which round.
        round: u32,
        /// How many images.
        images: usize,
    },
    /// A network was trained for the strategy of a round, or found in the cache.
    PretextTrained {
        /// Which round.
        round: u32,
        /// Which network.
        #[serde(flatten)]
        pretext: Pretext,
    },
    /// The strategy of a round was lost while it chose, and was asked again.
    AskedAgain {
        /// Which round.
        round: u32,
        /// What had happened.
        #[serde(flatten)]
        mishap: Mishap,
    },
    /// The training of a round went wrong, and was done again.
    TrainedAgain {
        /// Which round.
        round: u32,
        /// Why, and how.
        #[serde(flatten)]
        retried: Retried,
    },
    /// The model of a round is trained.
    Trained {
        /// Which round.
        round: u32,
    },
    /// The model of a round is evaluated.
    Evaluated {
        /// Which round.
        round: u32,
        /// Accuracy on the test part.
        accuracy: f64,
    },
    /// Everything of a round is on disk: from here on it counts.
    RoundFinished {
        /// Which.
        round: u32,
        /// All that the round left; none where an earlier version did it.
        #[serde(default, skip_serializing_if = "Hashes::is_empty")]
        files: Hashes,
    },
    /// The run is complete.
    RunFinished {
        /// The tables that it leaves beside the rounds.
        #[serde(default, skip_serializing_if = "Hashes::is_empty")]
        files: Hashes,
    },
    /// The run is to end later than its config says, which may make a complete one incomplete.
    Extended {
        /// When.
        end: End,
    },
    /// It was diagnosed: with the label of every image, by whoever asked for it.
    Diagnosed {
        /// What that left.
        files: Hashes,
    },
    /// The run stopped with an error.
    RunFailed {
        /// Its text.
        error: String,
    },
    /// The user stopped the run.
    Interrupted,
}

impl Event {
    fn belongs_to_round_0(&self) -> bool {
        match self {
            Event::RoundStarted { round }
            | Event::Selected { round, .. }
            | Event::PretextTrained { round, .. }
            | Event::AskedAgain { round, .. }
            | Event::TrainedAgain { round, .. }
            | Event::Trained { round }
            | Event::Evaluated { round, .. }
            | Event::RoundFinished { round, .. } => *round == 0,
            _ => false,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    time: String,
    #[serde(flatten)]
    event: Event,
}

impl Line {
    fn of(event: Event) -> Line {
        Line { time: now(), event }
    }

    /// The line with the hash of itself, and its end.
    fn text(&self) -> String {
        hash::checked_line(&serde_json::to_string(self).expect("an event is plain data")) + "\n"
    }

    /// Errs with a sentence: the line is no event, or not the one that was written.
    ///
    /// `must_be_checked` where lines before it have hashes: then all have.
    fn read(text: &[u8], must_be_checked: bool) -> Result<(Line, bool), String> {
        let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
        let parse = |text: &str| serde_json::from_str(text).map_err(|error| error.to_string());
        match hash::read_line(text) {
            hash::Line::Whole(text) => Ok((parse(&text)?, true)),
            hash::Line::Changed => Err("it is not what was written".to_owned()),
            hash::Line::Unchecked => {
                let line = parse(text)?;
                if must_be_checked { Err("it has lost its hash".to_owned()) } else { Ok((line, false)) }
            }
        }
    }
}

/// How many bytes of a journal are whole lines. A last line with zeros in it was torn by a power loss: its end is on disk, and
/// its beginning is not.
fn whole_bytes(bytes: &[u8]) -> usize {
    let mut whole = &bytes[..after_last_newline(bytes)];
    while let Some(lines) = whole.strip_suffix(b"\n") {
        let begin = after_last_newline(lines);
        if !lines[begin..].contains(&0) {
            break;
        }
        whole = &whole[..begin];
    }
    whole.len()
}

fn after_last_newline(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
}

/// An open journal.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of its whole lines: what lies behind them is of a line that could not be written.
    whole: u64,
}

impl Journal {
    /// Open for appending, creating the file if need be. A torn last line, left by a killed process, is cut off.
    ///
    /// Errs while another process has the run's journal open: the lock goes with the process, however it ends.
    pub fn open(path: &Path) -> Result<Journal, RunError> {
        let failed = |source| RunError::File { action: "write", path: path.to_owned(), source };
        let is_new = !path.exists();
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).map_err(failed)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let problem = "is in use: another process works on this run".to_owned();
            return Err(RunError::Directory { path: path.to_owned(), problem });
        }
        if is_new {
            files::sync_parent(path).map_err(failed)?;
        }
        let whole = whole_bytes(&files::read(path)?) as u64;
        let journal = Journal { path: path.to_owned(), file, whole };
        journal.cut().map_err(failed)?;
        Ok(journal)
    }

    /// Append an event; it is on disk when this returns.
    ///
    /// Errs when it cannot be written; then nothing of it is left, or it is cut off before the next one.
    pub fn append(&mut self, event: Event) -> Result<(), RunError> {
        let text = Line::of(event).text();
        let written = self.cut().and_then(|()| self.write(text.as_bytes()));
        written.map_err(|source| {
            // What cannot be cut off now is cut off when the journal is opened, or written to, again.
            let _ = self.cut();
            RunError::File { action: "write", path: self.path.clone(), source }
        })
    }

    /// Cut off what lies behind the whole lines.
    fn cut(&self) -> io::Result<()> {
        match self.file.metadata()?.len() == self.whole {
            true => Ok(()),
            false => self.file.set_len(self.whole),
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all_at(line, self.whole)?;
        self.file.sync_data()?;
        self.whole += line.len() as u64;
        Ok(())
    }

    /// The text of a journal that begins with round 0 of another one, whose lines stay as they are but for the last: `begun` are
    /// the hashes of what describes the new run, and `round_0` those of what it has of the round.
    pub fn beginning_with(from: &Path, run: &Path, begun: Hashes, round_0: &Hashes) -> Result<String, RunError> {
        let taken = Event::Round0Taken { from: run.to_owned() };
        let mut text = Line::of(Event::RunStarted { files: begun }).text() + &Line::of(taken).text();
        for mut line in Journal::lines(from)?.into_iter().filter(|line| line.event.belongs_to_round_0()) {
            if let Event::RoundFinished { files, .. } = &mut line.event {
                files.clone_from(round_0);
            }
            text.push_str(&line.text());
        }
        Ok(text)
    }

    /// The whole events of a journal; a torn last line is left out, any other line that is no event, or was changed, is an error.
    pub fn read(path: &Path) -> Result<Vec<Event>, RunError> {
        Ok(Journal::lines(path)?.into_iter().map(|line| line.event).collect())
    }

    fn lines(path: &Path) -> Result<Vec<Line>, RunError> {
        let bytes = files::read(path)?;
        let whole = &bytes[..whole_bytes(&bytes)];
        let (mut lines, mut checked) = (Vec::new(), false);
        for (number, text) in (1..).zip(whole.split(|byte| *byte == b'\n')).filter(|(_, text)| !text.is_empty()) {
            let (line, has_check) = Line::read(text, checked).map_err(|problem| RunError::Damaged {
                path: path.to_owned(),
                problem: format!("line {number}: {problem}"),
            })?;
            checked |= has_check;
            lines.push(line);
        }
        Ok(lines)
    }
}

/// The time in UTC as RFC 3339, to the millisecond.
pub fn now() -> String {
    rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

fn rfc3339(milliseconds: u64) -> String {
    let (seconds, milliseconds) = (milliseconds / 1000, milliseconds % 1000);
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

/// Days since 1970-01-01 as a date of the Gregorian calendar, with years that begin in March.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (400 * era + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `date -u -d @SECONDS +%FT%TZ`.
    #[test]
    fn times_are_rfc_3339() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(seconds * 1000), expected);
        }
    }

    fn started() -> Event {
        Event::RunStarted { files: Hashes::new() }
    }

    fn ended() -> Event {
        Event::RunFinished { files: Hashes::new() }
    }

    #[test]
    fn a_torn_line_is_cut_off_and_a_damaged_one_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        journal.append(started()).unwrap();
        journal.append(Event::RoundStarted { round: 0 }).unwrap();
        assert!(Journal::open(&path).is_err_and(|error| error.to_string().contains("in use")));
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let events = vec![started(), Event::RoundStarted { round: 0 }];
        for torn in [&b"{\"time\":\"20"[..], b"\0\0\0", b"x", b"\0\0\0,\"event\":\"interrupted\"}\n"] {
            std::fs::write(&path, [&whole, torn].concat()).unwrap();
            assert_eq!(Journal::read(&path).unwrap(), events);
            Journal::open(&path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        std::fs::write(&path, [b"{\"time\":\"x\"}\n", whole.as_slice()].concat()).unwrap();
        assert!(Journal::read(&path).unwrap_err().to_string().contains("line 1"));
    }

    /// What a write leaves that was cut short, and a process that goes on.
    #[test]
    fn what_was_written_of_a_line_is_cut_off_before_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        journal.append(started()).unwrap();
        for torn in ["{\"time\":\"2026-01-01T0", "{", "\n\n"] {
            OpenOptions::new()
                .append(true)
                .open(&path)
                .and_then(|mut file| io::Write::write_all(&mut file, torn.as_bytes()))
                .unwrap();
            journal.append(Event::Interrupted).unwrap();
        }
        assert_eq!(
            Journal::read(&path).unwrap(),
            [started(), Event::Interrupted, Event::Interrupted, Event::Interrupted]
        );
    }

    /// Every bit of a journal, one after the other.
    #[test]
    fn no_flipped_bit_makes_another_journal_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        let finished = Event::RoundFinished { round: 0, files: Hashes::from([("a".to_owned(), "00ff".to_owned())]) };
        let events = [started(), finished, ended()];
        events.iter().for_each(|event| journal.append(event.clone()).unwrap());
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            // A prefix is a journal of a run that was killed: what is missing is done again.
            let read = Journal::read(&path);
            assert!(read.as_ref().map_or(true, |read| events.starts_with(read)), "bit {bit}: {read:?}");
        }
    }

    #[test]
    fn journals_of_earlier_versions_are_read_and_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        std::fs::write(
            &path,
            "{\"time\":\"x\",\"event\":\"run-started\"}\n{\"time\":\"y\",\"event\":\"round-finished\",\"round\":0}\n",
        )
        .unwrap();
        Journal::open(&path).unwrap().append(ended()).unwrap();
        let finished = Event::RoundFinished { round: 0, files: Hashes::new() };
        assert_eq!(Journal::read(&path).unwrap(), [started(), finished, ended()]);
    }
}
