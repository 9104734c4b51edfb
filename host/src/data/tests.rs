//! The room as its callers see it: [`load`] on real files and on the drawn set.

use std::path::PathBuf;

use super::*;

/// The folder of real data sets, or `None` with a line on stderr.
fn real_data() -> Option<PathBuf> {
    let root = std::env::var_os("COLDSTART_DATA").map(PathBuf::from);
    if root.is_none() {
        eprintln!("skipped: COLDSTART_DATA does not say where the real data sets are");
    }
    root
}

fn spec(toml_text: &str) -> Spec {
    toml::from_str(toml_text).unwrap()
}

fn load_real(toml_text: &str) -> Option<Dataset> {
    let root = real_data()?;
    Some(load(&spec(toml_text), Some(&root), 1).unwrap_or_else(|error| panic!("{toml_text}: {error}")))
}

fn class_sizes(part: &Split, n_classes: usize) -> Vec<usize> {
    split::counts(&part.labels, n_classes)
}

fn assert_whole(set: &Dataset) {
    for part in [&set.pool, &set.validation, &set.test] {
        assert_eq!(part.pixels_nhwc.len(), part.len() * set.shape.bytes());
        assert_eq!(part.labels.len(), part.len());
        assert!(part.ids.is_sorted_by(|a, b| a < b));
        assert!(part.labels.iter().all(|&label| (label as usize) < set.classes.len()));
    }
}

#[test]
fn real_sets_have_their_published_sizes() {
    let rows: [(&str, [usize; 3], usize, usize); 7] = [
        ("kind = 'fashion-mnist'", [28, 28, 1], 60000, 10000),
        ("kind = 'npz'\npath = 'cifar10/cifar10_lossless_subset.npz'", [32, 32, 3], 8068, 1017),
        ("kind = 'folder'\npath = 'cifar10/cifar10_jpeg.tar.gz'", [32, 32, 3], 50000, 10000),
        (
            "kind = 'folder'\npath = 'tiny-imagenet-20/tiny-imagenet-20.tar'\nshape = [64, 64, 3]",
            [64, 64, 3],
            10000,
            1000,
        ),
        ("kind = 'folder'\npath = 'sign-digits-600'\nshape = [32, 24, 1]", [32, 24, 1], 480, 120),
        ("kind = 'folder'\npath = 'hymenoptera-mini'\nshape = [48, 48, 3]", [48, 48, 3], 40, 20),
        ("kind = 'csv'\npath = 'digits'\nshape = [8, 8, 1]\nmax_value = 16", [8, 8, 1], 3823, 1797),
    ];
    for (text, shape, n_pool, n_test) in rows {
        let Some(set) = load_real(text) else { return };
        assert_eq!((set.shape, set.pool.len(), set.test.len()), (shape.into(), n_pool, n_test), "{text}");
        assert_whole(&set);
    }
}

#[test]
fn fashion_mnist_has_balanced_classes_and_known_first_labels() {
    let Some(set) = load_real("kind = 'fashion-mnist'\nvalidation = 1000") else { return };
    let description = set.describe();
    assert!(description.classes.iter().all(|class| class.pool + class.validation == 6000 && class.test == 1000));
    assert_eq!(description.classes[9].name, "Ankle boot");
    assert_eq!(set.test.labels[..5], [9, 2, 1, 1, 6]);
}

#[test]
fn the_two_copies_of_cifar10_agree() {
    let Some(lossless) = load_real("kind = 'npz'\npath = 'cifar10/cifar10_lossless_subset.npz'") else { return };
    let Some(jpeg) = load_real("kind = 'folder'\npath = 'cifar10/cifar10_jpeg.tar.gz'") else { return };
    assert_eq!(jpeg.classes[..3], ["airplane", "automobile", "bird"]);
    assert_eq!(class_sizes(&jpeg.pool, 10), [5000; 10]);
    // The subset's first 4000 training images are the official first 4000.
    assert_eq!(lossless.pool.labels[..4000], jpeg.pool.labels[..4000]);
    let n = 4000 * jpeg.shape.bytes();
    let squares = lossless.pool.pixels_nhwc[..n].iter().zip(&jpeg.pool.pixels_nhwc).map(|(&a, &b)| {
        let difference = f64::from(a) - f64::from(b);
        difference * difference
    });
    let psnr = 10.0 * (255.0 * 255.0 / (squares.sum::<f64>() / n as f64)).log10();
    // The copy's own documentation says about 30.5 dB; shuffled images or swapped channels would be far below 20.
    assert!((29.0..32.0).contains(&psnr), "{psnr}");
}

