//! Tests across the engine's files: models, training and prediction together.

use std::ops::ControlFlow;

use coldstart_plugin_api::Rng;
use tch::Kind;

use super::layers::Pass;
use super::predict::predict_in_blocks;
use super::*;

const GREY_8: ImageShape = ImageShape { height: 8, width: 8, channels: 1 };
const COLOUR_64: ImageShape = ImageShape { height: 64, width: 64, channels: 3 };
const CIFAR: ImageShape = ImageShape { height: 32, width: 32, channels: 3 };
const ALL: Outputs = Outputs { probabilities: true, logits: true, embeddings: true };

fn rng(stream: &str) -> Rng {
    Rng::for_stream([3; 32], stream)
}

fn settings(backbone: &str, width: Option<usize>) -> ModelSettings {
    ModelSettings { backbone: backbone.to_owned(), width, ..ModelSettings::default() }
}

fn model(backbone: &str, width: Option<usize>, shape: ImageShape, n_classes: usize) -> Model {
    let device = Device::cpu_for_tests();
    Model::new(&settings(backbone, width), shape, n_classes, &mut rng("model"), &device).unwrap()
}

/// Noisy images whose brighter half (top or bottom) is their class, and the classes.
fn halves(n: usize, shape: ImageShape) -> (Images, Vec<usize>) {
    let mut rng = rng("halves");
    let labels: Vec<usize> = (0..n).map(|i| i % 2).collect();
    let mut pixels = Vec::new();
    for &label in &labels {
        for place in 0..shape.n_bytes() {
            let bottom = usize::from(place >= shape.n_bytes() / 2);
            pixels.push((rng.below(160) + if bottom == label { 95 } else { 0 }) as u8);
        }
    }
    (Images::new(&pixels, shape, &Device::cpu_for_tests()).unwrap(), labels)
}

fn quick() -> Training {
    Training { epochs: 8, min_steps: 0, batch_size: 16, precision: Precision::F32, ..Training::default() }
}

/// Flips keep the halves of an image where they are; crops of so small images do not.
fn flipped() -> Training {
    Training { augmentation: Augmentation::Flip, ..quick() }
}

fn go_on<T>(_: T) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A model trained on the first 40 of 48 images, validated on the rest if asked.
fn trained(backbone: &str, training: &Training, validate: bool) -> (Model, TrainRecord, Images) {
    let (images, labels) = halves(48, GREY_8);
    let rows: Vec<usize> = (0..48).collect();
    let part = |range: std::ops::Range<usize>| Labelled {
        images: &images,
        rows: &rows[range.clone()],
        labels: &labels[range],
    };
    let mut model = model(backbone, Some(4), GREY_8, 2);
    let validation = validate.then(|| part(40..48));
    let material = Material { labelled: part(0..40), unlabelled: &rows, validation };
    let record = train(&mut model, training, material, &mut rng("train"), &mut go_on).unwrap();
    (model, record, images)
}

fn all_rows(model: &Model, images: &Images) -> Predictions {
    let rows: Vec<usize> = (0..images.n_images()).collect();
    predict(model, images, &rows, ALL, &mut go_on).unwrap()
}

fn bits(predictions: &Predictions) -> Vec<u32> {
    let Predictions { probs_nc, logits_nc, embeds_nd } = predictions;
    [probs_nc, logits_nc, embeds_nd]
        .iter()
        .flat_map(|m| m.iter().flat_map(|m| m.values.iter().map(|v| v.to_bits())))
        .collect()
}

#[test]
fn parameter_counts_are_the_published_ones() {
    // ResNet-18 for CIFAR: 11,173,962 (kuangliu/pytorch-cifar); ResNet-20: 0.27M in the paper, 269,722 when counted;
    // WRN-28-2: 1.5M in the paper, 1,467,610 when counted.
    let rows = [("resnet18", 11_173_962), ("resnet20", 269_722), ("wrn-28-2", 1_467_610)];
    for (backbone, expected) in rows {
        assert_eq!(model(backbone, None, CIFAR, 10).n_parameters(), expected, "{backbone}");
    }
}

