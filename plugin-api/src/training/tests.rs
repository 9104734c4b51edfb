use super::*;
use crate::wire;

#[test]
fn every_preset_is_sound_and_survives_the_wire() {
    for name in PRESETS {
        for setting in [Setting::Cifar, Setting::ImageNet] {
            let spec = TrainSpec::preset(name, setting).unwrap();
            spec.check().unwrap();
            assert_eq!(spec.name, name);
            assert_eq!(wire::decode::<TrainSpec>(&wire::encode(&spec)).unwrap(), spec);
        }
    }
    TrainSpec::pt4al_rotation().check().unwrap();
    assert!(TrainSpec::preset("mocov2", Setting::Cifar).unwrap_err().message.contains("moco-v2"));
}

#[test]
fn another_length_keeps_the_shape_of_the_schedule() {
    let npid = TrainSpec::npid(Setting::Cifar).with_epochs(20);
    assert_eq!(npid.schedule, Schedule::Step { epochs: vec![12, 16], factor: 0.1 });
    let simclr = TrainSpec::simclr(Setting::Cifar).with_epochs(2);
    assert_eq!((simclr.epochs, simclr.warmup_epochs), (2, 0));
    for name in PRESETS {
        TrainSpec::preset(name, Setting::Cifar).unwrap().with_epochs(1).check().unwrap();
    }
}

/// What a later version of the kit could send: refused with what is known, not skipped.
#[test]
fn unknown_parts_are_refused_by_name() {
    let spec = serde_json::to_value(TrainSpec::rotation(Setting::Cifar)).unwrap();
    let with = |pointer: &str, value: serde_json::Value| {
        let mut spec = spec.clone();
        *spec.pointer_mut(pointer).unwrap() = value;
        wire::decode::<TrainSpec>(&wire::encode(&spec)).unwrap_err().message
    };
    let message = with("/views/0", serde_json::json!({"op": "solarize", "p": 0.1}));
    assert!(
        message.contains("solarize") && message.contains("resized-crop") && message.contains("jigsaw"),
        "{message}"
    );
    let message = with("/views/1", serde_json::json!({"op": "flip", "p": 0.1, "vertical": true}));
    assert!(message.contains("vertical"), "{message}");
    let message = with("/objective", serde_json::json!({"kind": "barlow"}));
    assert!(message.contains("info-nce"), "{message}");
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let rotation = || TrainSpec::rotation(Setting::Cifar);
    let moco = || TrainSpec::moco_v2(Setting::Cifar);
    let lossy = |lr| Optimizer::Sgd { lr, momentum: 0.9, nesterov: false, weight_decay: 0.0 };
    let rows = [
        (TrainSpec { name: "Rotation".into(), ..rotation() }, "name"),
        (TrainSpec { epochs: 0, ..rotation() }, "epochs"),
        (TrainSpec { batch_size: 1, ..rotation() }, "batch_size"),
        (TrainSpec { warmup_epochs: 200, ..rotation() }, "warmup_epochs"),
        (TrainSpec { target: Target::Applied { op: 0, every: true }, ..rotation() }, "views[0]"),
        (TrainSpec { target: Target::Applied { op: 9, every: true }, ..rotation() }, "views[9]"),
        (TrainSpec { target: Target::Instance {}, ..rotation() }, "cross-entropy"),
        (TrainSpec { target: Target::Labels {}, ..moco() }, "info-nce"),
        (TrainSpec { head: Head::Linear { dim: None }, ..moco() }, "dim"),
        (TrainSpec { head: Head::Linear { dim: Some(4) }, ..rotation() }, "dim"),
        (TrainSpec { views: vec![ViewOp::Normalise {}, ViewOp::Grey { p: 0.2 }], ..moco() }, "normalise"),
        (TrainSpec { views: vec![ViewOp::Flip { p: 1.5 }], ..moco() }, "`p`"),
        (TrainSpec { views: vec![ViewOp::ResizedCrop { scale: [0.5, 0.2], ratio: [1.0, 1.0] }], ..moco() }, "scale"),
        (TrainSpec { optimizer: lossy(0.0), ..moco() }, "lr"),
        (TrainSpec { optimizer: lossy(f64::NAN), ..moco() }, "lr"),
        (TrainSpec { schedule: Schedule::Step { epochs: vec![9, 3], factor: 0.1 }, ..moco() }, "ascending"),
        (
            TrainSpec { record: vec![Record { measure: Measure::Confidence {}, pass: Pass::Final }], ..moco() },
            "cannot record",
        ),
        (
            TrainSpec {
                record: vec![Record { measure: Measure::PairProbability { temperature: 0.1 }, pass: Pass::Final }],
                ..moco()
            },
            "cannot record",
        ),
    ];
    for (spec, word) in rows {
        let error = spec.check().unwrap_err();
        assert!(error.message.contains(word), "{word}: {}", error.message);
    }
}

/// Orders of three things that differ in every place from the first are the two rotations; the rest differ in two.
#[test]
fn distant_orders_are_far_apart() {
    assert_eq!(distant_orders(3, 3), [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
    assert_eq!(distant_orders(3, 100).len(), 6);
    let orders = distant_orders(9, 20);
    let least = |orders: &[Vec<u32>]| {
        let distance = |a: &Vec<u32>, b: &Vec<u32>| a.iter().zip(b).filter(|(a, b)| a != b).count();
        let pairs = (0..orders.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
        pairs.map(|(i, j)| distance(&orders[i], &orders[j])).min().unwrap()
    };
    // Any two of 9 things differ in 7 places at least; 9 would be a Latin square.
    assert!(least(&orders) >= 7, "{}", least(&orders));
}
