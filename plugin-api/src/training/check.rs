//! Whether the parts of a spec fit each other, and every number is in its range.

use super::{Head, Measure, Objective, Optimizer, Pass, Record, Region, Schedule, Target, TrainSpec, ViewOp};
use crate::ops::most;
use crate::{Code, Error, Result};

impl TrainSpec {
    /// Checks that the parts fit each other and every number is in its range.
    ///
    /// Errs with [`Code::BAD_PARAMS`] and a sentence that names the part.
    pub fn check(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        require(!self.name.is_empty() && self.name.chars().all(plain), || {
            format!("`name` has lowercase letters, digits and `-` only, not `{}`", self.name)
        })?;
        let at_least = |part: &str, number: u32, least: u32| {
            require(number >= least, || format!("`{part}` must be at least {least}, not {number}"))
        };
        at_least("epochs", self.epochs, 1)?;
        at_least("batch_size", self.batch_size, 2)?;
        at_most("the length of `name`", self.name.len(), most::TEXT)?;
        at_most("`epochs`", self.epochs, most::EPOCHS)?;
        at_most("`batch_size`", self.batch_size, most::BATCH_SIZE)?;
        at_most("the length of `record`", self.record.len(), most::RECORDS)?;
        at_most("the length of `views`", self.views.len(), most::VIEW_OPS)?;
        if let Some(backbone) = &self.backbone {
            at_most("the length of a backbone's name", backbone.name.len(), most::TEXT)?;
            at_most("a backbone's `width`", backbone.width.unwrap_or(0), most::BACKBONE_WIDTH)?;
        }
        require(self.warmup_epochs < self.epochs, || "`warmup_epochs` must be less than `epochs`".to_owned())?;
        self.check_views()?;
        self.check_target()?;
        self.check_optimizer()?;
        self.check_schedule()?;
        self.record.iter().try_for_each(|record| self.check_record(record))
    }

    fn check_views(&self) -> Result<()> {
        self.views.iter().try_for_each(ViewOp::check)?;
        let place = |op: fn(&ViewOp) -> bool| self.views.iter().position(op);
        if let Some(normalise) = place(|op| matches!(op, ViewOp::Normalise {})) {
            let late = self.views[normalise + 1..]
                .iter()
                .find(|op| matches!(op, ViewOp::ColourJitter { .. } | ViewOp::Grey { .. } | ViewOp::Normalise {}));
            require(late.is_none(), || "`normalise` stands once, and after `colour-jitter` and `grey`".to_owned())?;
        }
        let jigsaw = place(|op| matches!(op, ViewOp::Jigsaw { .. }));
        require(jigsaw.is_none_or(|at| at + 1 == self.views.len()), || {
            "`jigsaw` must be the last of `views`".to_owned()
        })
    }