#[test]
fn every_backbone_takes_every_shape() {
    for &backbone in BACKBONES {
        for shape in [GREY_8, ImageShape { height: 28, width: 17, channels: 1 }, COLOUR_64] {
            let (images, _) = halves(3, shape);
            let model = model(backbone, Some(4), shape, 5);
            let Predictions { probs_nc, logits_nc, embeds_nd } = all_rows(&model, &images);
            let (probs, logits, embeds) = (probs_nc.unwrap(), logits_nc.unwrap(), embeds_nd.unwrap());
            assert_eq!((logits.n_rows, logits.n_cols, embeds.n_rows, embeds.n_cols), (3, 5, 3, model.n_features()));
            let sum: f32 = probs.row(2).iter().sum();
            assert!((sum - 1.0).abs() < 1e-6, "{backbone} {shape:?}: probabilities sum to {sum}");
        }
    }
}

#[test]
fn every_backbone_and_optimizer_learns() {
    let adamw = Optimizer::AdamW(AdamW { lr: 0.02, ..AdamW::default() });
    for &backbone in BACKBONES {
        for optimizer in [Optimizer::Sgd(Sgd::default()), adamw] {
            let training = Training { optimizer, augmentation: Augmentation::Flip, ..quick() };
            let (_, record, _) = trained(backbone, &training, false);
            let (first, last) = (&record.epochs[0], &record.epochs[7]);
            assert!(last.loss < 0.5 * first.loss, "{backbone} {optimizer:?}: {} to {}", first.loss, last.loss);
            assert!(last.accuracy >= 0.9, "{backbone} {optimizer:?}: {}", last.accuracy);
        }
    }
}

/// The share of the last eight images of [`halves`] that a model trained on the first `n` is right about.
fn held_out_accuracy(training: &Training, n: usize) -> (f64, TrainRecord) {
    let (images, labels) = halves(48, GREY_8);
    let rows: Vec<usize> = (0..48).collect();
    let labelled = Labelled { images: &images, rows: &rows[..n], labels: &labels[..n] };
    let material = Material { labelled, unlabelled: &rows[..40], validation: None };
    let mut model = model("convnet", Some(4), GREY_8, 2);
    let record = train(&mut model, training, material, &mut rng("train"), &mut go_on).unwrap();
    let probs = all_rows(&model, &images).probs_nc.unwrap();
    let right = (40..48).filter(|&row| probs.row(row)[labels[row]] > 0.5).count();
    (right as f64 / 8.0, record)
}

#[test]
fn semi_supervised_learners_learn_from_few_labels() {
    let learners = [
        Learner::FixMatch(FixMatch { threshold: 0.8, ..FixMatch::default() }),
        // The published weight of 75 rises over a million steps, not over sixty.
        Learner::MixMatch(MixMatch { weight: 1.0, ..MixMatch::default() }),
    ];
    for learner in learners {
        let training = Training { learner: learner.clone(), epochs: 30, ema: Some(0.9), ..flipped() };
        let (accuracy, record) = held_out_accuracy(&training, 6);
        assert_eq!(accuracy, 1.0, "{learner:?}: {record:?}");
        let (again, same) = held_out_accuracy(&training, 6);
        assert_eq!((accuracy, record.epochs), (again, same.epochs), "{learner:?}");
    }
}

#[test]
fn options_of_supervised_training_learn_too() {
    let options = [
        Training { label_smoothing: 0.1, ..flipped() },
        Training { class_balance: true, ..flipped() },
        Training { ema: Some(0.9), ..flipped() },
    ];
    for training in options {
        let (accuracy, record) = held_out_accuracy(&training, 40);
        assert_eq!(accuracy, 1.0, "{training:?}: {:?}", record.epochs.last());
    }
}

#[test]
fn the_average_of_the_weights_is_what_predicts() {
    // With an average that forgets at once nothing changes; with a slow one the weights lag behind.
    let weights = |ema: f64| {
        let (model, _, images) = trained("convnet", &Training { ema: Some(ema), ..quick() }, false);
        bits(&all_rows(&model, &images))
    };
    assert_ne!(weights(0.0), weights(0.999));
}

