//! The self-supervised engines behind the papers, each as a [`TrainSpec`] made of nothing but its parts.
//!
//! Settings are those of the authors' code where there is one. What the parts cannot express, or what is recalled and
//! not read, stands at the preset.

use super::{Head, Measure, Objective, Optimizer, Pass, Record, Schedule, Setting, Target, TrainSpec, ViewOp};
use crate::{Code, Error, Result};

/// The names that [`TrainSpec::preset`] knows.
pub const PRESETS: [&str; 6] = ["rotation", "jigsaw", "npid", "moco-v1", "moco-v2", "simclr"];

const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

fn resized_crop(least: f64) -> ViewOp {
    ViewOp::ResizedCrop { scale: [least, 1.0], ratio: RATIO }
}

/// Jitter of brightness, contrast and saturation by `strength`, and of the hue.
fn jitter(strength: f64, hue: f64, p: f64) -> ViewOp {
    ViewOp::ColourJitter { brightness: strength, contrast: strength, saturation: strength, hue, p }
}

const GREY: ViewOp = ViewOp::Grey { p: 0.2 };
const FLIP: ViewOp = ViewOp::Flip { p: 0.5 };
const BLUR: ViewOp = ViewOp::Blur { sigma: [0.1, 2.0], p: 0.5 };
const NORMALISE: ViewOp = ViewOp::Normalise {};

fn sgd(lr: f64, weight_decay: f64) -> Optimizer {
    Optimizer::Sgd { lr, momentum: 0.9, nesterov: false, weight_decay }
}

fn drops(epochs: &[u32], factor: f64) -> Schedule {
    Schedule::Step { epochs: epochs.to_vec(), factor }
}

fn linear_to(dim: u32) -> Head {
    Head::Linear { dim: Some(dim) }
}

impl TrainSpec {
    /// A preset by its name in a config, one of [`PRESETS`]; errs with the list of them.
    pub fn preset(name: &str, setting: Setting) -> Result<TrainSpec> {
        match name {
            "rotation" => Ok(TrainSpec::rotation(setting)),
            "jigsaw" => Ok(TrainSpec::jigsaw(setting)),
            "npid" => Ok(TrainSpec::npid(setting)),
            "moco-v1" => Ok(TrainSpec::moco_v1(setting)),
            "moco-v2" => Ok(TrainSpec::moco_v2(setting)),
            "simclr" => Ok(TrainSpec::simclr(setting)),
            _ => {
                let message = format!("there is no preset `{name}`; known are {}", PRESETS.join(", "));
                Err(Error::new(Code::BAD_PARAMS, message))
            }
        }
    }

    /// Which of four angles was the image turned by? (Gidaris, Singh & Komodakis 2018; the settings of their CIFAR-10 and
    /// ImageNet experiments, the batch and the rates of the latter recalled.)
    ///
    /// Departure: the network is the run's own, not a NIN or an AlexNet.
    pub fn rotation(setting: Setting) -> TrainSpec {
        let (batch_size, epochs, lr, schedule, crop) = match setting {
            Setting::Cifar => (128, 200, 0.1, drops(&[60, 120, 160], 0.2), ViewOp::PadCrop { padding: 4 }),
            Setting::ImageNet => (192, 50, 0.01, drops(&[15, 30, 45], 0.1), resized_crop(0.08)),
        };
        TrainSpec {
            name: "rotation".to_owned(),
            target: Target::Applied { op: 2, every: true },
            views: vec![crop, FLIP, ViewOp::Rotate90 {}, NORMALISE],
            backbone: None,
            head: Head::Linear { dim: None },
            objective: Objective::CrossEntropy {},
            optimizer: Optimizer::Sgd { lr, momentum: 0.9, nesterov: true, weight_decay: 5e-4 },
            schedule,
            warmup_epochs: 0,
            epochs,
            batch_size,
            record: Vec::new(),
            seed: None,
        }
    }

