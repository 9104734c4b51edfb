//! How much a run's largest step has to do, from which follows how many threads help.

use crate::config::Config;
use crate::data::Shape;
use crate::engine::{Learner, PREDICTED_AT_ONCE};
use coldstart_plugin_api::training::{Target, TrainSpec, ViewOp};

/// The numbers in the first layer of the network, in the largest step that the config asks for: images x height x width x
/// channels. Predictions count as steps of so many images as are looked at at once.
///
/// Depends on what runs of a comparison have in common, never on a strategy, a seed, or the number of labels.
pub fn largest_step(config: &Config, shape: Shape) -> usize {
    if !shape.has_pixels() {
        // No network looks at anything: strategies work on features, and there may be many.
        return usize::MAX;
    }
    let pixels = shape.height * shape.width;
    task(config).max(representation(config, shape)).saturating_mul(pixels)
}

/// Images x channels of the task model.
fn task(config: &Config) -> usize {
    // What an exported network does with an image is not known: it is taken for much.
    let Ok(width) = config.model.resolved_width() else { return usize::MAX };
    let batch = match &config.training.learner {
        Learner::Supervised {} => config.training.batch_size,
        // Fitted to features, by a solver with a rule of its own.
        Learner::LinearProbe(_) => 0,
        Learner::FixMatch(fixmatch) => config.training.batch_size * (1 + 2 * fixmatch.unlabelled),
        Learner::MixMatch(_) => 3 * config.training.batch_size,
        // What a script does is not known either.
        Learner::Script(_) => return usize::MAX,
    };
    width * batch.max(PREDICTED_AT_ONCE)
}

/// Images x channels of the largest training of a representation; 0 where none is trained.
fn representation(config: &Config, shape: Shape) -> usize {
    let sections = [&config.representation, &config.initial.representation, &config.query.representation];
    let trained = sections.into_iter().flatten().filter(|section| section.is_trained());
    let side = shape.height.min(shape.width);
    let images = trained.filter_map(|section| {
        let spec = section.spec(side, &config.model).ok()?;
        Some(width(&spec, config)? * views(&spec))
    });
    images.max().unwrap_or(0)
}

/// Images that a step looks at, each as often as it has views or choices to tell.
fn views(spec: &TrainSpec) -> usize {
    let choices = match spec.target {
        Target::Applied { op, every: true } => spec.views.get(op as usize).and_then(ViewOp::n_choices).unwrap_or(1),
        _ => 1,
    };
    spec.batch_size as usize * spec.objective.n_views() * choices
}

fn width(spec: &TrainSpec, config: &Config) -> Option<usize> {
    match spec.backbone.as_ref().and_then(|backbone| backbone.width) {
        Some(width) => Some(width as usize),
        None => config.model.resolved_width().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn step(more: &str) -> usize {
        let text = format!(
            "name = \"t\"\n[dataset]\nkind = \"synthetic\"\n{more}\n[initial]\nstrategy = \"random\"\nsize = 4\n\
             [query]\nstrategy = \"entropy\"\nsize = 2\nrounds = 1\n"
        );
        let config = Config::parse(Path::new("t.toml"), &text, &[]).unwrap();
        largest_step(&config, Shape { height: 10, width: 10, channels: 1 })
    }

    /// Images x channels x 100 pixels.
    #[test]
    fn the_largest_step_counts() {
        let network = "[model]\nbackbone = \"convnet\"\nwidth = 4\n";
        let rows = [
            (network.to_owned(), 128 * 4),
            (format!("{network}[training]\nbatch_size = 8\n"), 64 * 4),
            (format!("{network}[training]\nlearner = {{ kind = \"fixmatch\", unlabelled = 2 }}\n"), 128 * 5 * 4),
            (format!("{network}[representation]\nmethod = \"moco-v2\"\nbatch_size = 200\nepochs = 1\n"), 400 * 4),
            (format!("{network}[representation]\nmethod = \"rotation\"\nbatch_size = 16\nwidth = 64\n"), 64 * 64),
            (format!("{network}[representation]\nmethod = \"handcrafted\"\n"), 128 * 4),
        ];
        for (more, expected) in rows {
            assert_eq!(step(&more), 100 * expected, "{more}");
        }
    }
}
