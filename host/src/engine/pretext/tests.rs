use coldstart_plugin_api::training::{Head, Record, Region, Schedule, Setting, ViewOp};

use super::super::contrast::{noise_contrast, nt_xent};
use super::super::predict::{Answers, Moments};
use super::super::{Glances, ImageShape, Outputs, predict, predict_views};
use super::*;
use coldstart_plugin_api::ops::Reduce;

const SHAPE: ImageShape = ImageShape { height: 12, width: 12, channels: 1 };

fn rng(stream: &str) -> Rng {
    Rng::for_stream([4; 32], stream)
}

/// Noise with a bright upper left corner: which way is up can be told.
fn images(n: usize) -> Images {
    let mut rng = rng("images");
    let pixel = |i: usize, rng: &mut Rng| {
        let (y, x) = (i / 12 % 12, i % 12);
        (rng.below(120) + if y < 5 && x < 5 { 130 } else { 0 }) as u8
    };
    let pixels: Vec<u8> = (0..n * 144).map(|i| pixel(i, &mut rng)).collect();
    Images::new(&pixels, SHAPE, &Device::cpu_for_tests()).unwrap()
}

fn small() -> ModelSettings {
    ModelSettings { backbone: "convnet".to_owned(), width: Some(4), ..ModelSettings::default() }
}

fn rotation() -> TrainSpec {
    let record = |measure, pass| Record { measure, pass };
    TrainSpec {
        epochs: 6,
        batch_size: 16,
        record: vec![
            record(Measure::Loss {}, spec::Pass::Final),
            record(Measure::Confidence {}, spec::Pass::Training),
            record(Measure::Correct {}, spec::Pass::Final),
        ],
        ..TrainSpec::pt4al_rotation()
    }
}

fn contrastive(preset: &str) -> TrainSpec {
    let mut spec = TrainSpec::preset(preset, Setting::Cifar).unwrap().with_epochs(3);
    spec.batch_size = 16;
    if let Objective::InfoNce { queue, groups, .. } = &mut spec.objective {
        (*queue, *groups) = (20, 2);
    }
    let (Head::Linear { dim } | Head::Mlp { dim, .. }) = &mut spec.head;
    *dim = Some(8);
    if spec.objective.n_views() == 2 {
        spec.record =
            vec![Record { measure: Measure::PairProbability { temperature: 0.1 }, pass: spec::Pass::Training }];
    }
    spec
}

fn run(
    spec: &TrainSpec,
    images: &Images,
    targets: Targets<'_>,
    checkpoint: Option<&Path>,
    stop_at: usize,
) -> Result<(Model, PretextRecord), EngineError> {
    let rows: Vec<usize> = (0..images.n_images()).rev().collect();
    let (precision, model) = (Precision::F32, small());
    let job = PretextJob { spec, images, rows: &rows, targets, model: &model, precision, seed: [1; 32], checkpoint };
    pretext(job, &Device::cpu_for_tests(), &mut |progress| match progress.step == stop_at {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    })
}

fn outputs_of(model: &Model, images: &Images) -> Vec<u32> {
    let rows: Vec<usize> = (0..images.n_images()).collect();
    let outputs = Outputs { logits: true, embeddings: true, ..Outputs::default() };
    let found = predict(model, images, &rows, outputs, &mut |_| ControlFlow::Continue(())).unwrap();
    [found.logits_nc.unwrap(), found.embeds_nd.unwrap()]
        .iter()
        .flat_map(|m| m.values.iter().map(|v| v.to_bits()))
        .collect()
}

#[test]
fn rotation_is_learnt_and_recorded() {
    let images = images(60);
    let (_, record) = run(&rotation(), &images, Targets::None, None, 0).unwrap();
    assert!(record.accuracy.unwrap() > 0.9, "{:?}", record.accuracy);
    let [loss, confidence, correct] = &record.records[..] else { panic!("three records were asked for") };
    assert_eq!((loss.n_rows, loss.n_cols, confidence.n_rows, confidence.n_cols), (1, 60, 6, 60));
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    assert!(mean(confidence.row(5)) > mean(confidence.row(0)) + 0.2, "{confidence:?}");
    assert!(correct.values.iter().all(|share| [0.0, 0.25, 0.5, 0.75, 1.0].contains(share)));
    assert!(mean(&loss.values) < 1.0);
}

