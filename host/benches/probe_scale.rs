//! What a linear probe's features should be divided by, and how strong its penalty should be: accuracies of each choice.
//!
//! `cargo bench -p coldstart --bench probe_scale -- FEATURES [OWN] > host/benches/results/probe-scale.tsv`
//!
//! FEATURES holds `SET.npy` of a network from elsewhere, and OWN `SET/features.npy` as `coldstart represent --out OWN/SET` writes
//! them; the images' labels are read under COLDSTART_DATA. Only the training parts are read: of at most 10 000 evenly spaced
//! images every fifth is judged, and the labelled ones are drawn from the others, class by class as it comes, with the same
//! draws for every choice. Scales: `columns` divides each feature by its deviation, `shared` all by one number, `rows` each
//! centred row by its length (then all by one number), `raw-rows` the same without centring, `none` nothing. Each scale is tried
//! with nine penalties. A row is a choice, with the accuracy for each seed in per cent.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its rows")]

use std::path::{Path, PathBuf};

use coldstart::data::{self, Dataset, FeatureFile, Spec};
use coldstart::engine::{Device, FeatureSet, Judged, Learner, LinearProbe, Matrix, Scale, Training, open};
use coldstart_plugin_api::Rng;
use tch::{Kind, Tensor};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const SIZES: [usize; 6] = [10, 20, 50, 100, 200, 500];
const SEEDS: u8 = 10;
const MOST_ROWS: usize = 10_000;
const PENALTIES: [f64; 9] = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0];
/// Of features as they are, whatever their size is: a wider range.
const RAW_PENALTIES: [f64; 9] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0];

/// Sets with features of a network from elsewhere, and how their images are read.
const SETS: [(&str, &str); 5] = [
    ("cifar10-lossless", "kind = \"npz\"\npath = \"cifar10/cifar10_lossless_subset.npz\""),
    ("cifar10", "kind = \"folder\"\npath = \"cifar10/cifar10_jpeg.tar.gz\""),
    ("tiny-imagenet-20", "kind = \"folder\"\npath = \"tiny-imagenet-20/tiny-imagenet-20.tar\""),
    ("sign-digits", "kind = \"folder\"\npath = \"sign-digits-600\"\nshape = [100, 100, 3]"),
    ("fashion-mnist", "kind = \"fashion-mnist\""),
];
/// Sets with features of a network that this program has trained.
const OWN: [(&str, &str); 2] = [
    ("fashion-mnist", "kind = \"fashion-mnist\""),
    (
        "optdigits",
        "kind = \"csv\"\npath = \"digits/optdigits.tra\"\n\
      test_path = \"digits/optdigits.tes\"\nshape = [8, 8, 1]\nmax_value = 16.0",
    ),
];

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let device = open("cpu", 1)?;
    println!("# {device}, {SEEDS} seeds");
    println!("set\tfeatures\tscale\tpenalty\tlabels\taccuracy of each seed (%)");
    let folder = Path::new(args.first().ok_or("which folder has the features?")?);
    for (set, spec) in SETS {
        let Some(features) = Features::read(&folder.join(format!("{set}.npy")), spec)? else { continue };
        let components = features.components()?;
        Choices::all().of(set, "components", &components, &device)?;
        Choices::rotation_matters().of(set, "rotated", &features, &device)?;
    }
    let Some(own) = args.get(1).map(Path::new) else { return Ok(()) };
    for (set, spec) in OWN {
        let Some(features) = Features::read(&own.join(set).join("features.npy"), spec)? else { continue };
        Choices::all().of(set, "own network", &features, &device)?;
    }
    Ok(())
}

/// Features with labels, in two parts: those that may be labelled, and those that are judged.
struct Features {
    pool: Part,
    judged: Part,
    n_classes: usize,
}

#[derive(Clone)]
struct Part {
    features_nd: Matrix,
    labels: Vec<usize>,
}

impl Features {
    /// None where there is no such file; says so.
    fn read(path: &Path, spec: &str) -> Outcome<Option<Features>> {
        if !path.is_file() {
            eprintln!("skipped: there is no {}", path.display());
            return Ok(None);
        }
        let root = std::env::var_os("COLDSTART_DATA").map(PathBuf::from);
        let spec: Spec = toml::from_str(spec)?;
        let data = data::load(&spec, root.as_deref(), 1)?;
        let (values, n_cols) = rows_of(path, &data)?;
        let every = data.pool.len().div_ceil(MOST_ROWS);
        let part = |judged: bool| {
            let places = (0..data.pool.len()).step_by(every).enumerate();
            let rows: Vec<usize> = places.filter(|(i, _)| (i % 5 == 4) == judged).map(|(_, row)| row).collect();
            let of_image = |row: &usize| values[row * n_cols..][..n_cols].to_vec();
            let features_nd = Matrix { values: rows.iter().flat_map(of_image).collect(), n_rows: rows.len(), n_cols };
            Part { features_nd, labels: rows.iter().map(|row| data.pool.labels[*row] as usize).collect() }
        };
        Ok(Some(Features { pool: part(false), judged: part(true), n_classes: data.classes.len() }))
    }