#[test]
fn a_backbone_is_taken_over_from_a_network_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("published.safetensors");
    for &backbone in BACKBONES {
        let (source, _, images) = trained(backbone, &quick(), false);
        let embeds = |model: &Model| all_rows(model, &images).embeds_nd.unwrap();
        let mut taken = model(backbone, Some(4), GREY_8, 5);
        taken.adopt(&source).unwrap();
        assert_eq!(embeds(&taken), embeds(&source), "{backbone}");

        let theirs = tch::Tensor::read_safetensors({
            source.save(&path).unwrap();
            &path
        })
        .unwrap();
        let theirs: Vec<_> = theirs.into_iter().map(|(name, tensor)| (format!("module.{name}"), tensor)).collect();
        tch::Tensor::write_safetensors(&theirs, &path).unwrap();
        let rename = |from: &str| [(from.to_owned(), String::new())].into();
        let mut read = model(backbone, Some(4), GREY_8, 5);
        read.adopt_file(&WeightFile { path: path.clone(), rename: rename("module.") }).unwrap();
        assert_eq!(embeds(&read), embeds(&source), "{backbone}");
        let error = read.adopt_file(&WeightFile { path: path.clone(), rename: rename("other.") }).unwrap_err();
        assert!(error.to_string().contains("needs a tensor") && error.to_string().contains("`module."), "{error}");
    }
    let error = model("convnet", Some(8), GREY_8, 2).adopt(&model("convnet", Some(4), GREY_8, 2)).unwrap_err();
    assert!(error.to_string().contains("another backbone"), "{error}");
}

