//! What a plugin says of itself without being run: canonical JSON in the ELF section `.coldstart_manifest`.
//!
//! The text is put together at compile time (`export_plugin!` calls [`json`] in a constant), because the section's
//! bytes must exist before any code runs.

use crate::Role;

/// The ELF section that holds the manifest.
pub const SECTION: &str = ".coldstart_manifest";

/// One piece of a JSON text under construction.
#[derive(Clone, Copy)]
pub enum Piece {
    /// JSON, copied as it is.
    Json(&'static str),
    /// Plain text, written as a JSON string with quotes and escapes.
    Text(&'static str),
}

/// How many bytes [`json`] makes of these pieces.
pub const fn json_len(pieces: &[Piece]) -> usize {
    let mut writer = Writer::<0> { bytes: [], len: 0 };
    writer.write(pieces);
    writer.len
}

/// The JSON text of these pieces; `N` must be [`json_len`] of them.
pub const fn json<const N: usize>(pieces: &[Piece]) -> [u8; N] {
    let mut writer = Writer { bytes: [0; N], len: 0 };
    writer.write(pieces);
    assert!(writer.len == N, "N is not json_len of the pieces");
    writer.bytes
}

/// The text of a manifest made by [`json`].
pub const fn text(json: &'static [u8]) -> &'static str {
    match std::str::from_utf8(json) {
        Ok(text) => text,
        Err(_) => panic!("pieces are UTF-8"),
    }
}

/// Writes what fits and counts everything: with `N = 0` it only measures.
struct Writer<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Writer<N> {
    const fn write(&mut self, pieces: &[Piece]) {
        let mut i = 0;
        while i < pieces.len() {
            match pieces[i] {
                Piece::Json(json) => self.copy(json),
                Piece::Text(text) => self.quote(text),
            }
            i += 1;
        }
    }

    const fn copy(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            self.push(bytes[i]);
            i += 1;
        }
    }

    const fn quote(&mut self, text: &str) {
        let bytes = text.as_bytes();
        self.push(b'"');
        let mut i = 0;
        while i < bytes.len() {
            match bytes[i] {
                b'"' | b'\\' => {
                    self.push(b'\\');
                    self.push(bytes[i]);
                }
                control if control < 0x20 => {
                    self.copy("\\u00");
                    self.push(HEX[(control >> 4) as usize]);
                    self.push(HEX[(control & 15) as usize]);
                }
                plain => self.push(plain),
            }
            i += 1;
        }
        self.push(b'"');
    }

    const fn push(&mut self, byte: u8) {
        if self.len < N {
            self.bytes[self.len] = byte;
        }
        self.len += 1;
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The manifest's word for a strategy that composes others: the parameters that name them, each a name or a list of names. Since 1.3.
///
/// The host finds, trusts, locks and checks these strategies as if the config had named them itself, before anything is trained. Their own
/// parameters stand in the parameter [`COMPONENTS`], if there is one. A strategy that composes is not composed itself.
pub const COMPOSES: &str = "composes";

/// The parameter, by custom, with the parameters of composed strategies: a table for each, under the name that it is composed by.
pub const COMPONENTS: &str = "components";

/// What a strategy goes by, in a word, in its manifest's `criterion`. Since 1.3.
///
/// The word is for those who treat kinds of strategies differently, as sizers do. It is free; these are the words of the strategies
/// that come with the program.
pub mod criterion {
    /// Doubt over all classes: entropy, 1 - max p.
    pub const UNCERTAINTY: &str = "uncertainty";
    /// Doubt between the two most probable classes.
    pub const MARGIN: &str = "margin";
    /// Answers that differ: between passes under dropout, or between views of an image.
    pub const DISAGREEMENT: &str = "disagreement";
    /// What a label would change in the model.
    pub const GRADIENT: &str = "gradient";
    /// Which images stand for the others, or are unlike them.
    pub const REPRESENTATION: &str = "representation";
    /// What a network finds hard or easy that was trained without labels.
    pub const PRETEXT: &str = "pretext";
    /// Several of these, one after the other or mixed, as the method itself decides.
    pub const STAGED: &str = "staged";
    /// Chance.
    pub const CHANCE: &str = "chance";
}

/// What a strategy asks of the task model that not every model can say, in its manifest's `asks`. Since 1.2.
///
/// Probabilities, logits and residuals are left out: every model says them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Features before the last layer.
    Embeddings,
    /// Answers under dropout.
    Dropout,
    /// Answers to random views of an image.
    Views,
}

impl Asked {
    /// All of them.
    pub const ALL: [Asked; 3] = [Asked::Embeddings, Asked::Dropout, Asked::Views];

    /// Its word in a manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Asked::Embeddings => "embeddings",
            Asked::Dropout => "dropout",
            Asked::Views => "views",
        }
    }
}

/// The JSON name of what is asked, for `export_plugin!`.
pub const fn asked(asked: Asked) -> Piece {
    Piece::Text(asked.name())
}

/// The JSON name of a role, for `export_plugin!`.
pub const fn role(role: Role) -> Piece {
    Piece::Text(role.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_as_json_demands() {
        for text in ["", "plain", "a \"quote\"", "back\\slash", "line\nbreak\ttab", "Schröder 李"] {
            let pieces = [Piece::Text(Box::leak(text.to_owned().into_boxed_str()))];
            let json: [u8; 64] = {
                let mut writer = Writer { bytes: [0; 64], len: 0 };
                writer.write(&pieces);
                writer.bytes
            };
            let read: String = serde_json::from_slice(&json[..json_len(&pieces)]).unwrap();
            assert_eq!(read, text);
        }
    }
}