    /// Rotation as PT4AL trains it (Yi et al. 2022, `rotation.py`): 15 epochs, no other change to the images, the loss of
    /// each image afterwards as the mean over the four angles.
    ///
    /// Departures: the last epoch counts, not the one with the best accuracy; colours are red-green-blue with the pool's own
    /// statistics, where their code reads blue-green-red under red-green-blue statistics.
    pub fn pt4al_rotation() -> TrainSpec {
        TrainSpec {
            target: Target::Applied { op: 0, every: true },
            views: vec![ViewOp::Rotate90 {}, NORMALISE],
            optimizer: sgd(0.1, 5e-4),
            schedule: drops(&[30, 60, 90], 0.1),
            epochs: 15,
            batch_size: 256,
            record: vec![Record { measure: Measure::Loss {}, pass: Pass::Final }],
            ..TrainSpec::rotation(Setting::Cifar)
        }
    }

    /// In which order do the nine tiles stand? (Noroozi & Favaro 2016; settings recalled, those for small images ours.)
    pub fn jigsaw(setting: Setting) -> TrainSpec {
        let (gap, n_orders, batch_size, epochs, lr) = match setting {
            Setting::Cifar => (1, 100, 128, 200, 0.1),
            Setting::ImageNet => (11, 1000, 256, 70, 0.01),
        };
        TrainSpec {
            name: "jigsaw".to_owned(),
            target: Target::Applied { op: 2, every: false },
            views: vec![GREY, NORMALISE, ViewOp::Jigsaw { grid: 3, gap, orders: distant_orders(9, n_orders) }],
            head: Head::Mlp { hidden: None, dim: None, batch_norm: true },
            optimizer: sgd(lr, 5e-4),
            schedule: Schedule::Cosine {},
            epochs,
            batch_size,
            ..TrainSpec::rotation(setting)
        }
    }

    /// Instance discrimination with a memory bank (Wu, Xiong, Yu & Lin 2018, repository `lemniscate`): for CIFAR the full
    /// softmax, for ImageNet noise-contrastive estimation.
    pub fn npid(setting: Setting) -> TrainSpec {
        let (temperature, negatives, batch_size, weight_decay) = match setting {
            Setting::Cifar => (0.1, None, 128, 5e-4),
            Setting::ImageNet => (0.07, Some(4096), 256, 1e-4),
        };
        let mut views = vec![resized_crop(0.2), jitter(0.4, 0.4, 1.0), GREY, NORMALISE];
        if setting == Setting::ImageNet {
            views.insert(3, FLIP);
        }
        TrainSpec {
            name: "npid".to_owned(),
            target: Target::Instance {},
            views,
            head: linear_to(128),
            objective: Objective::Npid { temperature, bank_momentum: 0.5, negatives },
            optimizer: sgd(0.03, weight_decay),
            // The code's formula says "from epoch 80", and its integer division makes that 120.
            schedule: drops(&[120, 160], 0.1),
            epochs: 200,
            batch_size,
            ..TrainSpec::rotation(setting)
        }
    }

    /// Momentum contrast (He, Fan, Wu, Xie & Girshick 2020). For CIFAR the authors' demo, which has the linear head of
    /// this version and the augmentation of the next.
    pub fn moco_v1(setting: Setting) -> TrainSpec {
        let (temperature, queue, momentum) = match setting {
            Setting::Cifar => (0.1, 4096, 0.99),
            Setting::ImageNet => (0.07, 65_536, 0.999),
        };
        let (views, optimizer, schedule, batch_size) = match setting {
            Setting::Cifar => (
                vec![resized_crop(0.08), FLIP, jitter(0.4, 0.1, 0.8), GREY, NORMALISE],
                sgd(0.06, 5e-4),
                Schedule::Cosine {},
                512,
            ),
            Setting::ImageNet => (
                vec![resized_crop(0.2), GREY, jitter(0.4, 0.4, 1.0), FLIP, NORMALISE],
                sgd(0.03, 1e-4),
                drops(&[120, 160], 0.1),
                256,
            ),
        };
        TrainSpec {
            name: "moco-v1".to_owned(),
            target: Target::Instance {},
            views,
            head: linear_to(128),
            objective: Objective::InfoNce { temperature, queue, momentum, groups: 8, symmetric: false },
            optimizer,
            schedule,
            epochs: 200,
            batch_size,
            ..TrainSpec::rotation(setting)
        }
    }

