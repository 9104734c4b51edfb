//! A backbone from a TorchScript file: any network that was exported elsewhere, as a frozen extractor of features.
//!
//! Such a file is a program. Before libtorch sees it, all of it is read here: its source may call operators of a list and
//! nothing else, its structure may hold data and nothing else, and what libtorch loads is written anew from what was read.

mod archive;
mod operators;
mod pickle;
mod source;

use std::path::Path;
use std::sync::Once;

use tch::{CModule, Tensor};

use super::super::device::Device;
use super::super::error::{EngineError, TorchResult, While};
use super::super::images::ImageShape;
use super::super::layers::Pass;
use super::super::weight_file::{ZIP, other_format};
use super::Backbone;

/// How `model.backbone` names such a file.
const PREFIX: &str = "torchscript:";

/// The file that a backbone's name stands for, if it is one.
pub fn script_file(backbone: &str) -> Option<&Path> {
    backbone.strip_prefix(PREFIX).map(Path::new)
}

/// The name of the backbone in that file.
pub fn script_name(file: &Path) -> String {
    format!("{PREFIX}{}", file.display())
}

/// A module that answers n images, n x channels x height x width in f32, with n x d features.
struct Script {
    module: CModule,
    n_features: usize,
}

/// Loads the module and asks it about two black images, to learn how many features it has.
///
/// Errs when the file is no TorchScript module, or answers with anything but a row of numbers for each image.
pub(in crate::engine) fn load(
    file: &Path,
    shape: ImageShape,
    device: &Device,
) -> Result<Box<dyn Backbone>, EngineError> {
    static ONCE: Once = Once::new();
    // A module that is compiled anew after its first calls would round otherwise from then on.
    ONCE.call_once(|| {
        tch::jit::set_graph_executor_optimize(false);
        tch::jit::set_tensor_expr_fuser_enabled(false);
    });
    let ImageShape { height, width, channels } = shape;
    let failed = |problem: String| EngineError::weights(file, problem);
    // libtorch's first sentence; what follows are guesses at the cause and the place in its source.
    let no_module = |error: tch::TchError| {
        let text = error.to_string();
        let sentence = text.lines().next().unwrap_or_default().split(". ").next().unwrap_or_default();
        let sentence = sentence.trim_start_matches("Internal torch error: ");
        EngineError::Weights {
            path: file.to_owned(),
            problem: format!("it is no TorchScript module for images of {height} x {width} x {channels}: {sentence}"),
            hint: Some("`torch.jit.trace(network, images).save(FILE)` writes one; weights alone are none".to_owned()),
        }
    };
    if !file.is_file() {
        return Err(failed("there is no such file".to_owned()));
    }
    let bytes = std::fs::read(file).map_err(|error| failed(format!("it cannot be read: {error}")))?;
    if let Some(other) = other_format(file, ZIP, "not a TorchScript module") {
        return Err(other);
    }
    let harmless = harmless(&bytes).map_err(|problem| refused(file, problem))?;
    drop(bytes);
    let _no_grad = tch::no_grad_guard();
    let mut module = CModule::load_data_on_device(&mut &harmless[..], device.torch()).map_err(no_module)?;
    drop(harmless);
    module.f_set_eval().map_err(no_module)?;
    let size = [2, channels, height, width].map(|side| side as i64);
    let images = Tensor::f_zeros(size, (tch::Kind::Float, device.torch())).doing("asking a TorchScript module")?;
    match module.forward_ts(&[images]).map_err(no_module)?.size()[..] {
        [2, n_features] => Ok(Box::new(Script { module, n_features: n_features as usize })),
        ref size => {
            let wanted = "a module must answer two images with two rows of features";
            Err(failed(format!("{wanted}, not with a tensor of {size:?}: average over height and width in it")))
        }
    }
}

