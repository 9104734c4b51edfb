//! What the author of a strategy can type.

use crate::workshop::Level;
use clap::ValueHint;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Arguments of `plugin new`.
#[derive(Debug, clap::Args)]
pub struct PluginNew {
    /// The strategy's name, such as `my-strategy`
    pub name: String,
    /// What it chooses: `initial` for the first set, `query` for later ones, and both may be given; `sizer` says how large the first
    /// set should be [default: query]
    #[arg(long, value_name = "ROLE", value_parser = ["initial", "query", "sizer"])]
    pub role: Vec<String>,
    /// Who publishes it, so that a config can say LAB/NAME
    #[arg(long, value_name = "LAB")]
    pub publisher: Option<String>,
    /// Folder of the crate coldstart-plugin-api [default: in the sources that this program was built from]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub path: Option<PathBuf>,
    /// Folder to make [default: NAME]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

/// Arguments of `plugin build`.
#[derive(Debug, clap::Args)]
pub struct PluginBuild {
    /// Folder of the crate
    #[arg(long = "crate", value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub crate_folder: PathBuf,
    /// For which machine, such as aarch64-unknown-linux-gnu [default: this one]
    #[arg(long, value_name = "TRIPLE")]
    pub target: Option<String>,
    /// For which glibc; needs cargo-zigbuild [default: 2.28 where it is installed, else this system's]
    #[arg(long, value_name = "VERSION")]
    pub glibc: Option<String>,
    /// Folder for the library [default: dist in the crate]
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `plugin check`.
#[derive(Debug, clap::Args)]
pub struct PluginCheck {
    /// A library file, a package, or a name as in a config
    #[arg(required_unless_present = "list")]
    pub plugin: Option<String>,
    /// How far to go: static, load, conform or fuzz; each includes those before it
    #[arg(long, value_name = "LEVEL", default_value = "conform")]
    pub level: Level,
    /// Only this case
    #[arg(long, value_name = "NAME")]
    pub case: Option<String>,
    #[command(flatten)]
    pub settings: CheckSettings,
    /// List the cases, and what each demands
    #[arg(long)]
    pub list: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// How cases are tried.
#[derive(Debug, clap::Args)]
pub struct CheckSettings {
    /// Parameters; what is absent takes its default
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = object)]
    pub params: Map<String, Value>,
    /// Seed of the pretended hosts, and of the first random call
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Random calls of each case of the level fuzz
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub count: u64,
    /// How long a case may take
    #[arg(long, value_name = "SECONDS", default_value_t = 45)]
    pub timeout: u64,
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("no JSON object: {error}"))
}