#[test]
fn a_long_tail_of_cifar10_keeps_ids() {
    let Some(set) = load_real("kind = 'folder'\npath = 'cifar10/cifar10_jpeg.tar.gz'\nimbalance = 100") else { return };
    assert_eq!(class_sizes(&set.pool, 10), [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]);
    assert_eq!(class_sizes(&set.test, 10), [1000; 10]);
    assert_whole(&set);
}

#[test]
fn the_drawn_set_depends_on_the_seed_only_where_it_says() {
    let loaded = |text: &str, seed| load(&spec(text), None, seed).unwrap();
    let plain = "kind = 'synthetic'\nsize = 300\ntest_size = 50";
    for more in ["", "\nimbalance = 10", "\nlabel_noise = 0.2", "\nvalidation = 20", "\ntuning = 20"] {
        let text = format!("{plain}{more}");
        let is_drawn = loaded(&text, 1).fingerprint != loaded(&text, 2).fingerprint;
        assert_eq!(is_drawn, spec(&text).is_drawn_by_seed(), "{text}");
    }
    let drawn = "kind = 'synthetic'\nsize = 300\ntest_size = 50\nimbalance = 10\nvalidation = 20";
    let (one, two) = (loaded(drawn, 1), loaded(drawn, 2));
    assert_eq!(one.fingerprint, loaded(drawn, 1).fingerprint);
    assert_ne!(one.fingerprint, two.fingerprint);
    assert_eq!(one.test, two.test);
    assert_whole(&one);
    // The same id is the same image, whatever was drawn around it.
    let whole = loaded(plain, 1);
    for part in [&one.pool, &one.validation] {
        for (i, &id) in part.ids.iter().enumerate() {
            let (size, id) = (one.shape.bytes(), id as usize);
            assert_eq!(part.pixels_nhwc[i * size..][..size], whole.pool.pixels_nhwc[id * size..][..size]);
            assert_eq!(part.labels[i], whole.pool.labels[id]);
        }
    }
}

#[test]
fn the_fingerprint_sees_every_field() {
    let (shape, classes) = (Shape::from([1, 1, 1]), vec!["a".to_string(), "b".to_string()]);
    let part = Split::numbered(vec![1, 2], vec![0, 1]);
    let empty = Split::default();
    let original = fingerprint(shape, &classes, [&part, &empty, &empty], None);
    let other = |shape, classes: &[&str], part: Split, is_test: bool| {
        let classes: Vec<String> = classes.iter().map(|class| class.to_string()).collect();
        fingerprint(shape, &classes, if is_test { [&empty, &empty, &part] } else { [&part, &empty, &empty] }, None)
    };
    assert_eq!(other(shape, &["a", "b"], part.clone(), false), original);
    let variants = [
        other(Shape::from([1, 1, 3]), &["a", "b"], part.clone(), false),
        other(shape, &["ab", ""], part.clone(), false),
        other(shape, &["a", "b"], Split { ids: vec![0, 2], ..part.clone() }, false),
        other(shape, &["a", "b"], Split { labels: vec![1, 0], ..part.clone() }, false),
        other(shape, &["a", "b"], Split { pixels_nhwc: vec![1, 3], ..part.clone() }, false),
        other(shape, &["a", "b"], part, true),
    ];
    assert!(variants.iter().all(|variant| *variant != original));
}

#[test]
fn a_section_that_is_wrong_is_refused_before_reading() {
    let error = load(&spec("kind = 'synthetic'\npath = 'x'"), None, 1).unwrap_err();
    assert_eq!(error.key(), Some("path"));
    let error = load(&spec("kind = 'cifar10'"), Some(Path::new("/nowhere")), 1).unwrap_err();
    assert!(error.to_string().contains("cifar-10-batches-py/data_batch_1, cifar-10-python.tar.gz"), "{error}");
    assert!(error.hint().unwrap().contains("coldstart data fetch cifar10"));
}

#[test]
fn every_public_set_is_a_kind() {
    for set in fetch::PUBLIC_SETS {
        assert!(Kind::ALL.iter().any(|kind| kind.name() == set.name), "{}", set.name);
        assert!(set.files.iter().all(|file| file.md5.len() == 32 && file.bytes > 0));
    }
}
