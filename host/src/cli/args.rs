//! What can be typed.

use crate::config::{self, Config, ConfigError, Override, Sandbox};
use crate::experiment::End;
use crate::nearest::nearest;
use clap::{Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use std::path::PathBuf;

mod author;
mod choose;

pub use author::{CheckSettings, PluginBuild, PluginCheck, PluginNew};
pub use choose::{Format, Ingest, OnDisagreement, Project, ProjectExport, Select};

/// What the program's exit codes mean, at the end of its help.
const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 failed, 2 a mistake in what was typed or in a config, 3 a plugin failed, 130 interrupted";

/// The heading of the options that every command takes.
const GLOBAL: &str = "Global options";

/// Cold-start deep active learning: strategies loaded by name, experiments that can be trusted
#[derive(Debug, Parser)]
#[command(name = "coldstart", version, max_term_width = 110, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Args {
    /// Folder in which relative data paths begin
    #[arg(long, global = true, help_heading = GLOBAL, env = "COLDSTART_DATA", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data: Option<PathBuf>,
    /// Folder of trained networks, shared by all runs [default: coldstart/trained in the user's cache folder]
    #[arg(long, global = true, help_heading = GLOBAL, env = "COLDSTART_CACHE", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub cache: Option<PathBuf>,
    /// How large that folder may grow, in GiB
    #[arg(long, global = true, help_heading = GLOBAL, env = "COLDSTART_CACHE_LIMIT", value_name = "GIB", default_value_t = 20.0, value_parser = number)]
    pub cache_limit: f64,
    /// Run strategies that nobody you trust has signed, each in a process of its own
    #[arg(long, global = true, help_heading = GLOBAL, env = "COLDSTART_ALLOW_UNSIGNED", value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_unsigned: bool,
    /// Run the learner in Python that a config names, for this call: once and for all, `coldstart learner allow FILE` gives it leave
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub allow_learner: bool,
    /// How well strategies that run apart must be shut in at the least: `required` refuses them where the system cannot do it
    /// completely, `best-effort` takes what there is; a config can only demand more [default: best-effort; `plugin check`
    /// requires it for packages and installed plugins that nobody you trust has signed]
    #[arg(long, global = true, help_heading = GLOBAL, env = "COLDSTART_SANDBOX", value_name = "HOW", default_value = "", hide_default_value = true, value_parser = sandbox)]
    pub sandbox: Floor,
    /// Say more; twice for everything
    #[arg(short, long, global = true, help_heading = GLOBAL, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, help_heading = GLOBAL, conflicts_with = "verbose")]
    pub quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run an experiment
    #[command(after_help = "Example: coldstart run configs/demo.toml -s seed=2")]
    Run(Run),
    /// Go on with a run that was stopped or killed
    ///
    /// It goes on with the config, the images and the strategies that it began with, or not at all. A finished run stays as it is, unless
    /// it is given more rounds: they are those that it would have had with more rounds from the beginning.
    #[command(after_help = "Example: coldstart resume runs/demo-1")]
    Resume(Resume),
    /// Run a study: every combination of the lists in a config's table `[sweep]`; the same command goes on with it
    #[command(after_help = "Example: coldstart sweep configs/quick.toml --jobs 2")]
    Sweep(Sweep),
    /// Work on a planned study until none of its runs is left to take, beside any number of other workers
    ///
    /// It can be started by hand, or by any scheduler, on every machine that shares the study's folder; `coldstart sweep CONFIG
    /// --executor none` plans a study for such workers and watches it. A run whose worker has died is gone on with by another one. Ctrl-C
    /// and SIGTERM stop it at the next safe point.
    #[command(after_help = "Example: coldstart worker studies/quick")]
    Worker(Worker),
    /// Write one HTML page about one or more runs, or about a study
    #[command(after_help = "Example: coldstart report studies/quick")]
    Report(Report),
    /// Write runs in the forms of other tools: a file store of MLflow's, event files of TensorBoard's
    #[command(after_help = "Example: coldstart export studies/quick --tensorboard board")]
    Export(Export),
    /// Choose which images of a folder to label next
    #[command(after_help = "Example: coldstart select --images photos --size 20 --format label-studio")]
    Select(Select),
    /// Read the labels of chosen images back
    #[command(after_help = "Example: coldstart ingest photos-selection labels.csv")]
    Ingest(Ingest),
    /// Look at what `select` wrote: how far it is, the labelled images, images to be forgotten
    #[command(subcommand, after_help = "Example: coldstart project status photos-selection")]
    Project(Project),
    /// Train the representation of a config, judge it, store its features
    #[command(after_help = "Example: coldstart represent configs/cifar10-moco.toml --out features")]
    Represent(Represent),
    /// Judge a finished run with every label of its pool: maps, representations, pretexts
    #[command(after_help = "Example: coldstart diagnose runs/demo-1")]
    Diagnose(Diagnose),
    /// Look at strategies, make, check, pack, sign and install them
    #[command(subcommand, after_help = "Example: coldstart plugin list")]
    Plugin(Plugin),
    /// Say which learners in Python may run, with your rights
    #[command(subcommand, after_help = "Example: coldstart learner allow my_learner.py")]
    Learner(Learner),
    /// Look at the cache of trained networks and clean it
    #[command(subcommand, after_help = "Example: coldstart cache list")]
    Cache(Cache),
    /// Look at data sets and fetch public ones
    #[command(subcommand, after_help = "Example: coldstart data fetch fashion-mnist")]
    Data(Data),
    /// Look up what a config may say, and begin one
    #[command(subcommand, after_help = "Example: coldstart config explain training.learner")]
    Config(ConfigHelp),
    /// Time the standard cases on this machine: training steps, predictions, pretexts, a round of a linear probe
    #[command(after_help = "Example: coldstart bench train")]
    Bench(Bench),
    /// Say what works on this machine: libtorch, devices, threads, search path
    #[command(after_help = "Example: coldstart doctor")]
    Doctor(Doctor),
    /// Print every command and option as a page of Markdown
    #[command(after_help = "Example: coldstart manual --man share/man/man1")]
    Manual {
        /// Write man pages into this folder instead
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        man: Option<PathBuf>,
    },
    /// Print a completion script for a shell
    #[command(after_help = "Example: coldstart completions bash > coldstart.bash")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// The commands under `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigHelp {
    /// Explain a key: its type, its range, its default, what it sets
    #[command(after_help = "Example: coldstart config explain training.optimizer.lr")]
    Explain {
        /// The key, such as `training.optimizer.lr`, or a table, such as `training`; absent, every key
        key: Option<String>,
        /// Print every key as a page of Markdown
        #[arg(long, conflicts_with = "key")]
        markdown: bool,
    },
    /// Print the JSON Schema of a config, for editors
    #[command(after_help = "Example: coldstart config schema > coldstart.schema.json")]
    Schema,
    /// Write a config to begin with, and the schema beside it
    #[command(after_help = "Example: coldstart config init my-experiment.toml")]
    Init {
        /// The file to write
        #[arg(value_hint = ValueHint::FilePath, default_value = "experiment.toml")]
        file: PathBuf,
    },
}

