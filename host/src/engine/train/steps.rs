//! How images are cut into steps, and what is drawn for them.

use coldstart_plugin_api::Rng;
use tch::Tensor;

use super::super::error::TorchResult;
use super::super::images::{Augmentation, Epoch, Images};
use super::super::randaugment::{self, Change};
use super::super::settings::{Learner, Training};
use super::Material;

/// How many images each step has.
pub(super) struct Steps {
    n_labelled: usize,
    labelled: usize,
    unlabelled: usize,
    pub(super) per_epoch: usize,
    pub(super) n_epochs: usize,
}

/// Which draws of an epoch belong to a step: of its labelled and of its unlabelled images, a start and a number each.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) labelled: (usize, usize),
    pub(super) unlabelled: (usize, usize),
}

/// All that is drawn for an epoch.
pub(super) struct Drawn {
    labelled: Epoch,
    labels_n: Tensor,
    /// Two views of each unlabelled image, for learners that look at them.
    unlabelled: Option<[Epoch; 2]>,
}

/// The strong changes of a step's labelled and unlabelled images, where there are any.
#[derive(Default)]
pub(super) struct Changes {
    labelled: Option<Vec<Change>>,
    pub(super) unlabelled: Option<Vec<Change>>,
}

impl Steps {
    pub(super) fn plan(settings: &Training, n_labelled: usize, n_unlabelled: usize) -> Self {
        let labelled = settings.batch_size.min(n_labelled);
        let per_step = match settings.learner {
            Learner::FixMatch(fixmatch) => fixmatch.unlabelled * settings.batch_size,
            Learner::MixMatch(_) => settings.batch_size,
            _ => 0,
        };
        let unlabelled = per_step.min(n_unlabelled);
        let per_epoch = match unlabelled {
            // A batch of one image teaches batch-norm nothing: then there is one batch less.
            0 => match n_labelled.div_ceil(labelled) {
                n if n_labelled / n > 1 || labelled == 1 => n,
                _ => n_labelled / labelled,
            },
            _ => n_unlabelled / unlabelled,
        };
        let n_epochs = settings.epochs.max(settings.min_steps.div_ceil(per_epoch));
        Self { n_labelled, labelled, unlabelled, per_epoch, n_epochs }
    }

    pub(super) fn total(&self) -> usize {
        self.per_epoch * self.n_epochs
    }

    /// The batches of an epoch are as equal as whole images allow. Where others cut off full batches and leave the rest to the
    /// last, 140 labels would be 128 and 12: batch-norm learns badly from so few, and every curve would fall at its 129th label.
    pub(super) fn part(&self, index: usize) -> Part {
        let even = |i: usize| i * self.n_labelled / self.per_epoch;
        let labelled = match self.unlabelled {
            0 => (even(index), even(index + 1) - even(index)),
            _ => (index * self.labelled, self.labelled),
        };
        Part { labelled, unlabelled: (index * self.unlabelled, self.unlabelled) }
    }

    /// Draws for an epoch. Beside unlabelled images the labelled ones come round as often as they have to.
    pub(super) fn draw(&self, settings: &Training, material: &Material<'_>, rng: &mut Rng) -> TorchResult<Drawn> {
        let wanted = if self.unlabelled == 0 { self.n_labelled } else { self.per_epoch * self.labelled };
        let mut order = Vec::with_capacity(wanted + self.n_labelled);
        while order.len() < wanted {
            let mut round: Vec<usize> = (0..self.n_labelled).collect();
            rng.shuffle(&mut round);
            order.append(&mut round);
        }
        order.truncate(wanted);
        let (images, labels) = (material.labelled.images, material.labelled.labels);
        let rows: Vec<usize> = order.iter().map(|&i| material.labelled.rows[i]).collect();
        let labels: Vec<i64> = order.iter().map(|&i| labels[i] as i64).collect();
        let labelled = images.epoch(&settings.augmentation.draw(&rows, rng))?;
        let labels_n = Tensor::f_from_slice(&labels)?.f_to_device(images.device())?;
        let unlabelled = match self.unlabelled {
            0 => None,
            _ => {
                let mut rows = material.unlabelled.to_vec();
                rng.shuffle(&mut rows);
                let mut view = || images.epoch(&settings.augmentation.draw(&rows, rng));
                Some([view()?, view()?])
            }
        };
        Ok(Drawn { labelled, labels_n, unlabelled })
    }

    /// Draws the strong changes of a step.
    pub(super) fn changes(&self, settings: &Training, images: &Images, part: Part, rng: &mut Rng) -> Changes {
        let sides = (images.shape().height, images.shape().width);
        let strong = settings.augmentation == Augmentation::RandAugment;
        let mut draw = |n: usize| randaugment::draw(n, sides, rng);
        Changes {
            labelled: strong.then(|| draw(part.labelled.1)),
            unlabelled: matches!(settings.learner, Learner::FixMatch(_)).then(|| draw(part.unlabelled.1)),
        }
    }
}

impl Part {
    /// This part cut into `n`, of which this is number `i`.
    pub(super) fn piece(self, i: usize, n: usize) -> Part {
        let piece = |(start, size): (usize, usize)| (start + size * i / n, size * (i + 1) / n - size * i / n);
        Part { labelled: piece(self.labelled), unlabelled: piece(self.unlabelled) }
    }
}

impl Drawn {
    /// The labelled images of a part and their labels; `first` is where the step's part begins.
    pub(super) fn labelled(
        &self,
        images: &Images,
        part: Part,
        first: Part,
        changes: &Changes,
    ) -> TorchResult<(Tensor, Tensor)> {
        let (start, n) = part.labelled;
        let labels_n = self.labels_n.f_narrow(0, start as i64, n as i64)?;
        let changes = changes.labelled.as_ref().map(|changes| &changes[start - first.labelled.0..][..n]);
        Ok((view(images, &self.labelled, part.labelled, changes)?, labels_n))
    }

    /// The first (0) or second (1) view of a part's unlabelled images.
    pub(super) fn unlabelled(
        &self,
        images: &Images,
        which: usize,
        part: Part,
        changes: Option<&[Change]>,
    ) -> TorchResult<Tensor> {
        let absent = || tch::TchError::Kind("this learner looks at no unlabelled images".to_owned());
        view(images, &self.unlabelled.as_ref().ok_or_else(absent)?[which], part.unlabelled, changes)
    }
}

fn view(images: &Images, epoch: &Epoch, (start, n): (usize, usize), changes: Option<&[Change]>) -> TorchResult<Tensor> {
    match changes {
        None => images.batch(epoch, start, n),
        Some(changes) => images.normalise_unit(&randaugment::apply(&images.unit_draws(epoch, start, n)?, changes)?),
    }
}