/// The mean of four cross-entropies in inference mode, each from a prediction of its own.
#[test]
fn the_final_loss_is_the_mean_over_the_four_angles() {
    let images = images(20);
    let (model, record) = run(&rotation(), &images, Targets::None, None, 0).unwrap();
    let rows: Vec<usize> = (0..20).collect();
    let spec = rotation();
    let views = Views::new(&images, &spec.views).unwrap();
    let pass = model.inference_pass().unwrap();
    let mut expected = [0.0; 20];
    for angle in 0..4usize {
        let x_nchw = views.plain(&rows, Some(Choices { op: 0, of_view: &[angle; 20] })).unwrap();
        let log_probs = model.forward(&pass, &x_nchw).unwrap().log_softmax(1, Kind::Float);
        (0..20).for_each(|i| expected[i] -= log_probs.double_value(&[i as i64, angle as i64]) / 4.0);
    }
    // The job's rows ran backwards; another block size rounds differently by some 1e-6.
    for (i, (got, expected)) in record.records[0].values.iter().rev().zip(expected).enumerate() {
        assert!((f64::from(*got) - expected).abs() < 1e-4, "image {i}: {got} {expected}");
    }
}

#[test]
fn every_preset_trains_and_gives_the_same_bits_twice() {
    let images = images(40);
    for preset in ["npid", "moco-v1", "moco-v2", "simclr"] {
        let spec = contrastive(preset);
        let (model, record) = run(&spec, &images, Targets::None, None, 0).unwrap();
        let (again, repeated) = run(&spec, &images, Targets::None, None, 0).unwrap();
        assert_eq!(record, repeated, "{preset}");
        assert_eq!(outputs_of(&model, &images), outputs_of(&again, &images), "{preset}");
        assert!(record.loss.is_finite() && record.accuracy.is_none());
        for pair in &record.records {
            assert_eq!((pair.n_rows, pair.n_cols), (3, 40));
            assert!(pair.values.iter().all(|p| *p > 0.0 && *p <= 1.0), "{preset}: {pair:?}");
        }
    }
}

/// MoCo and SimCLR learn: the probability of finding the other view of an image rises, on images that differ much.
#[test]
fn contrast_finds_pairs() {
    let mut rng = rng("blocks");
    let pixels: Vec<u8> = (0..64)
        .flat_map(|_| {
            let cells: Vec<u8> = (0..16).map(|_| rng.below(256) as u8).collect();
            (0..144).map(move |i| cells[i / 12 / 3 * 4 + i % 12 / 3]).collect::<Vec<_>>()
        })
        .collect();
    let images = Images::new(&pixels, SHAPE, &Device::cpu_for_tests()).unwrap();
    for preset in ["moco-v2", "simclr"] {
        let mut spec = contrastive(preset).with_epochs(25);
        spec.views = vec![ViewOp::PadCrop { padding: 1 }, ViewOp::Normalise {}];
        spec.optimizer = spec::Optimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: false, weight_decay: 1e-4 };
        let (_, record) = run(&spec, &images, Targets::None, None, 0).unwrap();
        let mean = |row: &[f32]| row.iter().sum::<f32>() / row.len() as f32;
        let (first, last) = (mean(record.records[0].row(0)), mean(record.records[0].row(24)));
        assert!(last > 2.0 * first, "{preset}: {first} to {last}");
    }
}

#[test]
fn tiles_in_order_are_told_and_whole_images_still_have_embeddings() {
    let shape = ImageShape { height: 24, width: 24, channels: 1 };
    let mut rng = rng("tiles");
    let pixels: Vec<u8> = (0..80 * 576)
        .map(|i| {
            let cell = i % 576 / 24 / 12 * 2 + i % 24 / 12;
            let stripe = [i % 24 % 2, i / 24 % 2, (i % 24 / 3) % 2, (i / 24 / 3) % 2][cell];
            (rng.below(60) + 180 * stripe as u64) as u8
        })
        .collect();
    let images = Images::new(&pixels, shape, &Device::cpu_for_tests()).unwrap();
    let orders = coldstart_plugin_api::training::distant_orders(4, 4);
    let mut spec = TrainSpec::jigsaw(Setting::Cifar).with_epochs(15);
    spec.views = vec![ViewOp::Normalise {}, ViewOp::Jigsaw { grid: 2, gap: 2, orders }];
    spec.target = Target::Applied { op: 1, every: false };
    spec.batch_size = 20;
    let (model, record) = run(&spec, &images, Targets::None, None, 0).unwrap();
    // Chance is 0.25.
    assert!(record.accuracy.unwrap() > 0.8, "{:?}", record.accuracy);
    let ask = |outputs| predict(&model, &images, &[0, 1], outputs, &mut |_| ControlFlow::Continue(()));
    let embeddings = Outputs { embeddings: true, ..Outputs::default() };
    assert_eq!(ask(embeddings).unwrap().embeds_nd.unwrap().n_cols, model.n_features());
    let error = ask(Outputs { logits: true, ..Outputs::default() }).unwrap_err();
    assert!(error.to_string().contains("tiles"), "{error}");
}

