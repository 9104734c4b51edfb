//! The `[dataset]` section of a config: its keys, which kind takes which, and every default.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::table::Keys;

/// The images, section `[dataset]`. Keys that are left out take the defaults of [`Spec::with_defaults`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// How the files are laid out.
    pub kind: Kind,
    /// The folder or file, relative to the data root unless absolute. Default: the kind's name, for the
    /// four public sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// `csv`, `features`, `table`: the file of the test part, relative to the data root unless absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_path: Option<PathBuf>,
    /// Long-tail ratio: how many times rarer the last class is than the first; 1 leaves the set as it is.
    #[serde(default = "default_imbalance")]
    #[schemars(range(min = 1, max = MAX_IMBALANCE))]
    pub imbalance: f64,
    /// The share of the labels of the training part that are replaced by another class, each as probable; 0 leaves them as they
    /// are. The test part keeps its labels, so that accuracy is that on the truth.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = MAX_LABEL_NOISE), extend("default" = 0.0))]
    pub label_noise: f64,
    /// How many labelled images are held out of the pool for validation.
    #[serde(default)]
    pub validation: usize,
    /// How many images of the training part stand in for the test part, so that settings are chosen without a look at
    /// it; 0 measures on the test part.
    #[serde(default)]
    pub tuning: usize,
    /// Height, width, channels (1 or 3). `folder`, `table`, `parquet`: what images are resized to, 32 x 32 x 3 by default; `csv`: how
    /// the pixel columns of a row are read, in this axis order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<[usize; 3]>,
    /// `csv`: the label column: `first`, `last` (the default) or a name from the header line. `features`, `table`, `parquet`: the column or array of
    /// labels, where it is not called as labels are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// `table`, `parquet`: the name of the column of paths or images, where it is not called as such columns are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// `table`: the name of the column that says which part an image is of, where it is not called so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// `table`: the folder or archive that paths begin in, relative to the data root unless absolute. Default: the folder
    /// of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// `csv`, `npz`: the pixel value that is white; values 0..=max_value are scaled to 0..=255. Default: 255 for `csv`; arrays
    /// in `npz` are bytes without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub max_value: Option<f64>,
    /// The share of each class that becomes the test part, used only where a set has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 0.9), extend("default" = TEST_FRACTION))]
    pub test_fraction: Option<f64>,
    /// `synthetic`: how many images the pool has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = MAX_SYNTHETIC), extend("default" = SYNTHETIC_SIZE))]
    pub size: Option<usize>,
    /// `synthetic`: how many images the test part has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = MAX_SYNTHETIC), extend("default" = SYNTHETIC_TEST_SIZE))]
    pub test_size: Option<usize>,
    /// `features`: an .npy with the label of each row, where `path` is an .npy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// `features`: the same for `test_path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_labels: Option<PathBuf>,
    /// `features`: the columns of numbers that are features, in Parquet; `*` at the end of a name stands for anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// `features`: the column or array of texts that pages show in place of thumbnails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

// Every default of the section.
const IMBALANCE: f64 = 1.0;
pub(super) const FILE_SHAPE: [usize; 3] = [32, 32, 3];
const LABEL: &str = "last";
const MAX_VALUE: f64 = 255.0;
const TEST_FRACTION: f64 = 0.2;
const SYNTHETIC_SIZE: usize = 4000;
const SYNTHETIC_TEST_SIZE: usize = 1000;

// Every limit of the section.
const MAX_IMBALANCE: f64 = 1e6;
// Of ten classes, each is as probable as any other with so much; of two classes that is so with a half.
const MAX_LABEL_NOISE: f64 = 0.9;
const MAX_SIDE: usize = 4096;
const MAX_SYNTHETIC: usize = 1_000_000;

fn default_imbalance() -> f64 {
    IMBALANCE
}

fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