/// A module that is none, or does more than compute.
fn refused(file: &Path, problem: String) -> EngineError {
    let hint = "trace it in evaluation mode from plain layers (`torch.jit.trace(network.eval(), images).save(FILE)`); what a network \
                may call stands in ARCHITECTURE.md, and what it lacks may be asked for";
    EngineError::Weights {
        path: file.to_owned(),
        problem: format!("it is no TorchScript module that is let in: {problem}"),
        hint: Some(hint.to_owned()),
    }
}

/// The same module, written anew from its parts, all of which were looked at.
///
/// Errs with what is in it that is not on a list.
fn harmless(file: &[u8]) -> Result<Vec<u8>, String> {
    let parts = archive::read(file)?;
    let has = |name: &str| parts.iter().any(|part| part.name == name);
    if !has("data.pkl") || !parts.iter().any(|part| part.name.starts_with("code/")) {
        return Err("it has no code or no structure, as weights alone have none".to_owned());
    }
    if VERSIONS.iter().filter(|name| has(name)).count() != 1 {
        return Err("it does not say its version, or says two".to_owned());
    }
    let (mut kept, mut sources) = (Vec::new(), Vec::new());
    for part in &parts {
        let odd = |what: String| format!("its part `{}` {what}", part.name);
        match kind(&part.name) {
            Kind::Source => {
                let text = std::str::from_utf8(&part.bytes).map_err(|_| odd("is no text".to_owned()))?;
                sources.push((part.name.as_str(), text));
            }
            Kind::Structure => {
                let folder = part.name.trim_end_matches(".pkl");
                let length = |key: &str| {
                    let numbers = parts.iter().find(|part| part.name == format!("{folder}/{key}"));
                    numbers.map(|part| part.bytes.len() as u64)
                };
                pickle::check(&part.bytes, &length).map_err(odd)?;
            }
            Kind::Version if part.bytes.len() < 4 && part.bytes.trim_ascii().iter().all(u8::is_ascii_digit) => {}
            Kind::ByteOrder if part.bytes[..] == *b"little" => {}
            Kind::Numbers => {}
            Kind::Aside => continue,
            _ => return Err(odd("is not on the list".to_owned())),
        }
        kept.push(part.clone());
    }
    source::check(&sources)?;
    archive::write(&kept)
}

/// Where an archive says the version of its form; since operators have versions, in the second.
const VERSIONS: [&str; 2] = ["version", ".data/version"];

/// Reads bytes as an archive and as its parts, as far as they are read before libtorch sees them; for fuzzers.
pub fn understand(bytes: &[u8]) {
    _ = harmless(bytes);
    _ = pickle::check(bytes, &|_| Some(4));
    _ = source::check(&[("code/__torch__.py", &String::from_utf8_lossy(bytes))]);
}

/// What a part of an archive is, by its name.
enum Kind {
    /// What libtorch compiles.
    Source,
    /// What objects there are, and their parts.
    Structure,
    /// The bytes of a tensor.
    Numbers,
    Version,
    ByteOrder,
    /// What libtorch need not see: places in the original source, numbers of the export, the author's own files.
    Aside,
    Unknown,
}

fn kind(name: &str) -> Kind {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if VERSIONS.contains(&name) {
        return Kind::Version;
    }
    match name.split_once('/') {
        None if ["data.pkl", "constants.pkl"].contains(&name) => Kind::Structure,
        None if name == "byteorder" => Kind::ByteOrder,
        None if [".format_version", ".storage_alignment", "traced_inputs.pkl"].contains(&name) => Kind::Aside,
        Some(("data" | "constants", number)) if is_number(number) => Kind::Numbers,
        Some(("code", path)) if path.ends_with(".py") => Kind::Source,
        Some(("code", path)) if path.ends_with(".debug_pkl") => Kind::Aside,
        Some(("extra", _) | (".data", "serialization_id")) => Kind::Aside,
        Some(("traced_inputs", number)) if is_number(number) => Kind::Aside,
        _ => Kind::Unknown,
    }
}