#[test]
fn classes_and_values_are_learnt() {
    let images = images(40);
    let classes: Vec<usize> = (0..40).map(|i| i % 2).collect();
    let spec = TrainSpec {
        target: Target::Classes { classes: 2 },
        views: vec![ViewOp::Normalise {}],
        record: vec![Record { measure: Measure::Loss {}, pass: spec::Pass::Training }],
        ..rotation().with_epochs(40)
    };
    let targets = Targets::Classes { of_image: &classes, n_classes: 2 };
    let (_, record) = run(&spec, &images, targets, None, 0).unwrap();
    assert!(record.accuracy.unwrap() > 0.9, "40 images can be learnt by heart: {:?}", record.accuracy);

    let values = Matrix { values: (0..80).map(|i| (i % 2) as f32).collect(), n_rows: 40, n_cols: 2 };
    let spec = TrainSpec {
        target: Target::Values {},
        objective: Objective::Regression {},
        optimizer: spec::Optimizer::Adamw { lr: 0.02, weight_decay: 0.0 },
        schedule: Schedule::Constant {},
        ..spec
    };
    let (_, record) = run(&spec, &images, Targets::Values(&values), None, 0).unwrap();
    // Every image has the values 0 and 1: the loss of the best constant for both is 0.25, that of the truth 0.
    assert!(record.loss < 0.05, "{}", record.loss);

    for targets in [Targets::None, Targets::Classes { of_image: &classes[1..], n_classes: 2 }] {
        assert!(run(&spec, &images, targets, None, 0).is_err());
    }
}

#[test]
fn an_erased_quarter_is_a_pretext_of_its_own() {
    let region = |top, left| Region { top, left, height: 0.5, width: 0.5 };
    let regions = vec![region(0.0, 0.0), region(0.0, 0.5), region(0.5, 0.0), region(0.5, 0.5)];
    let spec = TrainSpec { views: vec![ViewOp::Erase { regions }, ViewOp::Normalise {}], ..rotation() };
    let (_, record) = run(&spec, &images(60), Targets::None, None, 0).unwrap();
    assert!(record.accuracy.unwrap() > 0.9, "{:?}", record.accuracy);
}

/// Stopped in the middle of an epoch after a checkpoint, a training ends with the same bits as one in one go.
#[test]
fn a_checkpoint_holds_everything() {
    let images = images(40);
    let folder = tempfile::tempdir().unwrap();
    for spec in [rotation(), contrastive("moco-v2"), contrastive("npid"), contrastive("simclr")] {
        let file = folder.path().join(format!("{}.safetensors", spec.name));
        let (model, record) = run(&spec, &images, Targets::None, None, 0).unwrap();

        let rows: Vec<usize> = (0..40).rev().collect();
        let (precision, settings) = (Precision::F32, small());
        let job = PretextJob {
            spec: &spec,
            images: &images,
            rows: &rows,
            targets: Targets::None,
            model: &settings,
            precision,
            seed: [1; 32],
            checkpoint: Some(&file),
        };
        let mut trainer = Trainer::new(job, &Device::cpu_for_tests()).unwrap();
        (0..2).for_each(|_| trainer.epoch(&mut |_| ControlFlow::Continue(())).unwrap());
        checkpoint::store(&file, &mut trainer.state).unwrap();
        drop(trainer);

        let (resumed, recorded) = run(&spec, &images, Targets::None, Some(&file), 0).unwrap();
        assert_eq!(recorded, record, "{}", spec.name);
        assert_eq!(outputs_of(&resumed, &images), outputs_of(&model, &images), "{}", spec.name);
        // A checkpoint of another network, or of none, is not used.
        let head = Head::Mlp { hidden: Some(3), dim: Some(5), batch_norm: true };
        let other = TrainSpec { head, ..contrastive("simclr") };
        let (_, anew) = run(&other, &images, Targets::None, None, 0).unwrap();
        assert_eq!(run(&other, &images, Targets::None, Some(&file), 0).unwrap().1, anew);
        std::fs::write(&file, "torn").unwrap();
        assert_eq!(run(&other, &images, Targets::None, Some(&file), 0).unwrap().1, anew);
    }
}

#[test]
fn a_training_can_be_cancelled() {
    let error = run(&rotation(), &images(40), Targets::None, None, 4).err().unwrap();
    assert!(matches!(error, EngineError::Cancelled), "{error}");
}

