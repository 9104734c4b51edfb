//! The form of a recording: a zstd stream of entries, each with its length before it.

use crate::plugin::isolate::Fault;
use coldstart_plugin_api::wire;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// No entry is longer; a file that says otherwise is no recording.
const LONGEST: usize = 1 << 30;

/// One entry of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// What was recorded; the first entry.
    Head(Head),
    /// A tensor that later entries name by its hash.
    Tensor {
        hash: String,
        dtype: u8,
        shape: Vec<u64>,
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// The host calls the strategy.
    Call(Call),
    /// The strategy asked whether the host offers an operation.
    Supports { op: String, yes: bool },
    /// The strategy had the host do something: inputs and outputs are tensors.
    Invoked {
        op: String,
        #[serde(with = "serde_bytes")]
        args: Vec<u8>,
        inputs: Vec<String>,
        outcome: Answered,
    },
    /// What the strategy made of the call.
    Outcome(Outcome),
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The form of the file; 1.
    pub format: u32,
    /// The version of the program.
    pub coldstart: String,
    /// The strategy.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// The hash of its file.
    pub sha256: String,
    /// `in-process` or `process`.
    pub mode: String,
}

/// A call of the host's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// Make the instance.
    Create {
        /// The parameters, JSON.
        params: String,
    },
    /// Choose images.
    Select {
        /// The round.
        round: u32,
        /// How many images.
        budget: u64,
        /// The seed.
        #[serde(with = "serde_bytes")]
        seed: Vec<u8>,
        /// A tensor of ids.
        unlabelled: String,
        /// A tensor of ids.
        labelled: String,
        /// What comes with the request.
        #[serde(with = "serde_bytes", default)]
        extra: Vec<u8>,
    },
    /// Give the state.
    Save {},
    /// Take up a state.
    Load {
        /// The state.
        #[serde(with = "serde_bytes")]
        state: Vec<u8>,
    },
}

/// How the host answered an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answered {
    /// With a message and tensors.
    Done {
        #[serde(with = "serde_bytes")]
        answer: Vec<u8>,
        outputs: Vec<String>,
    },
    /// With a failure.
    Fault(Fault),
}

/// How the strategy answered a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The instance is made, or the state taken up.
    Done {},
    /// These images.
    Selected {
        /// Their ids.
        ids: Vec<u64>,
        /// Their scores.
        scores: Vec<f32>,
        /// What a sizer reports.
        #[serde(with = "serde_bytes", default)]
        report: Vec<u8>,
    },
    /// This state.
    Saved {
        /// The bytes.
        #[serde(with = "serde_bytes")]
        state: Vec<u8>,
    },
    /// A failure, in one sentence.
    Failed {
        /// Which.
        error: String,
    },
}

/// The name of a tensor in a recording: type, shape and bytes decide.
pub fn content_hash(dtype: u8, shape: &[u64], bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update([dtype]);
    hash.update((shape.len() as u64).to_le_bytes());
    shape.iter().for_each(|length| hash.update(length.to_le_bytes()));
    hash.update(bytes);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The entries of a recording, as far as it goes; errs when the file is none.
pub fn read(file: &Path) -> io::Result<Vec<Entry>> {
    entries(File::open(file)?)
}

/// The same for bytes from anywhere.
pub fn entries(bytes: impl Read) -> io::Result<Vec<Entry>> {
    let mut stream = zstd::Decoder::new(bytes)?;
    let mut entries = Vec::new();
    let nonsense = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("is no recording: {what}"));
    loop {
        let mut length = [0; 4];
        // A recording of a process that died has no end: what is whole counts.
        if stream.read_exact(&mut length).is_err() {
            break;
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST {
            return Err(nonsense("an entry of more than 1 GiB"));
        }
        let mut body = Vec::new();
        match stream.by_ref().take(length as u64).read_to_end(&mut body) {
            Ok(count) if count == length => {}
            _ => break,
        }
        entries.push(wire::decode(&body).map_err(|error| nonsense(&error.message))?);
    }
    match entries.first() {
        Some(Entry::Head(Head { format: 1, .. })) => Ok(entries),
        Some(Entry::Head(head)) => Err(nonsense(&format!("its format is {}, this program reads 1", head.format))),
        _ => Err(nonsense("it has no head")),
    }
}
