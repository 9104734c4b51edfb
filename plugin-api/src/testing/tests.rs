//! The pretended host, asked through the border.

use super::TestHost;
use crate::ops::{self, KMeansArgs, Output};
use crate::training::{Setting, TrainSpec};
use crate::{Code, Error, Host, NoParams, Request, Result, Selection, Strategy};

/// Asks for everything that there is.
struct Curious;

impl Strategy for Curious {
    type Params = NoParams;

    fn new(_: NoParams, _: &Host<'_>) -> Result<Self> {
        Ok(Curious)
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let (n, pool) = (request.unlabelled.len(), host.pool()?);
        let image_size = (pool.height * pool.width * pool.channels) as usize;
        assert_eq!(host.pixels(&request.unlabelled)?.len(), n * image_size);
        assert!(host.labels(&request.labelled)?.iter().all(|class| *class < pool.classes.len() as u64));
        let wanted = [Output::Probabilities, Output::Logits, Output::Embeddings];
        let [probs_nc, logits_nc, features_nd] = host.predict(&request.unlabelled)?.outputs(wanted)?;
        assert_eq!((probs_nc.n_cols(), logits_nc.n_cols()), (pool.classes.len(), pool.classes.len()));
        assert!(probs_nc.rows().all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
        for spec in [TrainSpec::rotation(Setting::Cifar), TrainSpec::moco_v2(Setting::Cifar).with_epochs(3)] {
            let trained = host.train(&spec, &request.unlabelled)?;
            assert_eq!(trained.records.len(), spec.record.len());
            assert_eq!(host.predict(&request.unlabelled)?.of(&trained).embeddings()?.n_rows(), n);
        }
        assert_eq!(host.represent(&request.unlabelled)?.n_rows(), n);
        let args = KMeansArgs { clusters: 4, iterations: 20, restarts: 1, tolerance: 0.0, stream: "k".to_owned() };
        assert!(host.kmeans(&features_nd, &args)?.of_point.iter().all(|cluster| *cluster < 4));
        assert_eq!(host.knn(&features_nd, 3)?.positions_nk.len(), 3 * n);
        let scores_n = probs_nc.rows().map(|row| row[0]).collect();
        Ok(Selection::highest(request, scores_n))
    }
}

fn pool() -> TestHost {
    TestHost::plausible(40, 3, 7).labelled(&[1, 5])
}

#[test]
fn everything_is_answered_plausibly_and_the_same_each_time() {
    let host = pool();
    let first = host.select::<Curious>("{}", 10).unwrap();
    assert_eq!(host.select::<Curious>("{}", 10).unwrap(), first);
    assert_eq!(host.tensors_left(), 0);
    assert_eq!(host.calls()[..2], ["pool.info/1", "pool.pixels/1"]);
    assert_ne!(TestHost::plausible(40, 3, 8).labelled(&[1, 5]).select::<Curious>("{}", 10).unwrap().ids, first.ids);
    let sparse: Vec<u64> = (0..40).map(|i| 7 * i + 3).collect();
    TestHost::with_ids(sparse).plausibly(1, 7).select::<Curious>("{}", 10).unwrap();
}

#[test]
fn images_that_change_places_keep_their_answers() {
    let (still, shuffled) = (TestHost::plausible(40, 3, 7), TestHost::plausible(40, 3, 7).shuffled(1));
    let images = |host: &TestHost| {
        let ids = host.select::<Curious>("{}", 10).unwrap().ids;
        ids.into_iter().map(|id| host.image_of(id)).collect::<Vec<u64>>()
    };
    assert_eq!(images(&still), images(&shuffled));
    assert!((0..40).any(|id| shuffled.image_of(id) != id));
}

#[test]
fn a_fault_on_request_reaches_the_caller() {
    let error = |host: TestHost| host.select::<Curious>("{}", 10).unwrap_err();
    let full = Error::new(Code::HOST, "the disk is full");
    for (host, code, sentence) in [
        (pool().failing(ops::TRAIN_1, full), Code::HOST, "train/1: the disk is full"),
        (pool().without(ops::KNN_1), Code::UNSUPPORTED, "knn/1"),
        (pool().offering(&[ops::POOL_INFO_1]), Code::UNSUPPORTED, "pool.pixels/1"),
        (pool().nan_in(Output::Embeddings), Code::HOST, "NaN at row 19"),
        (pool().short_answers(), Code::PANICKED, "panicked"),
        (pool().round(0), Code::UNSUPPORTED, "no model is trained in round 0"),
    ] {
        let error = error(host);
        assert!(error.code == code && error.message.contains(sentence), "{error:?}");
    }
    let n_calls = {
        let host = pool();
        host.select::<Curious>("{}", 10).unwrap();
        host.calls().len()
    };
    for call in 0..n_calls {
        assert_eq!(error(pool().cancelled_at(call)).code, Code::CANCELLED, "call {call}");
    }
    assert!(pool().cancelled_at(n_calls).select::<Curious>("{}", 10).is_ok());
}

#[test]
fn undecided_and_alike_images_differ_in_nothing() {
    struct Flat;
    impl Strategy for Flat {
        type Params = NoParams;
        fn new(_: NoParams, _: &Host<'_>) -> Result<Self> {
            Ok(Flat)
        }
        fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
            let outputs = [Output::Probabilities, Output::Embeddings];
            for matrix in host.predict(&request.unlabelled)?.outputs(outputs)? {
                assert!(matrix.rows().all(|row| row == matrix.row(0)));
            }
            Ok(Selection::of(Vec::new()))
        }
    }
    TestHost::plausible(9, 4, 1).undecided().all_alike().select::<Flat>("{}", 0).unwrap();
}