/// A config, and what is set differently.
#[derive(Debug, clap::Args)]
pub struct Experiment {
    /// The experiment, a TOML file
    #[arg(value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// Set one key, such as `initial.size=100`, or a section, such as `query={ strategy = "margin", size = 5, rounds = 3 }`; may be
    /// repeated
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    set: Vec<Override>,
    /// Take one key or section out, before anything is set: `--unset query.rounds -s query.until=300`; may be repeated
    #[arg(long, value_name = "KEY", value_parser = Override::unset)]
    unset: Vec<Override>,
}

impl Experiment {
    /// What is laid over the config, in order.
    pub fn overrides(&self) -> Vec<Override> {
        self.unset.iter().chain(&self.set).cloned().collect()
    }

    /// The config of one run, and what its mistakes are shown with.
    pub fn read(&self) -> Result<Read, ConfigError> {
        let overrides = self.overrides();
        let config = Config::read(&self.config, &overrides)?;
        let text = config::text_of(&self.config).unwrap_or_default();
        Ok(Read { config, file: self.config.clone(), text, overrides })
    }
}

/// A config that was read.
pub struct Read {
    pub config: Config,
    file: PathBuf,
    text: String,
    overrides: Vec<Override>,
}

impl Read {
    /// An error of one key's value, wherever it was set.
    pub fn at_key(&self, key: &str, message: String) -> ConfigError {
        ConfigError::at_key(&self.file, &self.text, &self.overrides, key, message)
    }
}

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Run {
    #[command(flatten)]
    pub experiment: Experiment,
    /// Folder of the run [default: runs/NAME-SEED]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Where the model runs: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = device)]
    pub device: String,
    /// Record what passes between the program and each strategy, for `coldstart plugin replay`
    #[arg(long)]
    pub record: bool,
    /// Only with a lock beside the config, and only the strategies that it names
    #[arg(long)]
    pub locked: bool,
}

