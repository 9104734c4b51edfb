//! Kernels: how much two points at some distance have to do with each other.

use crate::elementary::{exp, ln};
use crate::error::{Result, bad};
use crate::wide::wide;

/// A number for two points, by the distance d between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kernel {
    /// 1 where d < radius, otherwise 0: the ball of ProbCover (Yehuda et al. 2022).
    TopHat {
        /// How far a point reaches; its border is outside.
        radius: f32,
    },
    /// exp(-d² / bandwidth²), without the half that a normal density has (MaxHerding, Bae et al. 2024).
    Rbf {
        /// Where the kernel has fallen to 1/e.
        bandwidth: f32,
    },
    /// exp(-d / bandwidth).
    Laplace {
        /// Where the kernel has fallen to 1/e.
        bandwidth: f32,
    },
    /// (d²) to the power of -alpha where d² < horizon, otherwise 0: what keeps picks apart in USL (Wang et al. 2022).
    ///
    /// It has no value at d = 0, where it counts as 0: a point does not push itself away, nor its double.
    Power {
        /// How steep.
        alpha: f32,
        /// The squared distance from which on nothing counts.
        horizon: f32,
    },
}

impl Kernel {
    /// The kernel at a squared distance.
    #[inline(always)]
    pub fn at(&self, squared: f32) -> f32 {
        match *self {
            Kernel::TopHat { radius } => f32::from(u8::from(squared < radius * radius)),
            Kernel::Rbf { bandwidth } => exp(squared * (-1.0 / (bandwidth * bandwidth))),
            Kernel::Laplace { bandwidth } => exp(squared.sqrt() * (-1.0 / bandwidth)),
            Kernel::Power { alpha, horizon } => {
                let value = exp(-alpha * ln(squared.max(f32::MIN_POSITIVE)));
                if squared > 0.0 && squared < horizon { value } else { 0.0 }
            }
        }
    }

    /// Errs when a parameter is no positive number.
    pub(crate) fn check(&self) -> Result<()> {
        let (name, value) = match *self {
            Kernel::TopHat { radius } => ("radius", radius),
            Kernel::Rbf { bandwidth } | Kernel::Laplace { bandwidth } => ("bandwidth", bandwidth),
            Kernel::Power { alpha, horizon } if alpha > 0.0 => ("horizon", horizon),
            Kernel::Power { alpha, .. } => ("alpha", alpha),
        };
        if value > 0.0 && !value.is_nan() {
            Ok(())
        } else {
            bad(format!("a kernel's {name} is {value}; it must be positive"))
        }
    }
}

wide! {
    /// The kernel in the place of each squared distance.
    pub(crate) fn apply<'a>(kernel: Kernel, squared: &'a mut [f32]) -> () {
        // A kernel bound anew in each arm is known there, so that the choice leaves the loop.
        match kernel {
            Kernel::TopHat { radius } => each(squared, Kernel::TopHat { radius }),
            Kernel::Rbf { bandwidth } => each(squared, Kernel::Rbf { bandwidth }),
            Kernel::Laplace { bandwidth } => each(squared, Kernel::Laplace { bandwidth }),
            Kernel::Power { alpha, horizon } => each(squared, Kernel::Power { alpha, horizon }),
        }
    }
}

#[inline(always)]
fn each(squared: &mut [f32], kernel: Kernel) {
    for squared in squared {
        *squared = kernel.at(*squared);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_equal_their_formulas() {
        for i in 0..2000 {
            let squared = i as f32 * 0.01;
            let d2 = f64::from(squared);
            let power = if i > 0 && d2 < 4.0 { d2.powf(-0.5) } else { 0.0 };
            for (kernel, exact) in [
                (Kernel::TopHat { radius: 2.0 }, if d2 < 4.0 { 1.0 } else { 0.0 }),
                (Kernel::Rbf { bandwidth: 2.0 }, (-d2 / 4.0).exp()),
                (Kernel::Laplace { bandwidth: 2.0 }, (-d2.sqrt() / 2.0).exp()),
                (Kernel::Power { alpha: 0.5, horizon: 4.0 }, power),
            ] {
                let mut applied = [squared];
                apply(kernel, &mut applied);
                assert_eq!(applied[0], kernel.at(squared));
                // The roundings of the argument, up to 5 in size, and of the exponential.
                assert!((f64::from(applied[0]) - exact).abs() <= 1e-6 * exact, "{kernel:?} at {squared}");
            }
        }
    }

    #[test]
    fn the_border_of_the_ball_is_outside_and_bad_parameters_are_refused() {
        assert_eq!(Kernel::TopHat { radius: 2.0 }.at(4.0), 0.0);
        assert_eq!(Kernel::Power { alpha: 1.0, horizon: 4.0 }.at(4.0), 0.0);
        for kernel in [
            Kernel::TopHat { radius: 0.0 },
            Kernel::Rbf { bandwidth: f32::NAN },
            Kernel::Laplace { bandwidth: -1.0 },
            Kernel::Power { alpha: 0.0, horizon: 1.0 },
            Kernel::Power { alpha: 1.0, horizon: 0.0 },
        ] {
            assert!(kernel.check().is_err(), "{kernel:?}");
        }
    }
}
