//! Answers for every question, drawn from a seed: what a real host could have said.
//!
//! All of it depends on the seed and on what an image shows, never on what is asked beside it or how often.

use crate::ops::Output;
use crate::training::{Measure, Pass, Record, Target, TrainSpec};
use crate::{Rng, tensors::HostTensor};

/// Numbers in a row of embeddings.
const N_FEATURES: usize = 8;
/// Height, width and channels of the images.
pub(super) const IMAGE: [u32; 3] = [8, 8, 3];

/// A pretended model, and pretended images in classes.
pub(super) struct Plausible {
    pub n_classes: usize,
    pub seed: u64,
    /// Every class as probable as any other.
    pub undecided: bool,
    /// All images the same to the model.
    pub alike: bool,
}

impl Plausible {
    /// A generator for one image and purpose.
    fn rng(&self, purpose: &str, image: u64) -> Rng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&image.to_le_bytes());
        Rng::for_stream(key, purpose)
    }

    /// The class of an image.
    pub fn class(&self, image: u64) -> u64 {
        self.rng("class", image).below(self.n_classes.max(1) as u64)
    }

    /// The pixels of these images: as bright as their class, with noise.
    pub fn pixels(&self, images: &[u64]) -> HostTensor {
        let size: u32 = IMAGE.iter().product();
        let pixels = |image: &u64| {
            let brightness = 255 * self.class(*image) / self.n_classes.max(1) as u64;
            let mut rng = self.rng("pixels", *image);
            (0..size).map(move |_| (brightness + rng.below(32)).min(255) as u8)
        };
        let shape = [&[images.len() as u64][..], &IMAGE.map(u64::from)].concat();
        HostTensor::new(crate::abi::DType::U8, shape, images.iter().flat_map(pixels).collect())
    }

    /// An output of a network that tells `n_classes` classes apart, a row for each image.
    pub fn output(&self, output: Output, n_classes: usize, images: &[u64]) -> HostTensor {
        let row = |image: &u64| match output {
            Output::Embeddings => self.embedding(*image),
            Output::Logits => self.logits(*image, n_classes),
            Output::Probabilities => softmax(self.logits(*image, n_classes)),
            // Made of the probabilities, wherever those come from.
            Output::Residuals => Vec::new(),
        };
        let n_cols = if output == Output::Embeddings { N_FEATURES } else { n_classes };
        HostTensor::of_f32(&images.iter().flat_map(row).collect::<Vec<f32>>(), n_cols)
    }

    /// An output as one pass under dropout sees it: the clean one with noise, in the logits.
    pub fn disturbed(&self, output: Output, clean: &[f32], image: u64, pass: usize) -> Vec<f32> {
        let mut rng = self.rng(&format!("pass {pass}"), image);
        // Even noise with a deviation of a half: twenty passes over a million images have to be drawn, too.
        let mut noise = |logit: f32| if self.undecided { logit } else { logit + 1.73 * (rng.uniform() as f32 - 0.5) };
        match output {
            Output::Probabilities => softmax(clean.iter().map(|p| noise(p.max(1e-9).ln())).collect()),
            _ => clean.iter().map(|logit| noise(*logit)).collect(),
        }
    }

    /// Normal noise, and the image's class two deviations ahead.
    fn logits(&self, image: u64, n_classes: usize) -> Vec<f32> {
        if self.undecided {
            return vec![0.0; n_classes];
        }
        let (mut rng, class) = (self.rng("logits", image), self.class(image) as usize);
        let ahead = |c: usize| if c == class { 2.0 } else { 0.0 };
        (0..n_classes).map(|c| (ahead(c) + rng.normal()) as f32).collect()
    }

    /// Around a centre for each class.
    fn embedding(&self, image: u64) -> Vec<f32> {
        let image = if self.alike { 0 } else { image };
        let (mut centre, mut around) = (self.rng("centre", self.class(image)), self.rng("embedding", image));
        (0..N_FEATURES).map(|_| (2.0 * centre.normal() + 0.5 * around.normal()) as f32).collect()
    }

    /// What a training recorded: a row for each epoch, or one row, with a number for each image.
    pub fn record(&self, spec: &TrainSpec, record: &Record, images: &[u64]) -> HostTensor {
        let n_epochs = if record.pass == Pass::Training { spec.epochs as usize } else { 1 };
        let mut elements = vec![0.0; n_epochs * images.len()];
        for (i, image) in images.iter().enumerate() {
            let mut rng = self.rng(&spec.name, *image);
            let ease = rng.uniform();
            for epoch in 0..n_epochs {
                let learnt = (epoch + 1) as f64 / n_epochs as f64;
                // From near nothing to what the image's ease allows, with a little noise, between 0 and 1.
                let confidence = (0.02 + 0.8 * learnt * (0.2 + 0.8 * ease) + 0.1 * rng.uniform()).min(0.999);
                elements[epoch * images.len() + i] = match record.measure {
                    Measure::Loss {} => -confidence.ln(),
                    Measure::Confidence {} | Measure::PairProbability { .. } => confidence,
                    Measure::Correct {} => f64::from(u8::from(confidence > 0.5)),
                } as f32;
            }
        }
        HostTensor::of_f32(&elements, images.len())
    }

    /// How many numbers the head of a trained network gives.
    pub fn n_outputs(&self, spec: &TrainSpec) -> usize {
        match &spec.target {
            Target::Labels {} => self.n_classes,
            Target::Classes { classes } => *classes as usize,
            Target::Applied { op, .. } => {
                spec.views.get(*op as usize).and_then(|op| op.n_choices()).unwrap_or(N_FEATURES)
            }
            Target::Values {} | Target::Instance {} => N_FEATURES,
        }
    }
}

fn softmax(logits: Vec<f32>) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - highest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}
