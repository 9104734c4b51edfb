//! What one selection chose.

use super::{ProjectError, tables};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// `picks.json`: one selection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Picks {
    /// The format of this file; 1.
    pub format: u32,
    /// Which selection of the project; 0 is the first.
    pub round: u32,
    /// `initial` without labels, `query` with some.
    pub role: String,
    /// Who chose: one strategy, or two that were mixed.
    pub strategies: Vec<String>,
    /// The hashes of their files, in the same order.
    pub sha256: Vec<String>,
    /// The seed of everything that was drawn.
    pub seed: u64,
    /// Version of the program.
    pub coldstart: String,
    /// When it was done, in UTC.
    pub time: String,
    /// How long it took.
    pub seconds: f64,
    /// The folder of images.
    pub folder: String,
    /// How many images it has; copies are one image.
    pub images: usize,
    /// How many more files are copies of them.
    #[serde(default)]
    pub copies: usize,
    /// Ids of images that the project knew and that were left out, because they were gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<u64>,
    /// How many files were no images.
    pub skipped: usize,
    /// How many images were labelled before, of each class.
    pub labels: BTreeMap<String, usize>,
    /// The chosen images, the first the most wanted.
    pub picks: Vec<Pick>,
}

/// One chosen image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pick {
    /// From 1 on.
    pub rank: usize,
    /// Path below the folder of images.
    pub image: String,
    /// The strategy's own number; none if it gives none.
    pub score: Option<f32>,
    /// Its place in `images.csv`.
    pub id: u64,
    /// Paths of other files with the same content: a label for one of them is a label for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<String>,
    /// Whether it was drawn by chance, and not chosen.
    #[serde(default, skip_serializing_if = "is_false")]
    pub drawn: bool,
}

fn is_false(value: &bool) -> bool {
    !*value
}

impl Picks {
    pub(super) fn read(path: &Path) -> Result<Picks, ProjectError> {
        let text = std::fs::read(path).map_err(|error| ProjectError::read(path, error))?;
        serde_json::from_slice(&text).map_err(|error| ProjectError::damaged(path, error))
    }

    /// A row for each pick: `rank,image,score,id`, and `copies` where there are some, with ` | ` between their paths.
    pub fn to_csv(&self) -> String {
        let rows: Vec<[String; 5]> = self.picks.iter().map(Pick::cells).collect();
        match self.picks.iter().any(|pick| !pick.copies.is_empty()) {
            true => tables::text(COLUMNS, rows.iter().map(|cells| cells.each_ref().map(String::as_str))),
            false => {
                let [rank, image, score, id, _] = COLUMNS;
                tables::text([rank, image, score, id], rows.iter().map(without_copies))
            }
        }
    }

    /// The same as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data") + "\n"
    }
}

const COLUMNS: [&str; 5] = ["rank", "image", "score", "id", "copies"];

fn without_copies([rank, image, score, id, _]: &[String; 5]) -> [&str; 4] {
    [rank, image, score, id]
}

impl Pick {
    fn cells(&self) -> [String; 5] {
        let score = self.score.map(|score| score.to_string()).unwrap_or_default();
        [self.rank.to_string(), self.image.clone(), score, self.id.to_string(), self.copies.join(" | ")]
    }
}
