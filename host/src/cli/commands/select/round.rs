//! What a selection leaves in the folder of its round.

use crate::cli::args::{Format, Select};
use crate::cli::problem::Problem;
use crate::config::Config;
use crate::data::{Reading, Shape, decode_images, sheet};
use crate::experiment::write_atomically;
use crate::project::{
    Guess, Known, NearCopy, Pick, Picks, Pool, Predictions, Project, Recognised, Tasks, near_copies_to_csv, url_prefix,
};
use crate::session::{Estimate, NearCopies, Predicted};
use coldstart_plugin_api::{Role, Selection};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Side of a tile of the contact sheet, and of one where there are many.
const TILES: [usize; 2] = [128, 64];
/// From so many images on they are shown small.
const MANY: usize = 300;
/// What the strategies want to be told the next time.
const STATE: &str = "strategy.state";

/// What the same strategies left when they chose last.
pub fn state_before(project: &Project, rounds: &[Picks], strategies: &[(String, String)]) -> Result<Vec<u8>, Problem> {
    let same = |picks: &&Picks| {
        picks.role == Role::Query.name() && picks.sha256.iter().eq(strategies.iter().map(|(_, sha256)| sha256))
    };
    let last = rounds.iter().rev().find(same);
    Ok(last.and_then(|picks| std::fs::read(project.round(picks.round).join(STATE)).ok()).unwrap_or_default())
}

/// The chosen images by name, and after them those that were drawn.
pub fn ranked(selection: &Selection, drawn: &[u64], pool: &Pool, images: &[Known]) -> Vec<Pick> {
    let pick = |(i, id): (usize, &u64)| Pick {
        rank: i + 1,
        image: images[*id as usize].image.clone(),
        score: selection.scores.get(i).copied(),
        id: *id,
        copies: pool.names_of_copies(*id, images),
        drawn: i >= selection.ids.len(),
    };
    selection.ids.iter().chain(drawn).enumerate().map(pick).collect()
}

/// Everything that a round leaves but its page.
pub struct Round<'a> {
    pub config: &'a Config,
    pub picks: &'a Picks,
    pub pool: &'a Pool,
    pub found: &'a Recognised,
    /// What the strategies want to be told the next time.
    pub state: &'a [u8],
    pub predicted: Option<&'a Predicted>,
    pub near: Option<&'a NearCopies>,
    /// What is white in grey of 16 bits, over all images.
    pub white: u16,
}

impl Round<'_> {
    /// Writes it into a folder.
    pub fn write(&self, select: &Select, folder: &Path) -> Result<(), Problem> {
        let write = |name: &str, bytes: &[u8]| write_atomically(&folder.join(name), bytes);
        write("config.toml", self.config.to_toml().as_bytes())?;
        if !self.state.is_empty() {
            write(STATE, self.state)?;
        }
        write("contact-sheet.png", &self.contact_sheet(select)?)?;
        let guesses = self.write_predictions(folder)?;
        if let Some(near) = self.near {
            write("near-copies.csv", self.near_table(near).as_bytes())?;
        }
        if select.format.contains(&Format::LabelStudio) {
            self.write_tasks(select, &guesses, folder)?;
        }
        write("picks.csv", self.picks.to_csv().as_bytes())?;
        Ok(write("picks.json", self.picks.to_json().as_bytes())?)
    }

    fn contact_sheet(&self, select: &Select) -> Result<Vec<u8>, Problem> {
        let side = TILES[usize::from(self.picks.picks.len() >= MANY)];
        let shape = Shape { height: side, width: side, channels: 3 };
        let paths: Vec<String> = self.picks.picks.iter().map(|pick| pick.image.clone()).collect();
        let reading = Reading { progress: &|_, _| {}, cancelled: &AtomicBool::new(false), white: Some(self.white) };
        let shown = decode_images(&select.images, &paths, shape, &reading)?;
        Ok(sheet(&shown.pixels_nhwc, shape))
    }

    /// Writes what the model says of all images, and what that is worth; hands back what it takes each for.
    fn write_predictions(&self, folder: &Path) -> Result<BTreeMap<u64, Guess>, Problem> {
        let Some(Predicted { probs_nc, estimate }) = self.predicted else { return Ok(BTreeMap::new()) };
        let predictions = Predictions { pool: self.pool, probs_nc };
        let table = predictions.to_csv(&self.found.images);
        write_atomically(&folder.join("predictions.csv"), table.as_bytes())?;
        if let Some(estimate) = estimate {
            write_atomically(&folder.join(ESTIMATE), json_of(estimate).as_bytes())?;
        }
        Ok(predictions.guesses())
    }

    fn near_table(&self, near: &NearCopies) -> String {
        let name = |id: u64| self.found.images[id as usize].image.as_str();
        near_copies_to_csv(near.iter().map(|([one, other], share)| NearCopy {
            one: name(*one),
            other: name(*other),
            share: *share,
        }))
    }

    /// Writes what Label Studio imports: the tasks, and once there are classes an interface for them.
    fn write_tasks(&self, select: &Select, guesses: &BTreeMap<u64, Guess>, folder: &Path) -> Result<(), Problem> {
        let images = std::path::absolute(&select.images).unwrap_or_else(|_| select.images.clone());
        let prefix = select.url_prefix.clone().unwrap_or_else(|| url_prefix(&images));
        let tasks = Tasks { picks: self.picks, url_prefix: &prefix, control: &select.control, guesses };
        write_atomically(&folder.join("label-studio.json"), tasks.to_json().as_bytes())?;
        if !self.pool.classes.is_empty() {
            write_atomically(&folder.join("label-studio.xml"), tasks.interface(&self.pool.classes).as_bytes())?;
        }
        Ok(())
    }
}

/// What the predictions of a round are worth.
pub const ESTIMATE: &str = "estimate.json";

fn json_of(estimate: &Estimate) -> String {
    serde_json::to_string_pretty(estimate).expect("plain data") + "\n"
}