/// The layouts that can be read, by the name that a config gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Handwritten digits, IDX files.
    Mnist,
    /// Articles of clothing, IDX files.
    FashionMnist,
    /// Ten classes of small photographs, binary or pickled batches.
    Cifar10,
    /// A hundred classes of small photographs, binary or pickled batches.
    Cifar100,
    /// NumPy arrays in one archive.
    Npz,
    /// Class folders of image files, on disk or in an archive.
    Folder,
    /// A table of image files and their labels.
    Table,
    /// Encoded images and labels in columns, as the Hugging Face Hub keeps them.
    Parquet,
    /// One image per row.
    Csv,
    /// Rows of features with labels, and no images.
    Features,
    /// Drawn by the program itself.
    Synthetic,
}

impl Kind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Kind; 11] = [
        Kind::Mnist,
        Kind::FashionMnist,
        Kind::Cifar10,
        Kind::Cifar100,
        Kind::Npz,
        Kind::Folder,
        Kind::Table,
        Kind::Parquet,
        Kind::Csv,
        Kind::Features,
        Kind::Synthetic,
    ];

    /// The name in a config.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Mnist => "mnist",
            Kind::FashionMnist => "fashion-mnist",
            Kind::Cifar10 => "cifar10",
            Kind::Cifar100 => "cifar100",
            Kind::Npz => "npz",
            Kind::Folder => "folder",
            Kind::Table => "table",
            Kind::Parquet => "parquet",
            Kind::Csv => "csv",
            Kind::Features => "features",
            Kind::Synthetic => "synthetic",
        }
    }

    /// What the kind is, in one sentence.
    pub fn summary(self) -> &'static str {
        match self {
            Kind::Mnist => "handwritten digits, 28x28 grey: a folder of IDX files, gzipped or not",
            Kind::FashionMnist => "articles of clothing, 28x28 grey: a folder of IDX files, gzipped or not",
            Kind::Cifar10 => "ten classes of 32x32 colour images: binary or pickled batches, or the official archive",
            Kind::Cifar100 => "a hundred classes of 32x32 colour images: as cifar10, with the fine labels",
            Kind::Npz => {
                "a NumPy archive: train_images, train_labels, test_images, test_labels, or x_train, y_train, ..."
            }
            Kind::Folder => {
                "class folders of JPEG, PNG, WebP, BMP, TIFF and GIF images, on disk or in a tar or ZIP archive, resized to `shape`"
            }
            Kind::Table => {
                "a table of image files and labels: CSV, TSV or Parquet, with columns for path, label and maybe split, resized to `shape`"
            }
            Kind::Parquet => {
                "Parquet files of encoded images and labels, as the Hugging Face Hub keeps them: a folder or one file, resized to `shape`"
            }
            Kind::Csv => "one image per row: pixel columns and a label column",
            Kind::Features => {
                "rows of features with labels, of anything: .npz, .npy with its labels, Parquet, safetensors"
            }
            Kind::Synthetic => "ten classes of drawn 24x24 grey signs; needs no files",
        }
    }

    /// The keys that the kind takes beside `kind`, `imbalance`, `label_noise`, `validation` and `tuning`.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Kind::Mnist | Kind::FashionMnist | Kind::Cifar10 | Kind::Cifar100 => &["path"],
            Kind::Npz => &["path", "max_value", "test_fraction"],
            Kind::Folder => &["path", "shape", "test_fraction"],
            Kind::Table => &["path", "test_path", "root", "image", "label", "split", "shape", "test_fraction"],
            Kind::Parquet => &["path", "image", "label", "shape", "test_fraction"],
            Kind::Csv => &["path", "test_path", "shape", "label", "max_value", "test_fraction"],
            Kind::Features => {
                &["path", "test_path", "label", "labels", "test_labels", "columns", "text", "test_fraction"]
            }
            Kind::Synthetic => &["size", "test_size"],
        }
    }

    /// Whether images are files of any size, which are resized to `shape`.
    fn has_files(self) -> bool {
        matches!(self, Kind::Folder | Kind::Table | Kind::Parquet)
    }

    /// The folder that the kind is looked for in when `path` is not given; `data fetch` places it there.
    fn default_path(self) -> Option<PathBuf> {
        match self {
            Kind::Mnist | Kind::FashionMnist | Kind::Cifar10 | Kind::Cifar100 => Some(self.name().into()),
            Kind::Npz | Kind::Folder | Kind::Table | Kind::Parquet | Kind::Csv | Kind::Features | Kind::Synthetic => {
                None
            }
        }
    }
}

