//! The engine: models, training and prediction with libtorch.
//!
//! The loop and the operations call it. It knows nothing of plugins, config text, runs or file formats of data sets: images
//! come as bytes, labels as numbers, settings as structs, randomness as a generator, and answers are plain numbers.
//!
//! Panics: tch's plain methods panic when libtorch refuses, so the engine calls only the `f_` methods that return an
//! error, and wraps it as [`EngineError::Torch`] with what was being done. Shapes, rows and labels are checked before.
//! Exceptions are calls that cannot fail on a defined tensor (`size`, `kind`, `device`, `shallow_clone`), the
//! gradient guard, and the process-wide calls in [`open`]. Even an `f_` method panics when it takes a scalar and libtorch
//! refuses: `guard.rs` makes an error of that panic, at each way into the engine.
//!
//! Determinism: on the CPU the same inputs, seed and number of threads give the same weights and predictions, bit for bit,
//! in every process on the same kind of processor. libtorch's own generator is never used. A GPU promises no such thing.

mod backbones;
mod checkpoint;
mod cluster;
mod contrast;
mod device;
mod error;
mod frozen;
mod given;
mod guard;
mod images;
mod layers;
mod model;
mod optimizer;
mod passes;
mod predict;
mod pretext;
mod probe;
mod randaugment;
mod settings;
mod train;
mod views;
mod weight_file;

pub use backbones::BACKBONES;
pub use backbones::script::{script_file, script_name, understand as understand_script};
pub use cluster::{Clustering, Neighbours, kmeans, knn};
pub use device::{CUDA_FOLDER_VARIABLE, Device, TORCH_VERSION, cores, n_gpus, open};
pub use error::EngineError;
pub use frozen::{FeatureSet, Fit, Probe, fit, remember};
pub use given::{GivenRows, give};
pub use images::{Augmentation, ImageShape, Images, MIN_SIDE, Normalisation};
pub use model::{HeadSettings, Hidden, Model};
pub use passes::{PassAnswers, predict_passes};
pub use predict::{
    Glances, Matrix, Outputs, PREDICTED_AT_ONCE, PredictObserver, PredictProgress, Predictions, predict, predict_views,
};
pub use pretext::{PretextJob, PretextRecord, REVISION, Targets, head_of, pretext};
pub use probe::{Judged, knn_accuracy, linear_accuracy};
pub use settings::{
    AdamW, FixMatch, Init, Lars, Learner, LinearProbe, MixMatch, ModelSettings, OF_SCRIPTS, Optimizer, Precision,
    Restart, Scale, Schedule, Sgd, Training, WeightFile,
};
pub use train::{EpochRecord, Labelled, Material, Phases, TrainObserver, TrainProgress, TrainRecord, train};

#[cfg(test)]
mod tests;