/// Arguments of `sweep`.
#[derive(Debug, clap::Args)]
pub struct Sweep {
    #[command(flatten)]
    pub experiment: Experiment,
    /// Folder of the study [default: studies/NAME]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Runs side by side; on this machine they share the cores, unless the config says how many threads a run has; under Slurm they are
    /// the tasks of a job array [default: the number of GPUs, or 1; under Slurm 1]
    #[arg(short, long, value_name = "N", value_parser = at_least_one)]
    pub jobs: Option<usize>,
    /// Who runs them: processes on this machine, Slurm, or none: then the study is planned and watched, and `coldstart worker STUDY` does
    /// the runs, started by hand or by another scheduler
    #[arg(long, value_enum, default_value_t = Executor::Local)]
    pub executor: Executor,
    /// A line of options for sbatch, such as "--partition=gpu --time=4:00:00"; may be repeated
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true, value_parser = one_line)]
    pub sbatch: Vec<String>,
    /// Submit the job, or without an executor plan the study, and do not wait for it; the same command again watches it
    #[arg(long)]
    pub detach: bool,
    /// Where models run: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = device)]
    pub device: String,
    /// Try runs again that have failed
    #[arg(long)]
    pub retry: bool,
    /// Check everything and say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `worker`.
#[derive(Debug, clap::Args)]
pub struct Worker {
    /// The study's folder, wherever it is mounted here
    #[arg(value_hint = ValueHint::DirPath)]
    pub study: PathBuf,
    /// Where models run: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = device)]
    pub device: String,
    /// The most CPU threads of a run where the config leaves them open; 0 takes all cores that this process may use
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = whole::<usize>)]
    pub threads: usize,
    /// Stay until every run has ended: runs are taken over from other workers that die
    #[arg(long)]
    pub wait: bool,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    pub tied: bool,
    /// What it is called where it takes hold of runs: an executor watches it, and records what it dies of
    #[arg(long = "as", value_name = "NAME", hide = true)]
    pub known_as: Option<String>,
}

/// Who runs the workers of a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Executor {
    /// Processes on this machine.
    Local,
    /// A job array under Slurm.
    Slurm,
    /// Nobody: workers are started elsewhere.
    None,
}

/// What the user demands of the sandbox, if anything. An alias, so that clap leaves the `Option` to the parser.
type Floor = Option<Sandbox>;

/// The words of `plugins.sandbox` in a config. A variable that is empty counts as not set.
fn sandbox(text: &str) -> Result<Floor, String> {
    match text {
        "" => Ok(None),
        "best-effort" => Ok(Some(Sandbox::BestEffort)),
        "required" => Ok(Some(Sandbox::Required)),
        _ => Err("expected `required` or `best-effort`".to_owned()),
    }
}

fn one_line(text: &str) -> Result<String, String> {
    if text.contains('\n') { Err("expected one line".to_owned()) } else { Ok(text.to_owned()) }
}

/// A whole number, at least 0.
fn whole<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| "expected a whole number".to_owned())
}

/// A number.
fn number(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| "expected a number".to_owned())
}

fn repeats(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|n| (1..=10_000).contains(n))
        .ok_or_else(|| "expected a whole number, 1 to 10000".to_owned())
}

