//! Where the time of a training goes.

use std::time::{Duration, Instant};

/// A part of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Cutting and changing images.
    Augmentation,
    /// The network's answer and its loss.
    Forward,
    /// The gradients.
    Backward,
    /// The update of the weights.
    Optimizer,
}

/// How long the phases of a training's steps took, in all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Phases {
    /// See [`Phase::Augmentation`].
    pub augmentation: Duration,
    /// See [`Phase::Forward`].
    pub forward: Duration,
    /// See [`Phase::Backward`].
    pub backward: Duration,
    /// See [`Phase::Optimizer`].
    pub optimizer: Duration,
}

impl Phases {
    fn of(&mut self, phase: Phase) -> &mut Duration {
        match phase {
            Phase::Augmentation => &mut self.augmentation,
            Phase::Forward => &mut self.forward,
            Phase::Backward => &mut self.backward,
            Phase::Optimizer => &mut self.optimizer,
        }
    }
}

/// On a GPU one step of so many is timed, because timing has to wait for the GPU.
const GPU_SAMPLE: usize = 50;

/// Times phases. On the CPU every step; on a GPU a sample, from which the rest is told.
pub(super) struct Watch {
    device: tch::Device,
    n_steps: usize,
    n_timed: usize,
    /// When the phase under way began, if this step is timed.
    since: Option<Instant>,
    phases: Phases,
}

impl Watch {
    pub(super) fn new(device: tch::Device) -> Self {
        Self { device, n_steps: 0, n_timed: 0, since: None, phases: Phases::default() }
    }

    /// A step begins.
    pub(super) fn start(&mut self) {
        let timed = !self.device.is_cuda() || self.n_steps % GPU_SAMPLE == GPU_SAMPLE / 5;
        self.n_steps += 1;
        self.n_timed += usize::from(timed);
        self.since = timed.then(|| self.now());
    }

    /// A phase has ended, and the next begins.
    pub(super) fn lap(&mut self, phase: Phase) {
        if let Some(since) = self.since {
            let now = self.now();
            *self.phases.of(phase) += now - since;
            self.since = Some(now);
        }
    }

    fn now(&self) -> Instant {
        if let tch::Device::Cuda(index) = self.device {
            tch::Cuda::synchronize(index as i64);
        }
        Instant::now()
    }

    /// What all steps took.
    pub(super) fn phases(&self) -> Phases {
        let scale = |took: Duration| took.mul_f64(self.n_steps as f64 / self.n_timed.max(1) as f64);
        let Phases { augmentation, forward, backward, optimizer } = self.phases;
        Phases {
            augmentation: scale(augmentation),
            forward: scale(forward),
            backward: scale(backward),
            optimizer: scale(optimizer),
        }
    }
}