impl Spec {
    /// A section that says only `kind`.
    pub fn of(kind: Kind) -> Self {
        Spec {
            kind,
            path: None,
            test_path: None,
            imbalance: IMBALANCE,
            label_noise: 0.0,
            validation: 0,
            tuning: 0,
            shape: None,
            label: None,
            image: None,
            split: None,
            root: None,
            max_value: None,
            test_fraction: None,
            size: None,
            test_size: None,
            labels: None,
            test_labels: None,
            columns: None,
            text: None,
        }
    }

    /// The same section with every default of its kind written out.
    pub fn with_defaults(self) -> Self {
        let takes = |key: &str| self.kind.keys().contains(&key);
        Spec {
            path: self.path.or(self.kind.default_path()),
            shape: self.shape.or(self.kind.has_files().then_some(FILE_SHAPE)),
            label: self.label.or((self.kind == Kind::Csv).then(|| LABEL.into())),
            max_value: self.max_value.or((self.kind == Kind::Csv).then_some(MAX_VALUE)),
            test_fraction: self.test_fraction.or(takes("test_fraction").then_some(TEST_FRACTION)),
            size: self.size.or(takes("size").then_some(SYNTHETIC_SIZE)),
            test_size: self.test_size.or(takes("test_size").then_some(SYNTHETIC_TEST_SIZE)),
            ..self
        }
    }

    /// Whether a run's seed draws any of the set: the members of a long tail, wrong labels or validation images.
    pub fn is_drawn_by_seed(&self) -> bool {
        self.imbalance > IMBALANCE || self.label_noise > 0.0 || self.validation > 0
    }

    /// The columns that the section names.
    pub(super) fn column_keys(&self) -> Keys<'_> {
        Keys { image: self.image.as_deref(), label: self.label.as_deref(), split: self.split.as_deref() }
    }

    /// Checks what can be checked without reading a file.
    ///
    /// # Errors
    /// [`DataError::Key`] with the first key that does not belong to the kind, is missing, or is out of range.
    pub fn validate(&self) -> Result<(), DataError> {
        self.check_keys_belong()?;
        self.check_keys_are_there()?;
        within("imbalance", Some(self.imbalance), 1.0, MAX_IMBALANCE)?;
        within("label_noise", Some(self.label_noise), 0.0, MAX_LABEL_NOISE)?;
        within("max_value", self.max_value, 1.0, 65535.0)?;
        within("test_fraction", self.test_fraction, 0.01, 0.9)?;
        within("size", self.size.map(|n| n as f64), 10.0, MAX_SYNTHETIC as f64)?;
        within("test_size", self.test_size.map(|n| n as f64), 10.0, MAX_SYNTHETIC as f64)?;
        self.shape.map_or(Ok(()), check_shape)
    }

    fn check_keys_belong(&self) -> Result<(), DataError> {
        let given = [
            ("path", self.path.is_some()),
            ("test_path", self.test_path.is_some()),
            ("shape", self.shape.is_some()),
            ("label", self.label.is_some()),
            ("image", self.image.is_some()),
            ("split", self.split.is_some()),
            ("root", self.root.is_some()),
            ("max_value", self.max_value.is_some()),
            ("test_fraction", self.test_fraction.is_some()),
            ("size", self.size.is_some()),
            ("test_size", self.test_size.is_some()),
            ("labels", self.labels.is_some()),
            ("test_labels", self.test_labels.is_some()),
            ("columns", self.columns.is_some()),
            ("text", self.text.is_some()),
        ];
        let keys = self.kind.keys();
        match given.iter().find(|(key, given)| *given && !keys.contains(key)) {
            None => Ok(()),
            Some((key, _)) => Err(DataError::key_error(
                key,
                format!(
                    "does not apply to kind `{}`, whose keys are kind, imbalance, label_noise, validation, tuning, {}",
                    self.kind.name(),
                    keys.join(", ")
                ),
            )),
        }
    }

    fn check_keys_are_there(&self) -> Result<(), DataError> {
        let needs_path = self.kind.keys().contains(&"path") && self.kind.default_path().is_none();
        if needs_path && self.path.is_none() {
            return Err(DataError::key_error("path", format!("is needed by kind `{}`", self.kind.name())));
        }
        if self.kind == Kind::Csv && self.shape.is_none() {
            let why = "is needed by kind `csv`: [height, width, channels] of the image that a row holds";
            return Err(DataError::key_error("shape", why));
        }
        if self.test_labels.is_some() && self.test_path.is_none() {
            let why = "needs `dataset.test_path`, the rows that these labels are of";
            return Err(DataError::key_error("test_labels", why));
        }
        if self.split.is_some() && self.test_path.is_some() {
            return Err(DataError::key_error(
                "split",
                "does not go with `test_path`: either says which images are tested",
            ));
        }
        Ok(())
    }
}