/// The names that `--device` takes; whether there is such a device is for the engine to say.
fn device(text: &str) -> Result<String, String> {
    let number =
        text.strip_prefix("cuda:").map(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
    if ["auto", "cpu", "cuda"].contains(&text) || number == Some(true) {
        return Ok(text.to_owned());
    }
    let meant = match text.to_lowercase().as_str() {
        "gpu" | "nvidia" => Some("cuda"),
        lower => nearest(lower, ["auto", "cpu", "cuda"]),
    };
    let meant = meant.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    Err(format!("there is no such device, known are auto, cpu, cuda and cuda:N{meant}"))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected a number, at least 1".to_owned())
}

impl Args {
    /// What is said beside the command, for another process of this program on this machine.
    pub fn shared(&self) -> Vec<std::ffi::OsString> {
        let mut shared: Vec<std::ffi::OsString> = Vec::new();
        for (name, folder) in [("--data", &self.data), ("--cache", &self.cache)] {
            if let Some(folder) = folder {
                shared.extend([name.into(), folder.into()]);
            }
        }
        shared.extend(["--cache-limit".into(), self.cache_limit.to_string().into()]);
        shared.extend(self.permissions());
        shared
    }

    /// What may run and how it is shut in, as far as it was said: the same on every machine.
    pub fn permissions(&self) -> Vec<std::ffi::OsString> {
        let mut said: Vec<std::ffi::OsString> = Vec::new();
        if self.allow_unsigned {
            said.push("--allow-unsigned".into());
        }
        if self.allow_learner {
            said.push("--allow-learner".into());
        }
        if self.sandbox == Some(Sandbox::Required) {
            said.extend(["--sandbox".into(), "required".into()]);
        }
        said
    }
}

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("form").required(true).multiple(true).args(["mlflow", "tensorboard"]))]
pub struct Export {
    /// Folders of runs, or of studies
    #[arg(required = true, value_name = "RUN_OR_STUDY", value_hint = ValueHint::DirPath)]
    pub runs: Vec<PathBuf>,
    /// Folder of the file store, which `mlflow ui --backend-store-uri DIR` shows
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub mlflow: Option<PathBuf>,
    /// Folder for the event files, one below it for each run; `tensorboard --logdir DIR` shows them
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub tensorboard: Option<PathBuf>,
}

/// Arguments of `resume`.
#[derive(Debug, clap::Args)]
pub struct Resume {
    /// The run's folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub run: PathBuf,
    /// End after N rounds beside the first, more than so far
    #[arg(long, value_name = "N", conflicts_with = "until", value_parser = whole::<u32>)]
    pub rounds: Option<u32>,
    /// End with N labels, more than so far
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    pub until: Option<usize>,
}

impl Resume {
    /// When the run is to end, if not as before.
    pub fn end(&self) -> Option<End> {
        self.rounds.map(End::Rounds).or(self.until.map(End::Labels))
    }
}

/// Arguments of `represent`.
#[derive(Debug, clap::Args)]
pub struct Represent {
    #[command(flatten)]
    pub experiment: Experiment,
    /// Folder for the features [default: none are stored]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Where it is trained: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = device)]
    pub device: String,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct Bench {
    /// Only cases whose names have one of these parts, such as `resnet18-64` or `train` [default: all]
    pub cases: Vec<String>,
    /// How often each is timed; the median is shown
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = repeats)]
    pub repeats: u32,
    /// Where: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = device)]
    pub device: String,
    /// CPU threads; 0 takes all cores
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = whole::<usize>)]
    pub threads: usize,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `diagnose`.
#[derive(Debug, clap::Args)]
pub struct Diagnose {
    /// The run's folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub run: PathBuf,
    /// Epochs of the training on all labels
    #[arg(long, default_value_t = 15, value_name = "N", value_parser = whole::<u32>)]
    pub epochs: u32,
    /// Where it is trained: auto, cpu, cuda or cuda:N [default: where the run was]
    #[arg(long, value_name = "DEVICE", value_parser = device)]
    pub device: Option<String>,
}

