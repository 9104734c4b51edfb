//! What the program and a learner's process say to each other, in frames as those of strategies.
//!
//! Numbers travel as bytes, little-endian: ids and labels as i64, answers as f32. Pixels do not travel: each part of the data
//! set comes with a sealed memory file.

use crate::limits::{self, Limit};
use crate::plugin::isolate::{Allowance, Channel, Incoming, name_of};
use crate::plugin::script::Module;
use coldstart_plugin_api::wire;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::net::UnixStream;

/// From the program to the learner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ToLearner {
    /// Who speaks.
    Hello { protocol: u32, api: String },
    /// Run the script that comes with this frame, and say which methods its class has.
    Open { modules: Vec<Module>, log_level: u8 },
    /// A part of the data set; its pixels, or features, come with this frame.
    Part(PartFrame),
    /// Make the instance; every part has come.
    Create(Setting),
    /// Train.
    Fit {
        #[serde(with = "serde_bytes")]
        labelled: Vec<u8>,
        #[serde(with = "serde_bytes")]
        labels: Vec<u8>,
        seed: u32,
        warm: bool,
        log_level: u8,
    },
    /// Say something of images.
    Ask {
        #[serde(with = "serde_bytes")]
        ids: Vec<u8>,
        method: String,
        /// Passes under dropout; 0 for none.
        passes: u32,
        seed: u32,
        log_level: u8,
    },
    /// Store yourself in a file.
    Save { path: String },
    /// Take yourself from a file.
    Load { path: String },
    /// The user wants to stop.
    Cancel {},
    /// The end.
    Goodbye {},
}

/// A part of the data set, as the learner has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct PartFrame {
    /// `pool`, `test` or `validation`.
    pub name: String,
    #[serde(with = "serde_bytes")]
    pub ids: Vec<u8>,
    /// The class of each image; empty where the learner is not told.
    #[serde(with = "serde_bytes")]
    pub labels: Vec<u8>,
    /// Height, width and channels.
    pub shape: Vec<u64>,
    /// The file of each image, or none at all.
    pub files: Vec<String>,
    /// The folder that the files are in; empty where they lie in an archive.
    pub root: String,
}

/// What a learner is told of its surroundings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// `training.params`, as JSON.
    pub params: String,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// Where it may compute, as `cpu` or `cuda:0`.
    pub device: String,
    /// How many threads are its own.
    pub threads: u32,
    /// The most verbose level that the program listens to.
    pub log_level: u8,
}

/// From the learner to the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FromLearner {
    /// Who speaks.
    Hello { protocol: u32, api: String, language: String },
    /// The script has run: the methods of its class, how well it is shut in, and versions of what it has imported.
    Opened { methods: Vec<String>, confinement: String, versions: BTreeMap<String, String> },
    /// The part is taken.
    Taken {},
    /// The instance is made.
    Created {},
    /// It is trained; what it says of that.
    Fitted { loss: Option<f64>, accuracy: Option<f64> },
    /// An array of 32-bit floats follows, in pieces.
    Array { shape: Vec<u64> },
    /// The next piece of it.
    Piece {
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// All arrays have come.
    Answered {},
    /// It is stored.
    Saved {},
    /// It is taken.
    Loaded {},
    /// The last request failed.
    Fault(Fault),
    /// A line for the log; no answer.
    Log {
        level: u8,
        target: String,
        message: String,
        #[serde(with = "serde_bytes")]
        fields: Vec<u8>,
    },
    /// How far a long step has come; no answer.
    Progress { stage: String, done: u64, total: u64 },
}

/// A failure, as strategies send it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Fault {
    pub code: i32,
    pub message: String,
    /// A MessagePack map with more, or empty.
    #[serde(with = "serde_bytes")]
    pub detail: Vec<u8>,
}

impl Fault {
    /// What comes with it, by name.
    pub fn details(&self) -> BTreeMap<String, String> {
        wire::decode(&self.detail).unwrap_or_default()
    }
}

impl Incoming for FromLearner {
    const TAKES_DESCRIPTORS: bool = false;

    fn limit(beginning: &[u8], _: &Allowance) -> Limit {
        match name_of(beginning) {
            Some("hello" | "opened") => limits::FRAME_MANIFEST,
            Some("piece") => limits::FRAME_PIECE,
            Some("fault") => limits::FRAME_FAULT,
            Some("log") => limits::FRAME_LOG,
            _ => limits::FRAME_PLAIN,
        }
    }
}

/// Take bytes for what a learner sends: for one message, and for a conversation to its end.
pub fn understand(bytes: &[u8]) {
    FromLearner::limit(bytes, &Allowance::default());
    if let Ok(FromLearner::Fault(fault)) = wire::decode(bytes) {
        fault.details();
    }
    let Ok((here, mut there)) = UnixStream::pair() else { return };
    // What does not fit into the socket's buffer is cut off, as a dying process would.
    _ = there.set_nonblocking(true);
    _ = there.write(bytes);
    drop(there);
    let channel = Channel::new(here);
    while channel.receive::<FromLearner>(&Allowance::default(), &mut || Ok(())).is_ok() {}
}

/// Whole numbers as they travel.
pub(super) fn packed(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    numbers.into_iter().flat_map(u64::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_learner_sends_is_bounded_by_its_kind() {
        let array = FromLearner::Array { shape: vec![1, 2] };
        for (message, limit) in [
            (FromLearner::Fitted { loss: None, accuracy: Some(1.0) }, limits::FRAME_PLAIN),
            (FromLearner::Piece { bytes: vec![0; 99] }, limits::FRAME_PIECE),
            (array, limits::FRAME_PLAIN),
            (FromLearner::Fault(Fault { code: 4, message: String::new(), detail: vec![] }), limits::FRAME_FAULT),
        ] {
            let body = wire::encode(&message);
            assert_eq!(FromLearner::limit(&body, &Allowance::default()), limit, "{message:?}");
            assert_eq!(wire::decode::<FromLearner>(&body).unwrap(), message);
        }
    }
}