impl Backbone for Script {
    fn forward(&self, _: &Pass, x_nchw: &Tensor) -> TorchResult<Tensor> {
        self.module.forward_ts(&[x_nchw.f_to_kind(tch::Kind::Float)?.f_contiguous()?])?.f_to_kind(tch::Kind::Float)
    }

    fn n_features(&self) -> usize {
        self.n_features
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Images, Labelled, Learner, LinearProbe, Model, ModelSettings, Training};
    use super::super::super::{Outputs, fit, predict, remember};
    use super::*;
    use crate::fuzz::mutated;
    use coldstart_plugin_api::Rng;
    use std::ops::ControlFlow;
    use tch::Kind;

    const SHAPE: ImageShape = ImageShape { height: 8, width: 8, channels: 1 };

    /// Writes a module that answers with the mean of each row of pixels; or with the pixels, unaveraged.
    fn written(name: &str, whole: bool) -> std::path::PathBuf {
        let file = std::env::temp_dir().join(format!("coldstart-script-{}-{name}.pt", std::process::id()));
        let inputs = [Tensor::zeros([2, 1, 8, 8], (Kind::Float, tch::Device::Cpu))];
        let mut answer = |x: &[Tensor]| {
            let rows = x[0].mean_dim([3].as_slice(), false, Kind::Float).flatten(1, 2);
            vec![if whole { x[0].shallow_clone() } else { rows }]
        };
        let module = CModule::create_by_tracing("Rows", "forward", &inputs, &mut answer).unwrap();
        module.save(&file).unwrap();
        file
    }

    fn settings(file: &Path) -> ModelSettings {
        ModelSettings { backbone: script_name(file), ..ModelSettings::default() }
    }

    #[test]
    fn a_module_is_probed_and_gets_pixels_from_0_to_1() {
        let file = written("rows", false);
        let device = Device::cpu_for_tests();
        let mut rng = Rng::from_seed([3; 32]);
        let pixels: Vec<u8> = (0..40usize)
            .flat_map(|i| (0..64).map(move |at| if i % 2 == 0 { at } else { 90 - at }))
            .map(|base| base as u8 + rng.below(20) as u8)
            .collect();
        let mut images = Images::from_0_to_1(&pixels, SHAPE, &device).unwrap();
        let mut model = Model::new(&settings(&file), SHAPE, 2, &mut rng, &device).unwrap();
        assert_eq!((model.n_features(), model.n_parameters()), (8, 18));
        let go_on = &mut |_| ControlFlow::Continue(());
        remember(&mut images, &model, go_on).unwrap();
        let (rows, labels) = ((0..20).collect::<Vec<_>>(), (0..20).map(|i| i % 2).collect::<Vec<_>>());
        let training = Training { learner: Learner::LinearProbe(LinearProbe::default()), ..Training::default() };
        let labelled = Labelled { images: &images, rows: &rows, labels: &labels };
        assert_eq!(fit(&mut model, &training, labelled).unwrap().accuracy, 1.0);
        let outputs = Outputs { probabilities: true, embeddings: true, ..Outputs::default() };
        let all: Vec<usize> = (0..40).collect();
        let said = predict(&model, &images, &all, outputs, go_on).unwrap();
        let (probs, embeds) = (said.probs_nc.unwrap(), said.embeds_nd.unwrap());
        for i in 20..40 {
            assert!(probs.row(i)[i % 2] > 0.5, "image {i}");
            let mean = pixels[i * 64..][..8].iter().map(|&byte| f64::from(byte)).sum::<f64>() / 8.0 / 255.0;
            // Eight f32 additions of numbers below 1.
            assert!((f64::from(embeds.row(i)[0]) - mean).abs() < 1e-6, "image {i}");
        }
        std::fs::remove_file(file).unwrap();
    }

    /// The exported networks beside the tests from outside.
    fn exported(name: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/weights/torchscript");
        std::fs::read(folder.join(format!("{name}.pt"))).unwrap()
    }

