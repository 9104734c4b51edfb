//! Progress that is not told while many trainings are one step for the user.

use crate::operations::Meter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A meter that can be told to say nothing of single trainings.
pub struct Muted {
    inner: Arc<dyn Meter>,
    is_mute: AtomicBool,
}

impl Muted {
    pub fn new(inner: Arc<dyn Meter>) -> Muted {
        Muted { inner, is_mute: AtomicBool::new(false) }
    }

    /// Says nothing from now on, or says all again.
    pub fn mute(&self, is_mute: bool) {
        self.is_mute.store(is_mute, Ordering::Relaxed);
    }

    /// How far the step is that many trainings are.
    pub fn tick_of_all(&self, stage: &str, done: u64, total: u64) {
        self.inner.tick(stage, done, total);
    }

    fn speaks(&self) -> bool {
        !self.is_mute.load(Ordering::Relaxed)
    }
}

impl Meter for Muted {
    fn device(&self, device: &str) {
        self.inner.device(device);
    }

    fn tick(&self, stage: &str, done: u64, total: u64) {
        if self.speaks() {
            self.inner.tick(stage, done, total);
        }
    }

    fn step(&self, message: &str) {
        if self.speaks() {
            self.inner.step(message);
        }
    }
}
