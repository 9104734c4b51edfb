//! Event files, as TensorBoard reads them: records with checksums around messages of protocol buffers.
//!
//! The file follows from the run's folder alone. While a run goes on it only grows, so that a TensorBoard that has it open goes on
//! reading; whatever else is in it is put right. The steps are labels bought, the times those of the journal.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{began_at, counted, finished_at, scalars};
use crate::report::ReportError;
use crate::report::run::{Run, read_numbers};

/// A name that TensorBoard takes for an event file; it reads all those of a folder.
const FILE: &str = "events.out.tfevents.0.coldstart";
const VERSION: &str = "brain.Event:2";

/// Bring the event file of a run up to date: `tensorboard/events.out.tfevents.0.coldstart` in its folder.
///
/// Errs when `dir` is no run, and when the file cannot be written.
pub fn write(dir: &Path) -> Result<(), ReportError> {
    write_in(&read_numbers(dir)?, &dir.join("tensorboard"))
}

/// The same in another folder.
pub(super) fn write_in(run: &Run, folder: &Path) -> Result<(), ReportError> {
    let path = folder.join(FILE);
    let bring = || {
        std::fs::create_dir_all(folder)?;
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path)?;
        let (mut there, bytes) = (Vec::new(), bytes(run));
        file.read_to_end(&mut there)?;
        if !bytes.starts_with(&there) {
            file.set_len(0)?;
            there.clear();
        }
        file.seek(SeekFrom::Start(there.len() as u64))?;
        file.write_all(&bytes[there.len()..])
    };
    bring().map_err(|source| ReportError::Write { path: path.clone(), source })
}

/// The whole file.
pub(super) fn bytes(run: &Run) -> Vec<u8> {
    let began = began_at(run);
    let mut file = record(&event(began, 0, &field_bytes(3, VERSION.as_bytes())));
    let config = format!("```toml\n{}\n```", run.config.text);
    file.extend(record(&event(began, 0, &summary(&[text_value("config", &config)]))));
    for round in counted(run) {
        let values: Vec<Vec<u8>> = scalars(round).iter().map(|(tag, value)| scalar_value(tag, *value)).collect();
        let step = round.metrics.labels_bought() as u64;
        file.extend(record(&event(finished_at(run, round.number), step, &summary(&values))));
    }
    file
}

/// A record: its length, the checksum of the length, the bytes, their checksum.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &masked(&length).to_le_bytes(), bytes, &masked(bytes).to_le_bytes()].concat()
}

/// The checksum of a record: CRC-32C, turned and shifted as in TensorFlow's `record_writer`.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The message `Event`, with what it is about.
fn event(wall_time: f64, step: u64, what: &[u8]) -> Vec<u8> {
    let mut event = [&[key(1, FIXED64)][..], &wall_time.to_le_bytes()].concat();
    if step > 0 {
        event.extend([vec![key(2, VARINT)], varint(step)].concat());
    }
    event.extend_from_slice(what);
    event
}

/// The field `summary` of an event.
fn summary(values: &[Vec<u8>]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| field_bytes(1, value)).collect();
    field_bytes(5, &values)
}

fn scalar_value(tag: &str, value: f64) -> Vec<u8> {
    [&field_bytes(1, tag.as_bytes())[..], &[key(2, FIXED32)], &(value as f32).to_le_bytes()].concat()
}

/// A text, shown as Markdown: a tensor of one string, for the plugin `text`.
fn text_value(tag: &str, text: &str) -> Vec<u8> {
    const STRING: u64 = 7;
    let shape = field_bytes(2, &[vec![key(1, VARINT)], varint(1)].concat());
    let tensor =
        [vec![key(1, VARINT)], varint(STRING), field_bytes(2, &shape), field_bytes(8, text.as_bytes())].concat();
    let metadata = field_bytes(1, &field_bytes(1, b"text"));
    [field_bytes(1, tag.as_bytes()), field_bytes(8, &tensor), field_bytes(9, &metadata)].concat()
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// What stands before a field: its number, below 16, and how it is written.
fn key(field: u8, kind: u8) -> u8 {
    field << 3 | kind
}

fn field_bytes(field: u8, bytes: &[u8]) -> Vec<u8> {
    [&[key(field, BYTES)][..], &varint(bytes.len() as u64), bytes].concat()
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with TensorBoard 2.21.0:
    ///
    /// ```python
    /// from tensorboard.compat.proto.event_pb2 import Event
    /// from tensorboard.compat.proto.summary_pb2 import Summary
    /// from tensorboard.summary.writer.record_writer import RecordWriter
    /// e = Event(wall_time=1.5, step=300, summary=Summary(value=[Summary.Value(tag="test/accuracy", simple_value=0.25)]))
    /// RecordWriter(open("x", "wb")).write(e.SerializeToString()); print(open("x", "rb").read().hex())
    /// ```
    #[test]
    fn a_record_is_what_tensorboard_writes() {
        let made = record(&event(1.5, 300, &summary(&[scalar_value("test/accuracy", 0.25)])));
        let hex: String = made.iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = "2400000000000000422b804d09000000000000f83f10ac022a160a140a0d746573742f6163637572616379150000803e54bd\
             1d49";
        assert_eq!(hex, golden);
    }

    #[test]
    fn numbers_have_seven_bits_a_byte() {
        for (number, bytes) in [(0, vec![0]), (127, vec![127]), (128, vec![0x80, 1]), (300, vec![0xac, 2])] {
            assert_eq!(varint(number), bytes);
        }
    }
}