    #[test]
    fn what_is_loaded_is_the_module_without_what_libtorch_need_not_see() {
        for name in ["traced", "scripted", "frozen"] {
            let file = exported(name);
            let new = harmless(&file).unwrap();
            assert!(new.len() < file.len(), "{name}");
            assert_eq!(harmless(&new).unwrap(), new, "{name}");
            let images = Tensor::rand([2, 1, 8, 8], (Kind::Float, tch::Device::Cpu));
            let answers = [&file, &new].map(|bytes| {
                let mut module = CModule::load_data(&mut &bytes[..]).unwrap();
                module.f_set_eval().unwrap();
                module.forward_ts(std::slice::from_ref(&images)).unwrap()
            });
            assert_eq!(answers[0], answers[1], "{name}");
        }
    }

    #[test]
    fn a_module_that_does_more_than_compute_is_named() {
        for (name, sentence) in [
            ("evil-reads", "calls `torch.from_file`, which is not on the list"),
            ("evil-at-load", "calls `torch.from_file`, which is not on the list"),
            ("evil-saves", "calls `torch.save`, which is not on the list"),
            ("evil-prints", "`code/__torch__.py` has the text"),
            ("evil-forks", "which is not on the list"),
        ] {
            let problem = harmless(&exported(name)).unwrap_err();
            assert!(problem.contains(sentence), "{name}: {problem}");
        }
        // A part more, or another in its place.
        let file = exported("traced");
        let with = |name: &str, bytes: &'static [u8]| {
            let mut parts = archive::read(&file).unwrap();
            parts.retain(|part| part.name != name);
            parts.push(archive::Part { name: name.to_owned(), bytes: bytes.into() });
            harmless(&archive::write(&parts).unwrap())
        };
        for (name, bytes, sentence) in [
            ("bytecode.pkl", &b"\x80\x02N."[..], "`bytecode.pkl` is not on the list"),
            ("code/evil.so", b"", "`code/evil.so` is not on the list"),
            ("data/../x", b"", "no plain path"),
            ("inner.pt", b"PK", "`inner.pt` is not on the list"),
            ("version", b"9999", "`version` is not on the list"),
            (".data/version", b"6", "says two"),
            ("byteorder", b"big", "`byteorder` is not on the list"),
            ("code/__torch__.py", b"import os\n", "`import`"),
            ("data.pkl", b"cos\nsystem\n.", "makes a `os.system`"),
            ("data/0", b"", "does not have the bytes"),
        ] {
            let problem = with(name, bytes).expect_err(name);
            assert!(problem.contains(sentence), "{name}: {problem}");
        }
        with("extra/labels.txt", b"anything \x1b").unwrap();
    }

    /// A short run for every day.
    #[test]
    fn no_bytes_make_the_reader_panic() {
        let mut rng = Rng::from_seed([5; 32]);
        for name in ["traced", "evil-at-load"] {
            let file = exported(name);
            for part in archive::read(&file)
                .unwrap()
                .iter()
                .filter(|part| part.name.ends_with(".py") || part.name.ends_with(".pkl"))
            {
                (0..300).for_each(|_| understand(&mutated(&part.bytes, &mut rng)));
            }
            (0..1000).for_each(|_| understand(&mutated(&file, &mut rng)));
        }
    }

    #[test]
    fn a_file_that_does_not_fit_is_refused() {
        let whole = written("whole", true);
        let garbage = whole.with_extension("garbage");
        std::fs::write(&garbage, "no module").unwrap();
        let absent = whole.with_extension("absent");
        let rows = [(&whole, "two rows of features"), (&garbage, "no TorchScript module"), (&absent, "no such file")];
        let device = Device::cpu_for_tests();
        for (file, expected) in rows {
            let error = Model::new(&settings(file), SHAPE, 2, &mut Rng::from_seed([3; 32]), &device).err().unwrap();
            assert!(error.to_string().contains(expected), "{error}");
        }
        std::fs::remove_file(whole).unwrap();
        std::fs::remove_file(garbage).unwrap();
    }
}