#[test]
fn steps_differ_by_one_image_and_leave_none_out() {
    for (n, batch_size, expected) in
        [(10, 4, vec![3, 3, 4]), (8, 4, vec![4, 4]), (5, 8, vec![5]), (129, 128, vec![64, 65])]
    {
        assert_eq!(cut(n, batch_size), expected);
    }
}

#[test]
fn learning_rates_follow_the_spec() {
    let moco = TrainSpec { warmup_epochs: 5, ..TrainSpec::moco_v2(Setting::Cifar) };
    let npid = TrainSpec::npid(Setting::Cifar);
    let rows = [
        (&moco, 0, 0.06 / 50.0),
        (&moco, 49, 0.06),
        (&moco, 50, 0.06),
        (&moco, 1025, 0.03),
        (&npid, 1199, 0.03),
        (&npid, 1200, 0.003),
        (&npid, 1999, 0.0003),
    ];
    for (spec, step, expected) in rows {
        let got = learning_rate(spec, step, 10);
        assert!((got - expected).abs() < 1e-12, "{} at step {step}: {got}", spec.name);
    }
}

fn tensor<const N: usize>(rows: &[[f32; N]]) -> Tensor {
    Tensor::from_slice(&rows.concat()).view([-1, N as i64])
}

/// Test vectors of the losses: closed forms in natural logarithms, to seven digits; f32 keeps about six.
#[test]
fn losses_equal_their_test_vectors() {
    let views = tensor(&[[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [-0.6, 0.8]]);
    for (temperature, expected) in [(0.5, 0.4301903), (0.1, 0.0637798)] {
        let got = nt_xent(&views, temperature).unwrap().mean(Kind::Float).double_value(&[]);
        assert!((got - expected).abs() < 2e-6, "NT-Xent at {temperature}: {got}");
    }
    // Bank entry 0 is the positive of the first vector, the others its negatives.
    let bank = tensor(&[[0.8, 0.6], [0.0, 1.0], [-0.6, 0.8], [0.6, -0.8]]);
    let query = tensor(&[[1.0, 0.0]]);
    let first = Tensor::from_slice(&[0i64]);
    for (temperature, expected) in [(0.2, 0.3272203), (0.1, 0.1272242), (0.07, 0.0558542)] {
        let got = softmax_over_bank(&query, &bank, &first, temperature).unwrap().double_value(&[0]);
        assert!((got - expected).abs() < 2e-6, "InfoNCE at {temperature}: {got}");
    }
}

/// One pair with cosine 0.8 and four negatives with .1, .3, -.2 and 0 to the first view; the second view sees what the
/// geometry gives, so only one direction is compared.
#[test]
fn pair_probabilities_equal_their_test_vector() {
    for (temperature, expected) in [(0.2f64, 0.8792477), (0.05, 0.9999537), (0.001, 1.0)] {
        let cosines = [0.8, 0.1, 0.3, -0.2, 0.0];
        let closed = 1.0 / cosines.iter().map(|s| ((s - 0.8) / temperature).exp()).sum::<f64>();
        assert!((closed - expected).abs() < 1e-6);
    }
    // Against the definition on random unit vectors, both directions.
    let mut rng = rng("pairs");
    let views: Vec<Vec<f64>> = (0..8)
        .map(|_| {
            let v: Vec<f64> = (0..3).map(|_| rng.normal()).collect();
            let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            v.iter().map(|x| x / length).collect()
        })
        .collect();
    let flat = |rows: &[Vec<f64>]| {
        let flat: Vec<f32> = rows.iter().flatten().map(|x| *x as f32).collect();
        Tensor::from_slice(&flat).view([4, 3])
    };
    let got = pair_probability(&(flat(&views[..4]), flat(&views[4..])), 0.05).unwrap();
    let cosine = |i: usize, j: usize| views[i].iter().zip(&views[j]).map(|(a, b)| a * b).sum::<f64>();
    let pick = |i: usize, j: usize| {
        let weight = |n: usize| (cosine(i, n) / 0.05).exp();
        weight(j) / (0..8).filter(|n| *n != i).map(weight).sum::<f64>()
    };
    for m in 0..4 {
        let expected = 0.5 * (pick(m, m + 4) + pick(m + 4, m));
        // Cosines in f32 are off by 1e-7, which the temperature makes 2e-6.
        assert!((got.double_value(&[m as i64]) - expected).abs() < 1e-5, "image {m}");
    }
}

/// The formula in f64 beside it, with Z from the first batch.
#[test]
fn noise_contrast_equals_its_formula() {
    let bank = tensor(&[[0.8, 0.6], [0.0, 1.0], [-0.6, 0.8], [0.6, -0.8]]);
    let f = tensor(&[[1.0, 0.0], [0.0, -1.0]]);
    let (positions, drawn) = (Tensor::from_slice(&[0i64, 3]), Tensor::from_slice(&[1i64, 2, 3]));
    let mut scale = Tensor::from(0.0f32);
    let got = noise_contrast(&f, &bank, (&positions, &drawn), 0.5, &mut scale).unwrap();
    let (own, noise) = ([0.8f64, 0.8], [[0.0f64, -0.6, 0.6], [-1.0, -0.8, 0.8]]);
    let weight = |cosine: f64| (cosine / 0.5).exp();
    let z = noise.iter().flatten().map(|c| weight(*c)).sum::<f64>() / 6.0 * 4.0;
    let share = 3.0 / 4.0;
    for i in 0..2 {
        let h = |cosine: f64| weight(cosine) / z / (weight(cosine) / z + share);
        let expected = -h(own[i]).ln() - noise[i].iter().map(|c| (1.0 - h(*c)).ln()).sum::<f64>();
        assert!((got.double_value(&[i as i64]) - expected).abs() < 1e-5, "image {i}");
    }
    assert!((scale.double_value(&[]) - z).abs() < 1e-5);
}

/// Mean and population variance over views equal those of the views one by one, and do not depend on who else is asked for.
#[test]
fn views_are_reduced_and_belong_to_their_image() {
    let images = images(70);
    let (model, _) = run(&rotation(), &images, Targets::None, None, 0).unwrap();
    let ops = [ViewOp::PadCrop { padding: 2 }, ViewOp::Flip { p: 0.5 }, ViewOp::Normalise {}];
    let ask = |rows: &[usize], ids: &[u64], count: usize, clean: bool, reduce: Reduce| {
        let glances = Glances { ops: &ops, count, clean, reduce, seed: [3; 32], ids };
        let outputs = Outputs { probabilities: true, ..Outputs::default() };
        let found = predict_views(&model, &images, rows, outputs, glances, &mut |_| ControlFlow::Continue(()));
        found.map(|found| found.probs_nc.unwrap())
    };
    let (rows, ids): (Vec<usize>, Vec<u64>) = ((0..70).collect(), (100..170).collect());
    for clean in [false, true] {
        let mean = ask(&rows, &ids, 5, clean, Reduce::Mean).unwrap();
        let variance = ask(&rows, &ids, 5, clean, Reduce::Variance).unwrap();
        // A mean over k views of which the first k - 1 are known gives the k-th.
        let n_views = 5 + usize::from(clean);
        let sums: Vec<Vec<f32>> = (0..=5)
            .map(|k| match k + usize::from(clean) {
                0 => vec![0.0; 280],
                n => ask(&rows, &ids, k, clean, Reduce::Mean).unwrap().values.iter().map(|m| m * n as f32).collect(),
            })
            .collect();
        let first = if clean { vec![sums[0].clone()] } else { vec![] };
        let views: Vec<Vec<f32>> = first
            .into_iter()
            .chain((0..5).map(|k| sums[k + 1].iter().zip(&sums[k]).map(|(a, b)| a - b).collect()))
            .collect();
        for i in 0..280 {
            let m = views.iter().map(|view| f64::from(view[i])).sum::<f64>() / n_views as f64;
            let v = views.iter().map(|view| (f64::from(view[i]) - m).powi(2)).sum::<f64>() / n_views as f64;
            assert!((f64::from(mean.values[i]) - m).abs() < 1e-5 && (f64::from(variance.values[i]) - v).abs() < 1e-5);
        }
        let alone = ask(&rows[7..9], &ids[7..9], 5, clean, Reduce::Variance).unwrap();
        assert_eq!(alone.values, variance.values[28..36]);
    }
    assert!(ask(&rows, &ids, 0, false, Reduce::Mean).is_err());
}

/// Population variance, against the test vector of consistency-based selection.
#[test]
fn the_variance_is_that_of_the_population() {
    let views = [[0.7f64, 0.2, 0.1], [0.5, 0.4, 0.1], [0.9, 0.05, 0.05]];
    let mut moments = Moments::default();
    for view in views {
        let probs = Tensor::from_slice(&view).to_kind(Kind::Float).view([1, 3]);
        moments.add(Answers([Some(probs), None, None])).unwrap();
    }
    let variances = moments.reduce(Reduce::Variance).unwrap().0[0].as_ref().unwrap().sum(Kind::Float);
    assert!((variances.double_value(&[]) - 0.0477778).abs() < 1e-6);
}