fn within(key: &'static str, value: Option<f64>, low: f64, high: f64) -> Result<(), DataError> {
    match value {
        Some(value) if !(low..=high).contains(&value) => {
            Err(DataError::key_error(key, format!("is {value}, outside {low} to {high}")))
        }
        _ => Ok(()),
    }
}

fn check_shape([height, width, channels]: [usize; 3]) -> Result<(), DataError> {
    let sides_fit = [height, width].iter().all(|side| (1..=MAX_SIDE).contains(side));
    if sides_fit && (channels == 1 || channels == 3) {
        return Ok(());
    }
    Err(DataError::key_error(
        "shape",
        format!("is [{height}, {width}, {channels}], but must be [1 to {MAX_SIDE}, 1 to {MAX_SIDE}, 1 or 3]"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Spec, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn defaults_survive_a_round_trip_through_toml() {
        for kind in Kind::ALL {
            let spec = Spec::of(kind).with_defaults();
            let text = toml::to_string(&spec).unwrap();
            assert_eq!(parse(&text).unwrap(), spec, "{text}");
            assert_eq!(kind.name(), text.split('"').nth(1).unwrap());
        }
        let text = toml::to_string(&Spec::of(Kind::Synthetic).with_defaults()).unwrap();
        assert!(text.contains("size = 4000") && text.contains("imbalance = 1.0"), "{text}");
    }

    #[test]
    fn unknown_keys_and_kinds_are_refused_by_name() {
        for (text, word) in [("kind = \"mnist\"\nimbalence = 2", "imbalence"), ("kind = \"cifar11\"", "cifar11")] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn validation_names_the_key() {
        let rows = [
            ("kind = \"mnist\"\nsize = 3", Some("size")),
            ("kind = \"synthetic\"\npath = \"x\"", Some("path")),
            ("kind = \"npz\"", Some("path")),
            ("kind = \"csv\"\npath = \"x\"", Some("shape")),
            ("kind = \"mnist\"\nimbalance = 0.5", Some("imbalance")),
            ("kind = \"mnist\"\nimbalance = nan", Some("imbalance")),
            ("kind = \"folder\"\npath = \"x\"\nshape = [32, 32, 2]", Some("shape")),
            ("kind = \"folder\"\npath = \"x\"\nshape = [0, 32, 3]", Some("shape")),
            ("kind = \"folder\"\npath = \"x\"\ntest_fraction = 1.0", Some("test_fraction")),
            ("kind = \"csv\"\npath = \"x\"\nshape = [8, 8, 1]\nmax_value = 0", Some("max_value")),
            ("kind = \"synthetic\"\nsize = 0", Some("size")),
            ("kind = \"table\"", Some("path")),
            ("kind = \"parquet\"", Some("path")),
            ("kind = \"parquet\"\npath = \"x\"\nroot = \"y\"", Some("root")),
            ("kind = \"table\"\npath = \"x\"\ntest_path = \"y\"\nsplit = \"z\"", Some("split")),
            ("kind = \"folder\"\npath = \"x\"\nroot = \"y\"", Some("root")),
            ("kind = \"table\"\npath = \"x\"\nimage = \"a\"\nlabel = \"b\"\nroot = \"y\"", None),
            ("kind = \"mnist\"\nimbalance = 100", None),
        ];
        for (text, key) in rows {
            let verdict = parse(text).unwrap().validate();
            assert_eq!(verdict.as_ref().err().and_then(DataError::key), key, "{text}: {verdict:?}");
        }
    }
}
