//! Arguments for whoever has images and no labels.

use super::device;
use crate::config::Override;
use clap::{ValueEnum, ValueHint};
use std::path::PathBuf;

/// Arguments of `select`.
#[derive(Debug, clap::Args)]
pub struct Select {
    /// Folder of images (JPEG, PNG, WebP, BMP, TIFF, GIF), at any depth; names of folders do not matter
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub images: PathBuf,
    /// Who chooses: before the first label a strategy of the role `initial`, afterwards one of the role `query`
    #[arg(long, value_name = "NAME")]
    pub strategy: String,
    /// How many images
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub size: usize,
    /// Folder of the project [default: NAME-selection for a folder NAME]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Features for strategies that ask for them: handcrafted, pixels, random-network, file, moco-v2, ... [default:
    /// handcrafted, or as in the round before]
    #[arg(long, value_name = "METHOD")]
    pub representation: Option<String>,
    /// Set one key of the config, such as `params.clusters=20` or `training.epochs=100`; may be repeated
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    set: Vec<Override>,
    /// Take one key of the config out that was set in a round before; may be repeated
    #[arg(long, value_name = "KEY", value_parser = Override::unset)]
    unset: Vec<Override>,
    /// Also write this; may be repeated. CSV and JSON are always written
    #[arg(long, value_name = "FORMAT")]
    pub format: Vec<Format>,
    /// What Label Studio puts before an image's path [default: its local files, with the folder above DIR as root]
    #[arg(long, value_name = "URL")]
    pub url_prefix: Option<String>,
    /// Go on where images were changed or deleted since the last selection: a changed one keeps its label, one that is gone is
    /// left out. Images that were only moved or renamed are recognised without it
    #[arg(long)]
    pub accept_changes: bool,
    /// Also write the ranked picks here as CSV; `-` prints them
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Where the model runs: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = device)]
    pub device: String,
    /// Print the picks as JSON
    #[arg(long, conflicts_with = "output")]
    pub json: bool,
}

impl Select {
    /// What is laid over the config, in order.
    pub fn overrides(&self) -> Vec<Override> {
        self.unset.iter().chain(&self.set).cloned().collect()
    }
}

/// Formats of picks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// picks.csv
    Csv,
    /// picks.json
    Json,
    /// label-studio.json: tasks to import
    LabelStudio,
}

/// Arguments of `ingest`.
#[derive(Debug, clap::Args)]
pub struct Ingest {
    /// The folder that `select` wrote
    #[arg(value_hint = ValueHint::DirPath)]
    pub project: PathBuf,
    /// A table with the columns image and label (CSV, also with semicolons or tabs), or an export of Label Studio (JSON,
    /// JSON-MIN or CSV); packed with gzip or not
    #[arg(value_hint = ValueHint::FilePath)]
    pub labels: PathBuf,
    /// The column, or the control of Label Studio, that holds the label [default: the only one there is]
    #[arg(long, value_name = "NAME")]
    pub field: Option<String>,
    /// The column, or the key of a task's data, that names the image [default: coldstart_image, image, or in tasks of Label
    /// Studio the one that leads to an image]
    #[arg(long, value_name = "NAME")]
    pub image_field: Option<String>,
    /// What becomes of an image with different labels
    #[arg(long, value_name = "HOW", default_value = "refuse")]
    pub disagreement: OnDisagreement,
    /// Take new labels for images that had another one
    #[arg(long)]
    pub replace: bool,
    /// Say in JSON what was read
    #[arg(long)]
    pub json: bool,
}

/// What becomes of an image with different labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnDisagreement {
    /// Nothing is read
    Refuse,
    /// It stays without a label
    Skip,
    /// Most annotators win, each with their latest label; without a label on a tie, or if the only annotator gave two
    Majority,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 image".to_owned()),
        Ok(n) => Ok(n),
        Err(_) => Err("expected a whole number".to_owned()),
    }
}