    /// The same features turned onto the principal components of the pool.
    fn components(&self) -> Outcome<Features> {
        let x_nd = tensor(&self.pool.features_nd)?.f_to_kind(Kind::Double)?;
        let mean_d = x_nd.f_mean_dim([0].as_slice(), true, None)?;
        let centred = x_nd.f_sub(&mean_d)?;
        let (_, axes) = centred.f_tr()?.f_mm(&centred)?.f_linalg_eigh("L")?;
        self.changed(|x_nd| Ok(x_nd.f_to_kind(Kind::Double)?.f_sub(&mean_d)?.f_mm(&axes)?.f_to_kind(Kind::Float)?))
    }

    /// Rows of length 1; the pool's mean is subtracted first, or not.
    fn unit_rows(&self, centred: bool) -> Outcome<Features> {
        let mean_d = tensor(&self.pool.features_nd)?.f_mean_dim([0].as_slice(), true, None)?;
        self.changed(|x_nd| {
            let x_nd = if centred { x_nd.f_sub(&mean_d)? } else { x_nd.shallow_clone() };
            let lengths = x_nd.f_square()?.f_sum_dim_intlist([1].as_slice(), true, Kind::Float)?.f_sqrt()?;
            Ok(x_nd.f_div(&lengths.f_clamp_min(1e-12)?)?)
        })
    }

    fn changed(&self, change: impl Fn(&Tensor) -> Outcome<Tensor>) -> Outcome<Features> {
        let of = |part: &Part| -> Outcome<Part> {
            let changed = change(&tensor(&part.features_nd)?)?.f_contiguous()?.f_view([-1])?;
            let features_nd = Matrix { values: Vec::<f32>::try_from(changed)?, ..part.features_nd };
            Ok(Part { features_nd, labels: part.labels.clone() })
        };
        Ok(Features { pool: of(&self.pool)?, judged: of(&self.judged)?, n_classes: self.n_classes })
    }

    /// The mean variance of a feature.
    fn variance(&self) -> Outcome<f64> {
        let variances = tensor(&self.pool.features_nd)?.f_var_dim([0].as_slice(), false, false)?;
        Ok(variances.f_mean(Kind::Double)?.f_double_value(&[])?)
    }
}

/// A row of numbers for each pool image, and how long it is.
fn rows_of(path: &Path, data: &Dataset) -> Outcome<(Vec<f32>, usize)> {
    let features = data::read_features(&FeatureFile::of(path), data, data::Part::Pool)?;
    let bytes: &[u8] = (*features.bytes).as_ref();
    let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Ok((values, features.n_cols))
}

fn tensor(features_nd: &Matrix) -> Outcome<Tensor> {
    Ok(Tensor::f_from_slice(&features_nd.values)?.f_view([features_nd.n_rows as i64, features_nd.n_cols as i64])?)
}

/// Which scales are tried on some features.
struct Choices(&'static [&'static str]);

impl Choices {
    fn all() -> Choices {
        Choices(&["columns", "shared", "rows", "raw-rows", "none"])
    }

    /// Those that tell whether a probe sees a rotation.
    fn rotation_matters() -> Choices {
        Choices(&["columns", "shared"])
    }

    fn of(&self, set: &str, which: &str, features: &Features, device: &Device) -> Outcome<()> {
        for scale in self.0 {
            let (changed, penalties) = match *scale {
                "rows" => (Some(features.unit_rows(true)?), PENALTIES),
                "raw-rows" => (Some(features.unit_rows(false)?), PENALTIES),
                // A penalty on weights of features as they are is one on those of scaled ones, divided by their variance.
                "none" => (None, RAW_PENALTIES.map(|penalty| penalty / features.variance().unwrap_or(1.0))),
                _ => (None, PENALTIES),
            };
            let features = changed.as_ref().unwrap_or(features);
            let probed = FeatureSet::new(&features.pool.features_nd, device)?;
            let how = if *scale == "columns" { Scale::Columns } else { Scale::Shared };
            for (at, penalty) in penalties.into_iter().enumerate() {
                let learner = Learner::LinearProbe(LinearProbe { penalty, scale: how });
                let training = Training { learner, ..Training::default() };
                let named = if *scale == "none" { RAW_PENALTIES[at] } else { penalty };
                for size in SIZES.into_iter().filter(|size| *size <= features.pool.labels.len()) {
                    let accuracies = (1..=SEEDS)
                        .map(|seed| Ok(format!("{:.2}", 100.0 * accuracy(&probed, features, size, seed, &training)?)));
                    let accuracies = accuracies.collect::<Outcome<Vec<_>>>()?.join(" ");
                    println!("{set}\t{which}\t{scale}\t{named}\t{size}\t{accuracies}");
                }
            }
        }
        Ok(())
    }
}

fn accuracy(probed: &FeatureSet, features: &Features, size: usize, seed: u8, training: &Training) -> Outcome<f64> {
    let rows = Rng::from_seed([seed; 32]).sample(features.pool.labels.len(), size);
    let labels: Vec<usize> = rows.iter().map(|&row| features.pool.labels[row]).collect();
    let probe = probed.probe(&rows, &labels, features.n_classes, training)?;
    Ok(probe.accuracy(Judged { features_nd: &features.judged.features_nd, labels: &features.judged.labels })?)
}
