//! The journal: one event a line, appended and on disk before the run goes on.

use super::error::RunError;
use super::files;
use super::{Mishap, Pretext, Retried};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What happened. The names are kebab-case in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The run begins.
    RunStarted,
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
    },
    /// The run is complete.
    RunFinished,
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
            | Event::RoundFinished { round } => *round == 0,
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

/// An open journal.
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Open for appending, creating the file if need be. A torn last line, left by a killed process, is cut off.
    ///
    /// Errs while another process has the run's journal open: the lock goes with the process, however it ends.
    pub fn open(path: &Path) -> Result<Journal, RunError> {
        let failed = |source| RunError::File { action: "write", path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).map_err(failed)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let problem = "is in use: another process works on this run".to_owned();
            return Err(RunError::Directory { path: path.to_owned(), problem });
        }
        let bytes = files::read(path)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
        Ok(Journal { path: path.to_owned(), file })
    }

    /// Append an event; it is on disk when this returns.
    pub fn append(&mut self, event: Event) -> Result<(), RunError> {
        let line = Line { time: now(), event };
        let mut text = serde_json::to_string(&line).expect("an event is plain data");
        text.push('\n');
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|source| RunError::File { action: "write", path: self.path.clone(), source })
    }

    /// The text of a journal that begins with round 0 of another one, whose lines stay as they are.
    pub fn beginning_with(from: &Path, run: &Path) -> Result<String, RunError> {
        let events = Journal::read(from)?;
        let bytes = files::read(from)?;
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let of_round_0 = lines.zip(&events).filter(|(_, event)| event.belongs_to_round_0());
        let told = |event: Event| serde_json::to_string(&Line { time: now(), event }).expect("an event is plain data");
        let mut text = format!("{}\n{}\n", told(Event::RunStarted), told(Event::Round0Taken { from: run.to_owned() }));
        for (line, _) in of_round_0 {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        Ok(text)
    }

    /// The whole events of a journal; a torn last line is left out, any other line that is no event is an error.
    pub fn read(path: &Path) -> Result<Vec<Event>, RunError> {
        let bytes = files::read(path)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let damaged = |line: usize, problem: String| RunError::Damaged {
            path: path.to_owned(),
            problem: format!("line {line}: {problem}"),
        };
        let lines = bytes[..whole].split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
        let event = |(i, line): (usize, &[u8])| {
            serde_json::from_slice::<Line>(line).map(|line| line.event).map_err(|e| damaged(i + 1, e.to_string()))
        };
        lines.map(event).collect()
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

    #[test]
    fn a_torn_line_is_cut_off_and_a_damaged_one_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        journal.append(Event::RunStarted).unwrap();
        journal.append(Event::RoundStarted { round: 0 }).unwrap();
        assert!(Journal::open(&path).is_err_and(|error| error.to_string().contains("in use")));
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let events = vec![Event::RunStarted, Event::RoundStarted { round: 0 }];
        for torn in [&b"{\"time\":\"20"[..], b"\0\0\0", b"x"] {
            std::fs::write(&path, [&whole, torn].concat()).unwrap();
            assert_eq!(Journal::read(&path).unwrap(), events);
            Journal::open(&path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        std::fs::write(&path, [b"{\"time\":\"x\"}\n", whole.as_slice()].concat()).unwrap();
        assert!(Journal::read(&path).unwrap_err().to_string().contains("line 1"));
    }
}