    fn check_target(&self) -> Result<()> {
        if let Target::Applied { op, .. } = self.target {
            let choices = self.views.get(op as usize).and_then(ViewOp::n_choices);
            require(choices.is_some_and(|n| n > 1), || format!("`views[{op}]` is no operation with choices"))?;
        }
        let classes = matches!(self.target, Target::Labels {} | Target::Classes { .. } | Target::Applied { .. });
        let (objective, fits) = match &self.objective {
            Objective::CrossEntropy {} => ("cross-entropy", classes),
            Objective::Regression {} => ("regression", matches!(self.target, Target::Values {})),
            Objective::InfoNce { .. } => ("info-nce", matches!(self.target, Target::Instance {})),
            Objective::NtXent { .. } => ("nt-xent", matches!(self.target, Target::Instance {})),
            Objective::Npid { .. } => ("npid", matches!(self.target, Target::Instance {})),
        };
        require(fits, || format!("the objective `{objective}` has no use for this target"))?;
        if let Target::Classes { classes } = self.target {
            at_most("`classes`", classes, most::WIDTH)?;
        }
        let (Head::Linear { dim } | Head::Mlp { dim, .. }) = self.head;
        at_most("`dim`", dim.unwrap_or(0), most::WIDTH)?;
        if let Head::Mlp { hidden, .. } = self.head {
            at_most("`hidden`", hidden.unwrap_or(0), most::WIDTH)?;
        }
        let contrasts = matches!(self.target, Target::Instance {});
        require(dim.is_some() == contrasts && dim != Some(0), || {
            "the head needs a `dim` for a contrastive objective, and none for any other".to_owned()
        })?;
        let positive = |part: &str, value: f64| {
            require(value > 0.0 && value.is_finite(), || format!("`{part}` must be above 0, not {value}"))
        };
        let share = |part: &str, value: f64| within(part, value, 0.0, 1.0);
        match self.objective {
            Objective::InfoNce { temperature, queue, momentum, groups, .. } => {
                positive("temperature", temperature)?;
                share("momentum", momentum)?;
                at_most("`queue`", queue, most::KEYS)?;
                at_most("`groups`", groups, most::BATCH_SIZE)?;
                require(queue >= 1 && groups >= 1, || "`queue` and `groups` must be at least 1".to_owned())
            }
            Objective::NtXent { temperature } => positive("temperature", temperature),
            Objective::Npid { temperature, bank_momentum, negatives } => {
                positive("temperature", temperature)?;
                share("bank_momentum", bank_momentum)?;
                at_most("`negatives`", negatives.unwrap_or(0), most::KEYS)?;
                require(negatives != Some(0), || "`negatives` must be at least 1".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn check_optimizer(&self) -> Result<()> {
        let (lr, momentum, weight_decay) = match self.optimizer {
            Optimizer::Sgd { lr, momentum, weight_decay, .. } => (lr, momentum, weight_decay),
            Optimizer::Adamw { lr, weight_decay } => (lr, 0.0, weight_decay),
            Optimizer::Lars { lr, momentum, weight_decay, trust } => {
                require(trust > 0.0, || format!("`trust` must be above 0, not {trust}"))?;
                (lr, momentum, weight_decay)
            }
        };
        require(lr > 0.0 && lr.is_finite(), || format!("`lr` must be above 0, not {lr}"))?;
        within("momentum", momentum, 0.0, 0.9999)?;
        within("weight_decay", weight_decay, 0.0, 1.0)
    }

    fn check_schedule(&self) -> Result<()> {
        let Schedule::Step { epochs, factor } = &self.schedule else { return Ok(()) };
        at_most("the length of `step`'s `epochs`", epochs.len(), most::RECORDS)?;
        require(epochs.is_sorted_by(|a, b| a < b), || "the epochs of `step` must be ascending".to_owned())?;
        within("factor", *factor, 0.0, 1.0)
    }

    fn check_record(&self, record: &Record) -> Result<()> {
        let contrasts = self.objective.n_views() == 2;
        let fits = match record.measure {
            Measure::Loss {} => !contrasts || record.pass == Pass::Training,
            Measure::Confidence {} | Measure::Correct {} => matches!(self.objective, Objective::CrossEntropy {}),
            Measure::PairProbability { .. } => contrasts && record.pass == Pass::Training,
        };
        require(fits, || format!("this objective cannot record {:?} in the {:?} pass", record.measure, record.pass))?;
        match record.measure {
            Measure::PairProbability { temperature } => {
                require(temperature > 0.0, || format!("`temperature` must be above 0, not {temperature}"))
            }
            _ => Ok(()),
        }
    }
}

impl ViewOp {
    /// Checks that every number is in its range; errs as [`TrainSpec::check`] does.
    pub fn check(&self) -> Result<()> {
        let range = |part: &str, [low, high]: [f64; 2], least: f64, most: f64| {
            let fits = least <= low && low <= high && high <= most;
            require(fits, || format!("`{part}` must be ascending within {least} to {most}, not [{low}, {high}]"))
        };
        let p_is = |p: f64| within("p", p, 0.0, 1.0);
        match self {
            ViewOp::ResizedCrop { scale, ratio } => {
                range("scale", *scale, 1e-3, 1.0)?;
                range("ratio", *ratio, 0.01, 100.0)
            }
            ViewOp::Flip { p } | ViewOp::Grey { p } => p_is(*p),
            ViewOp::ColourJitter { brightness, contrast, saturation, hue, p } => {
                within("brightness", *brightness, 0.0, 1.0)?;
                within("contrast", *contrast, 0.0, 1.0)?;
                within("saturation", *saturation, 0.0, 1.0)?;
                within("hue", *hue, 0.0, 0.5)?;
                p_is(*p)
            }
            ViewOp::Blur { sigma, p } => {
                range("sigma", *sigma, 1e-3, 100.0)?;
                p_is(*p)
            }
            ViewOp::Jigsaw { grid, orders, .. } => {
                require((2..=8).contains(grid), || format!("`grid` must be 2 to 8, not {grid}"))?;
                at_most("the length of `orders`", orders.len(), most::CHOICES)?;
                let cells: Vec<u32> = (0..grid * grid).collect();
                let permutes = |order: &Vec<u32>| {
                    let mut sorted = order.clone();
                    sorted.sort_unstable();
                    sorted == cells
                };
                require(!orders.is_empty() && orders.iter().all(permutes), || {
                    format!("each of `orders` must name all {} cells once", cells.len())
                })
            }
            ViewOp::Erase { regions } => {
                let inside = |r: &Region| {
                    let fits = |from: f64, size: f64| from >= 0.0 && size > 0.0 && from + size <= 1.0 + 1e-9;
                    fits(r.top, r.height) && fits(r.left, r.width)
                };
                at_most("the length of `regions`", regions.len(), most::CHOICES)?;
                require(!regions.is_empty() && regions.iter().all(inside), || {
                    "each of `regions` must lie within the image".to_owned()
                })
            }
            ViewOp::Cutout { side } => require(*side > 0, || "`side` must be at least 1".to_owned()),
            ViewOp::PadCrop { padding } => at_most("`padding`", *padding, most::PADDING),
            ViewOp::Rotate90 {} | ViewOp::Normalise {} => Ok(()),
        }
    }
}

/// Numbers and lengths alike.
fn at_most<N: PartialOrd + std::fmt::Display>(part: &str, number: N, most: N) -> Result<()> {
    require(number <= most, || format!("{part} must be at most {most}, not {number}"))
}

fn within(part: &str, value: f64, least: f64, most: f64) -> Result<()> {
    require((least..=most).contains(&value), || format!("`{part}` must be {least} to {most}, not {value}"))
}

fn require(holds: bool, problem: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::new(Code::BAD_PARAMS, problem())) }
}
