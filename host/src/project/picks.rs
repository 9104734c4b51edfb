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
    /// How many images it has.
    pub images: usize,
    /// How many files were no images.
    pub skipped: usize,
    /// How many images were labelled before, of each class.
    pub labels: BTreeMap<String, usize>,
    /// The chosen images, the first the most wanted.
    pub picks: Vec<Pick>,
}

/// One chosen image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pick {
    /// From 1 on.
    pub rank: usize,
    /// Path below the folder of images.
    pub image: String,
    /// The strategy's own number; none if it gives none.
    pub score: Option<f32>,
    /// Its place in `images.csv`.
    pub id: u64,
}

impl Picks {
    pub(super) fn read(path: &Path) -> Result<Picks, ProjectError> {
        let text = std::fs::read(path).map_err(|error| ProjectError::read(path, error))?;
        serde_json::from_slice(&text).map_err(|error| ProjectError::damaged(path, error))
    }

    /// A row for each pick: `rank,image,score,id`.
    pub fn to_csv(&self) -> String {
        let score = |pick: &Pick| pick.score.map(|score| score.to_string()).unwrap_or_default();
        let cells: Vec<[String; 3]> =
            self.picks.iter().map(|pick| [pick.rank.to_string(), score(pick), pick.id.to_string()]).collect();
        let rows = self.picks.iter().zip(&cells);
        let rows = rows.map(|(pick, [rank, score, id])| [rank.as_str(), pick.image.as_str(), score, id]);
        tables::text(["rank", "image", "score", "id"], rows)
    }

    /// The same as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data") + "\n"
    }
}