/// A step in a given number of free megabytes, for the test below to start in a process of its own.
#[test]
fn a_step_under_a_limit() {
    let Ok(megabytes) = std::env::var("COLDSTART_TEST_MEMORY") else { return };
    let megabytes: usize = megabytes.parse().unwrap();
    let shape = ImageShape { height: 64, width: 64, channels: 3 };
    let (images, labels) = halves(512, shape);
    let rows: Vec<usize> = (0..512).collect();
    let mut model = model("convnet", Some(16), shape, 2);
    let mut step = |n: usize| {
        let training = Training { batch_size: 512, epochs: 1, ..quick() };
        let labelled = Labelled { images: &images, rows: &rows[..n], labels: &labels[..n] };
        train(&mut model, &training, labelled.into(), &mut rng("train"), &mut go_on)
    };
    // oneDNN generates a kernel for each size, and crashes when it has no memory for that: let it have them all.
    for n in [512, 256, 128, 64] {
        step(n).unwrap();
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let used = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let used: usize = used.trim().trim_end_matches(" kB").parse().unwrap();
    let limit = Some(1024 * used as u64 + ((megabytes as u64) << 20));
    let limits = rustix::process::Rlimit { current: limit, maximum: limit };
    rustix::process::setrlimit(rustix::process::Resource::As, limits).unwrap();
    // What the steps before have left in the heap is taken too, and the last of it given back.
    let mut taken = Vec::with_capacity(1 << 16);
    let mut block = Vec::<u8>::new();
    while block.try_reserve_exact(1 << 20).is_ok() {
        taken.push(std::mem::take(&mut block));
    }
    taken.truncate(taken.len() - megabytes);
    match step(512) {
        Ok(record) => println!("outcome: {}", if record.n_parts > 1 { "in parts" } else { "at once" }),
        Err(error) => println!("outcome: {error}"),
    }
}

#[test]
fn a_step_that_does_not_fit_into_memory_is_done_in_parts() {
    let run = |megabytes: &str| {
        let args = ["--exact", "engine::tests::a_step_under_a_limit", "--nocapture"];
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        // One arena: what a thread frees must be there for all.
        let child = child.args(args).env("COLDSTART_TEST_MEMORY", megabytes).env("MALLOC_ARENA_MAX", "1");
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines()
            .find_map(|line| line.split("outcome: ").nth(1).map(str::to_owned))
            .unwrap_or_else(|| format!("{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr)))
    };
    // The whole step needs some 1000 MB.
    assert_eq!((run("400").as_str(), run("2000").as_str()), ("in parts", "at once"));
}

#[test]
fn bf16_learns_too() {
    let (_, record, _) = trained(
        "convnet",
        &Training { precision: Precision::Bf16, augmentation: Augmentation::Flip, ..quick() },
        false,
    );
    assert!(record.epochs[7].accuracy > 0.9, "{:?}", record.epochs[7]);
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    for &backbone in BACKBONES {
        let (once, record, images) = trained(backbone, &quick(), true);
        let (twice, again, _) = trained(backbone, &quick(), true);
        assert_eq!((record.epochs, record.kept_epoch), (again.epochs, again.kept_epoch), "{backbone}");
        assert_eq!(bits(&all_rows(&once, &images)), bits(&all_rows(&twice, &images)), "{backbone}");
    }
}

/// Prints a fingerprint of a training, for the test below to read from another process.
#[test]
fn fingerprint() {
    let (model, _, images) = trained("resnet20", &quick(), false);
    let fingerprint = bits(&all_rows(&model, &images)).iter().fold(0u32, |hash, &bits| hash.rotate_left(5) ^ bits);
    println!("fingerprint {fingerprint:08x}");
}

#[test]
fn another_process_with_two_threads_gives_the_same_bits() {
    let run = || {
        let args = ["--exact", "engine::tests::fingerprint", "--nocapture"];
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let answer = child.args(args).env(device::tests::THREADS_VARIABLE, "2").output().unwrap();
        let lines = String::from_utf8(answer.stdout).unwrap();
        lines.split("fingerprint ").nth(1).unwrap()[..8].to_owned()
    };
    assert_eq!(run(), run());
}

#[test]
fn folding_batch_norm_changes_rounding_only() {
    for &backbone in BACKBONES {
        let (model, _, images) = trained(backbone, &quick(), false);
        let _no_grad = tch::no_grad_guard();
        let x_nchw = images.batch(&images.unchanged(&[0, 7, 41]).unwrap(), 0, 3).unwrap();
        let logits = |pass: Pass| model.forward(&pass, &x_nchw).unwrap();
        let (folded, unfolded) = (logits(model.inference_pass().unwrap()), logits(model.unfolded_pass().unwrap()));
        let largest = unfolded.abs().max().double_value(&[]);
        let difference = (folded - unfolded).abs().max().double_value(&[]);
        // Some 20 layers deep, each rounding at 6e-8 relative: 1e-5 of the largest logit leaves room for growth.
        assert!(difference < 1e-5 * largest, "{backbone}: {difference} of {largest}");
    }
}

/// In bf16 a prediction is that of f32 but for rounding, and rounds no two different images to the same probabilities.
#[test]
fn bf16_predicts_too() {
    for &backbone in BACKBONES {
        let (mut model, _, images) = trained(backbone, &quick(), false);
        let exact = all_rows(&model, &images);
        model.predict_in(Precision::Bf16);
        let rounded = all_rows(&model, &images);
        let difference = difference(&rounded, &exact);
        // 8 bits of mantissa round by 2^-9; some 20 layers deep, errors of either sign add up to a few hundredths.
        assert!(difference > 0.0 && difference < 0.05, "{backbone}: {difference}");
        // The classifier sums in f32: rounded to bf16, the lower half of every logit would be zeros.
        let logits = rounded.logits_nc.unwrap().values;
        let in_full = logits.iter().filter(|logit| logit.to_bits() & 0xffff != 0).count();
        assert!(2 * in_full > logits.len(), "{backbone}: {in_full} of {}", logits.len());
    }
}

/// The largest difference of two predictions' logits, relative to the largest logit.
fn difference(a: &Predictions, b: &Predictions) -> f32 {
    let (a, b) = (&a.logits_nc.as_ref().unwrap().values, &b.logits_nc.as_ref().unwrap().values);
    let largest =
        |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, |largest: f32, value| largest.max(value.abs()));
    largest(&mut a.iter().zip(b).map(|(a, b)| a - b)) / largest(&mut b.iter().copied())
}

#[test]
fn a_prediction_depends_on_no_other_row() {
    for shape in [GREY_8, ImageShape { height: 28, width: 28, channels: 1 }, CIFAR] {
        for (backbone, width, precision) in [
            ("resnet18", 4, Precision::F32),
            ("resnet18", 16, Precision::F32),
            ("resnet18", 16, Precision::Bf16),
            ("resnet20", 16, Precision::F32),
            ("convnet", 32, Precision::F32),
            ("convnet", 32, Precision::Bf16),
        ] {
            let (images, _) = halves(70, shape);
            let mut model = model(backbone, Some(width), shape, 10);
            model.predict_in(precision);
            let all = all_rows(&model, &images);
            let mut rows = rng("rows").sample(70, 70);
            rows.extend([69, 3, 3]);
            let shuffled = predict(&model, &images, &rows, ALL, &mut go_on).unwrap();
            let pairs = [
                (shuffled.probs_nc, &all.probs_nc),
                (shuffled.logits_nc, &all.logits_nc),
                (shuffled.embeds_nd, &all.embeds_nd),
            ];
            for (got, expected) in pairs.iter().map(|(got, all)| (got.as_ref().unwrap(), all.as_ref().unwrap())) {
                let n = rows.iter().enumerate().filter(|&(i, &row)| got.row(i) != expected.row(row)).count();
                assert_eq!(n, 0, "rows that differ: {backbone}, width {width}, {shape:?}");
            }
        }
    }
}

#[test]
fn the_block_size_changes_rounding_only() {
    for &backbone in BACKBONES {
        let (model, _, images) = trained(backbone, &quick(), false);
        let (all, rows) = (all_rows(&model, &images), (0..48).collect::<Vec<_>>());
        for block in [1, 7, 16, 256] {
            let got = predict_in_blocks(&model, &images, &rows, ALL, block, &mut go_on).unwrap();
            // libtorch chooses other kernels for other sizes. The tolerance is that of folding, for the same reason.
            let difference = difference(&got, &all);
            assert!(difference < 1e-5, "{backbone}, blocks of {block}: {difference}");
        }
    }
}

#[test]
fn validation_keeps_the_best_epoch() {
    let training = Training { optimizer: Optimizer::Sgd(Sgd { lr: 0.3, ..Sgd::default() }), ..quick() };
    let (model, record, images) = trained("convnet", &training, true);
    let nlls: Vec<f64> = record.epochs.iter().map(|epoch| epoch.validation_nll.unwrap()).collect();
    let lowest = nlls.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(nlls[record.kept_epoch - 1], lowest);
    let probs = all_rows(&model, &images).probs_nc.unwrap();
    let nll: f64 = (40..48).map(|row| -f64::from(probs.row(row)[row % 2]).ln()).sum::<f64>() / 8.0;
    // The probabilities are f32, with relative rounding of about 1e-7 each.
    assert!((nll - lowest).abs() < 1e-5, "{nll} is not {lowest}");
}

#[test]
fn small_sets_are_trained_for_min_steps() {
    let (images, labels) = halves(5, GREY_8);
    let count = |n: usize, training: &Training| {
        let rows: Vec<usize> = (0..n).collect();
        let labelled = Labelled { images: &images, rows: &rows, labels: &labels[..n] };
        let mut model = model("convnet", Some(2), GREY_8, 2);
        let record = train(&mut model, training, labelled.into(), &mut rng("train"), &mut go_on).unwrap();
        (record.epochs.len(), record.n_steps)
    };
    let training = Training { epochs: 2, min_steps: 7, batch_size: 4, ..quick() };
    // Five images in batches of four at most: three and two. In batches of two: two and three, as one alone teaches nothing.
    assert_eq!(count(5, &training), (4, 8));
    assert_eq!(count(4, &training), (7, 7));
    assert_eq!(count(5, &Training { batch_size: 2, ..training.clone() }), (4, 8));
    assert_eq!(count(5, &Training { min_steps: 0, ..training }), (2, 4));
}

#[test]
fn a_breaking_observer_cancels() {
    let (images, labels) = halves(8, GREY_8);
    let rows: Vec<usize> = (0..8).collect();
    let labelled = Labelled { images: &images, rows: &rows, labels: &labels };
    let mut model = model("convnet", Some(2), GREY_8, 2);
    let mut stop_at_three = |progress: TrainProgress| {
        if progress.step == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let error = train(&mut model, &quick(), labelled.into(), &mut rng("train"), &mut stop_at_three).unwrap_err();
    assert!(matches!(error, EngineError::Cancelled));
    let error = predict(&model, &images, &rows, ALL, &mut |_| ControlFlow::Break(())).unwrap_err();
    assert!(matches!(error, EngineError::Cancelled));
}

#[test]
fn a_diverging_training_names_the_epoch() {
    let (images, labels) = halves(16, GREY_8);
    let rows: Vec<usize> = (0..16).collect();
    let labelled = Labelled { images: &images, rows: &rows, labels: &labels };
    let training = Training { optimizer: Optimizer::Sgd(Sgd { lr: 1e30, ..Sgd::default() }), ..quick() };
    let mut model = model("convnet", Some(2), GREY_8, 2);
    let error = train(&mut model, &training, labelled.into(), &mut rng("train"), &mut go_on).unwrap_err();
    assert!(matches!(error, EngineError::Diverged { epoch: 1..=8, n_epochs: 8 }), "{error}");
    let untrained = self::model("convnet", Some(2), GREY_8, 2);
    assert_eq!(bits(&all_rows(&model, &images)), bits(&all_rows(&untrained, &images)), "its start is restored");
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let (images, _) = halves(4, GREY_8);
    let mut model = model("convnet", Some(2), GREY_8, 2);
    let rows: [(&[usize], &[usize], &str); 4] = [
        (&[0, 4], &[0, 1], "no image 4"),
        (&[0, 1], &[0], "2 images came with 1 labels"),
        (&[0, 1], &[0, 2], "no class 2"),
        (&[0], &[0], "at least 2"),
    ];
    for (rows, labels, expected) in rows {
        let labelled = Labelled { images: &images, rows, labels };
        let error = train(&mut model, &quick(), labelled.into(), &mut rng("train"), &mut go_on).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let (colour, _) = halves(4, COLOUR_64);
    let error = predict(&model, &colour, &[0], ALL, &mut go_on).unwrap_err();
    assert!(error.to_string().contains("the model takes images"), "{error}");
    assert!(predict(&model, &images, &[], ALL, &mut go_on).unwrap().probs_nc.unwrap().values.is_empty());
}

#[test]
fn weights_come_back_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let (trained, _, images) = trained("resnet20", &quick(), false);
    trained.save(&path).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the partial file is gone");
    let mut fresh = model("resnet20", Some(4), GREY_8, 2);
    fresh.load(&path).unwrap();
    assert_eq!(bits(&all_rows(&fresh, &images)), bits(&all_rows(&trained, &images)));
    let names = tch::Tensor::read_safetensors(&path).unwrap();
    let stem = names.iter().find(|(name, _)| name == "layer2.0.conv1.weight").unwrap();
    assert_eq!((stem.1.size(), stem.1.kind()), (vec![8, 4, 3, 3], Kind::Float));
}

#[test]
fn a_weight_file_that_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut small = model("resnet20", Some(4), GREY_8, 2);
    assert!(small.load(&path).unwrap_err().to_string().contains("model.safetensors"));
    for other in [model("resnet20", Some(8), GREY_8, 2), model("convnet", Some(4), GREY_8, 2)] {
        other.save(&path).unwrap();
        let error = small.load(&path).unwrap_err().to_string();
        assert!(error.contains("needs a tensor"), "{error}");
    }
    small.save(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(small.load(&path).unwrap_err(), EngineError::Weights { .. }));
    assert!(small.save(&folder.path().join("absent/model.safetensors")).is_err());
}