    /// Momentum contrast with SimCLR's head and augmentation (Chen, Fan, Girshick & He 2020). For CIFAR the authors' demo
    /// with that head.
    pub fn moco_v2(setting: Setting) -> TrainSpec {
        let v1 = TrainSpec::moco_v1(setting);
        let head = Head::Mlp { hidden: None, dim: Some(128), batch_norm: false };
        match setting {
            Setting::Cifar => TrainSpec { name: "moco-v2".to_owned(), head, ..v1 },
            Setting::ImageNet => TrainSpec {
                name: "moco-v2".to_owned(),
                views: vec![resized_crop(0.2), jitter(0.4, 0.1, 0.8), GREY, BLUR, FLIP, NORMALISE],
                head,
                objective: Objective::InfoNce {
                    temperature: 0.2,
                    queue: 65_536,
                    momentum: 0.999,
                    groups: 8,
                    symmetric: false,
                },
                schedule: Schedule::Cosine {},
                ..v1
            },
        }
    }

    /// All other views of the batch as negatives (Chen, Kornblith, Norouzi & Hinton 2020): the authors' command for
    /// CIFAR-10, and their ImageNet setting with a batch of 4096.
    pub fn simclr(setting: Setting) -> TrainSpec {
        let (views, temperature, lr, weight_decay, batch_size, epochs) = match setting {
            Setting::Cifar => {
                (vec![resized_crop(0.08), FLIP, jitter(0.4, 0.1, 0.8), GREY, NORMALISE], 0.5, 1.0, 1e-4, 512, 1000)
            }
            Setting::ImageNet => {
                let views = vec![resized_crop(0.08), FLIP, jitter(0.8, 0.2, 0.8), GREY, BLUR, NORMALISE];
                (views, 0.1, 0.3 * 4096.0 / 256.0, 1e-6, 4096, 100)
            }
        };
        TrainSpec {
            name: "simclr".to_owned(),
            target: Target::Instance {},
            views,
            head: Head::Mlp { hidden: None, dim: Some(128), batch_norm: true },
            objective: Objective::NtXent { temperature },
            optimizer: Optimizer::Lars { lr, momentum: 0.9, weight_decay, trust: 0.001 },
            schedule: Schedule::Cosine {},
            warmup_epochs: 10,
            epochs,
            batch_size,
            ..TrainSpec::rotation(setting)
        }
    }
}

/// `count` orders of `n` things that differ from each other in as many places as can be had greedily: each next one has
/// the greatest least Hamming distance to those before it; ties go to the first in lexicographic order.
pub fn distant_orders(n: u32, count: usize) -> Vec<Vec<u32>> {
    let all = permutations(n);
    let mut nearest = vec![usize::MAX; all.len()];
    let mut chosen: Vec<Vec<u32>> = Vec::new();
    let mut next = 0;
    while chosen.len() < count.min(all.len()) {
        chosen.push(all[next].clone());
        for (order, nearest) in all.iter().zip(&mut nearest) {
            let distance = order.iter().zip(&all[next]).filter(|(a, b)| a != b).count();
            *nearest = distance.min(*nearest);
        }
        next = (0..all.len()).fold(0, |best, i| if nearest[i] > nearest[best] { i } else { best });
    }
    chosen
}

/// All orders of `0..n` in lexicographic order.
fn permutations(n: u32) -> Vec<Vec<u32>> {
    let mut all = vec![(0..n).collect::<Vec<u32>>()];
    loop {
        let mut next = all.last().expect("it begins with one").clone();
        let Some(rise) = next.windows(2).rposition(|pair| pair[0] < pair[1]) else { return all };
        let above = next.iter().rposition(|value| *value > next[rise]).expect("the one after the rise is above it");
        next.swap(rise, above);
        next[rise + 1..].reverse();
        all.push(next);
    }
}