/// The commands under `learner`.
#[derive(Debug, Subcommand)]
pub enum Learner {
    /// Let a script run as it is now, with the modules that it names: a change takes another leave
    #[command(after_help = "Example: coldstart learner allow my_learner.py")]
    Allow {
        /// The script
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// List the scripts that may run
    #[command(after_help = "Example: coldstart learner list")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take leave back
    #[command(after_help = "Example: coldstart learner forget my_learner.py")]
    Forget {
        /// The script's path, or a hash that `list` shows
        meant: String,
    },
    /// List the error codes of learners
    #[command(after_help = "Example: coldstart learner codes")]
    Codes,
}

/// The commands under `cache`.
#[derive(Debug, Subcommand)]
pub enum Cache {
    /// List the networks, the one used last first
    #[command(after_help = "Example: coldstart cache list")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove the networks used longest ago
    #[command(after_help = "Example: coldstart cache clean --to 5")]
    Clean {
        /// Until the rest takes at most so many GiB; 0 removes all that nobody uses
        #[arg(long, value_name = "GIB", default_value_t = 0.0, value_parser = number)]
        to: f64,
    },
}

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub struct Report {
    /// Run folders, or the folder of one study
    #[arg(required = true, value_hint = ValueHint::DirPath)]
    pub runs: Vec<PathBuf>,
    /// The page to write; folders above it are made [default: report.html in the run or study, or here for several runs]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

/// The commands under `plugin`.
#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// List the strategies on the search path
    #[command(after_help = "Example: coldstart plugin list")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a strategy says of itself, and its parameters
    #[command(after_help = "Example: coldstart plugin info some-lab/idea")]
    Info {
        /// Its name as in a config, a library file, or a package
        plugin: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a recording of `run --record` to a build of its strategy, and compare the answers
    #[command(after_help = "Example: coldstart plugin replay runs/demo-1/recordings/query-idea-1.record")]
    Replay {
        /// The recording
        #[arg(value_hint = ValueHint::FilePath)]
        recording: PathBuf,
        /// Another build: a library file or a name [default: what the recorded name means]
        #[arg(long, value_name = "PLUGIN")]
        plugin: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List the error codes of plugins
    #[command(after_help = "Example: coldstart plugin codes")]
    Codes,
    /// Say why a strategy is chosen, or not
    #[command(after_help = "Example: coldstart plugin doctor some-lab/idea")]
    Doctor {
        /// Its name as in a config [default: every strategy on the search path]
        plugin: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Pack a library into one file for another lab
    #[command(after_help = "Example: coldstart plugin pack dist/libidea.so")]
    Pack(Pack),
    /// Sign a package; the password of the key comes from the terminal or COLDSTART_KEY_PASSWORD
    #[command(after_help = "Example: coldstart plugin sign idea-0.1.0-x86_64-unknown-linux-gnu.csp --key some-lab.key")]
    Sign {
        /// The package, which is written anew
        #[arg(value_hint = ValueHint::FilePath)]
        package: PathBuf,
        /// A secret key, as `plugin keys new` or minisign writes it
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        key: PathBuf,
    },
    /// Check a package and its signature
    #[command(after_help = "Example: coldstart plugin verify idea-0.1.0-x86_64-unknown-linux-gnu.csp")]
    Verify {
        /// The package
        #[arg(value_hint = ValueHint::FilePath)]
        package: PathBuf,
        /// The public key that must have signed it [default: any that is trusted with its name]
        #[arg(long, value_name = "FILE.pub", value_hint = ValueHint::FilePath)]
        key: Option<PathBuf>,
    },
    /// Make keys to sign with; the password comes from the terminal or COLDSTART_KEY_PASSWORD
    #[command(subcommand, after_help = "Example: coldstart plugin keys new some-lab.key")]
    Keys(Keys),
    /// Say which lab may sign which strategies
    #[command(subcommand, after_help = "Example: coldstart plugin trust list")]
    Trust(Trust),
    /// Install packages for this user
    #[command(after_help = "Example: coldstart plugin install idea-0.1.0-x86_64-unknown-linux-gnu.csp")]
    Install {
        /// A package, its address, or a folder of packages
        #[arg(value_name = "FILE|URL|DIR", value_hint = ValueHint::AnyPath)]
        place: String,
    },
    /// Remove an installed strategy
    #[command(after_help = "Example: coldstart plugin uninstall some-lab/idea")]
    Uninstall {
        /// Its name as in a config; without a version all of them
        plugin: String,
    },
    /// Lock the strategies of configs: runs beside the lock use these and no others
    #[command(after_help = "Example: coldstart plugin lock configs/demo.toml")]
    Lock {
        /// Experiments of one folder, in which the lock is written
        #[arg(required = true, value_hint = ValueHint::FilePath)]
        configs: Vec<PathBuf>,
        /// Lock the hash of this package too, for the machines that it is for; may be repeated
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        package: Vec<PathBuf>,
    },
    /// Make a crate with a working strategy, to begin one's own with
    #[command(after_help = "Example: coldstart plugin new my-idea")]
    New(PluginNew),
    /// Build a crate's library, and say on which systems it runs
    #[command(after_help = "Example: coldstart plugin build")]
    Build(PluginBuild),
    /// Hold a strategy against what hosts demand; from the level `load` on its code runs, in processes of their own
    #[command(after_help = "Example: coldstart plugin check dist/libidea.so")]
    Check(PluginCheck),
}

/// Arguments of `plugin pack`.
#[derive(Debug, clap::Args)]
pub struct Pack {
    /// The strategy's library
    #[arg(value_hint = ValueHint::FilePath)]
    pub library: PathBuf,
    /// Folder of its crate, for the readme and the licences [default: here, if its crate is here]
    #[arg(long = "crate", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub crate_folder: Option<PathBuf>,
    /// Readme [default: README.md of the crate]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub readme: Option<PathBuf>,
    /// Licence; may be repeated [default: the files LICENSE* of the crate]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub license: Vec<PathBuf>,
    /// Result of a check, as JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub conformance: Option<PathBuf>,
    /// The oldest processor that the library runs on [default: x86-64-v1 or armv8-a]
    #[arg(long, value_name = "LEVEL")]
    pub cpu: Option<String>,
    /// Folder for the package; made if it is missing
    #[arg(short, long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,
}

/// The commands under `plugin keys`.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make a key pair, in the formats of minisign
    #[command(after_help = "Example: coldstart plugin keys new some-lab.key")]
    New {
        /// The secret key; the public one is written beside it and ends in `.pub`
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Hide the secret key behind no password: whoever can read its file can sign with it
        #[arg(long)]
        no_password: bool,
    },
}

/// The commands under `plugin trust`.
#[derive(Debug, Subcommand)]
pub enum Trust {
    /// Trust a lab's key
    #[command(after_help = "Example: coldstart plugin trust add some-lab --key some-lab.pub --names 'some-lab/*'")]
    Add {
        /// What you call the lab, such as `some-lab`
        lab: String,
        /// Its public key
        #[arg(long, value_name = "FILE.pub", value_hint = ValueHint::FilePath)]
        key: PathBuf,
        /// What it may sign: `publisher/name`, or `name` where there is no publisher; `*` stands for anything but a slash
        #[arg(long, required = true, num_args = 1.., value_name = "PATTERN")]
        names: Vec<String>,
        /// The last day on which the key counts, such as 2027-01-31
        #[arg(long, value_name = "DATE")]
        expires: Option<String>,
        /// Take this key and these names in place of all that the lab has
        #[arg(long, conflicts_with = "beside")]
        replace: bool,
        /// Take this key beside those that the lab has
        #[arg(long)]
        beside: bool,
    },
    /// List the trusted keys
    #[command(after_help = "Example: coldstart plugin trust list")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Trust no key of a lab any more
    #[command(after_help = "Example: coldstart plugin trust remove some-lab")]
    Remove {
        /// The lab
        lab: String,
    },
}

/// The commands under `data`.
#[derive(Debug, Subcommand)]
pub enum Data {
    /// List the kinds that can be read and the sets that can be fetched
    #[command(after_help = "Example: coldstart data list")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Read the data set of a config and say what is in it
    #[command(after_help = "Example: coldstart data info configs/demo.toml")]
    Info {
        #[command(flatten)]
        experiment: Experiment,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Also write a table of all images to FILE: split, id, label, class, file
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        files: Option<PathBuf>,
    },
    /// Write a table of ids and paths of all images, so that features computed elsewhere can name them
    #[command(name = "list-images", after_help = "Example: coldstart data list-images --images photos -o images.csv")]
    ListImages {
        #[command(flatten)]
        experiment: Option<Experiment>,
        /// A folder of images without labels, as `select --images` reads it, in place of a config
        #[arg(long, value_name = "DIR", conflicts_with = "config", value_hint = ValueHint::DirPath)]
        images: Option<PathBuf>,
        /// Write to FILE [default: to stdout]
        #[arg(short = 'o', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
    /// Download a public set into the data folder; goes on where a broken download stopped
    #[command(after_help = "Example: coldstart data fetch fashion-mnist")]
    Fetch {
        /// Its name, from `data list`
        name: String,
        /// Take the files from here instead of the official address
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
    },
}

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// The examples at the end of the help of a command and of those below it.
    fn examples(command: &clap::Command) -> Vec<String> {
        let own = command.get_after_help().map(ToString::to_string);
        let own = own.and_then(|help| help.strip_prefix("Example: ").map(str::to_owned));
        own.into_iter().chain(command.get_subcommands().flat_map(examples)).collect()
    }

    #[test]
    fn every_example_can_be_typed() {
        let examples = examples(&Args::command());
        assert!(examples.len() > 40, "{examples:?}");
        for example in examples {
            // A shell takes quotes away, and what stands behind a `>`.
            let command = example.split(" > ").next().unwrap().replace('\'', "");
            Args::try_parse_from(command.split(' ')).unwrap_or_else(|error| panic!("{example}: {error}"));
        }
    }
}
