//! Arguments for whoever has images and no labels.

use super::device;
use crate::config::Override;
use clap::{Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

/// Arguments of `select`.
#[derive(Debug, clap::Args)]
pub struct Select {
    /// Folder of images (JPEG, PNG, WebP, BMP, TIFF, GIF), at any depth; names of folders do not matter
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub images: PathBuf,
    /// Who chooses: before the first label a strategy of the role `initial`, afterwards one of the role `query` [default: the one of
    /// the round before, or one that our studies speak for, which is named with the reason]
    #[arg(long, value_name = "NAME")]
    pub strategy: Option<String>,
    /// How many images
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub size: usize,
    /// How many of them are drawn by chance instead: from their labels it can be told what a model is worth for all images, and not
    /// only for such as were chosen [default: none with `--strategy`, otherwise a fifth]
    #[arg(long, value_name = "N", value_parser = super::whole::<usize>)]
    pub draw: Option<usize>,
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
    /// The control of Label Studio's labelling interface that takes the class; what a model takes an image for is its answer to
    /// begin with
    #[arg(long, value_name = "NAME", default_value = "choice")]
    pub control: String,
    /// Once there are labels, do not train a model to say what all images are, and what that is worth
    #[arg(long)]
    pub no_predictions: bool,
    /// List images that are nearly the same: their features are at most this share as far apart as those of an image and its nearest
    /// one usually are
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "0.5", require_equals = true, value_parser = share)]
    pub near_duplicates: Option<f64>,
    /// Go on where images that were chosen or labelled have been changed or deleted: a changed one keeps its label, one that is gone
    /// is left out. Others may come, change and go, and those that were moved or renamed are recognised, without it
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

/// The commands under `project`.
#[derive(Debug, Subcommand)]
pub enum Project {
    /// Say how far the project is: images, labels, what the last predictions were worth
    #[command(after_help = "Example: coldstart project status photos-selection")]
    Status {
        /// The folder that `select` wrote
        #[arg(value_hint = ValueHint::DirPath)]
        project: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give the labelled images out again: as folders, one for each label, or as a table
    #[command(after_help = "Example: coldstart project export photos-selection --folders labelled")]
    Export(ProjectExport),
    /// Forget images, with their labels and all of their copies: they are not offered again, and nothing is learnt from them
    #[command(after_help = "Example: coldstart project drop photos-selection blurred.jpg")]
    Drop {
        /// The folder that `select` wrote
        #[arg(value_hint = ValueHint::DirPath)]
        project: PathBuf,
        /// Images, by their path below the folder of images
        #[arg(required = true)]
        images: Vec<String>,
        /// Take images back that were dropped; their labels do not come back
        #[arg(long)]
        undo: bool,
    },
}

/// Arguments of `project export`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("form").required(true).multiple(true).args(["folders", "csv"]))]
pub struct ProjectExport {
    /// The folder that `select` wrote
    #[arg(value_hint = ValueHint::DirPath)]
    pub project: PathBuf,
    /// Copy the images to DIR/LABEL/PATH
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folders: Option<PathBuf>,
    /// Write a table with the columns image, label and sha256; `-` prints it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub csv: Option<PathBuf>,
    /// Where the images are, if not where they were at the last selection
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub images: Option<PathBuf>,
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

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 image".to_owned()),
        Ok(n) => Ok(n),
        Err(_) => Err("expected a whole number".to_owned()),
    }
}
