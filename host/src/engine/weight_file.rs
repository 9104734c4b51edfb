//! Weight files that others wrote: what is in one, and what a file is that is none.

use std::fs;
use std::io::Read;
use std::path::Path;

use tch::{Kind, Tensor};

use super::error::EngineError;
use crate::memory::Memory;

/// Reads all tensors of a safetensors file.
///
/// Errs, and says what the file is instead, when it is not a whole safetensors file.
pub(super) fn read(path: &Path) -> Result<Vec<(String, Tensor)>, EngineError> {
    if !path.exists() {
        return Err(EngineError::weights(path, "there is no such file"));
    }
    if let Some(other) = Recognised::at(path).filter(|recognised| recognised.format != SAFETENSORS) {
        return Err(other.instead_of(path, "not safetensors"));
    }
    check_room(path)?;
    Tensor::read_safetensors(path).map_err(|error| {
        let problem = match cut_short(path) {
            Some(Lengths { whole, there }) => format!("the file is cut short: it has {there} of {whole} bytes"),
            None => format!("the file is not safetensors ({})", cause(&error)),
        };
        EngineError::Weights { path: path.to_owned(), problem, hint: Some(AGAIN.to_owned()) }
    })
}

/// Errs when a file is larger than the memory that is free: it is read whole.
fn check_room(path: &Path) -> Result<(), EngineError> {
    let (bytes, free) = (path.metadata().map_or(0, |metadata| metadata.len()), Memory::now().free);
    // 0 where the system does not say.
    if free > 0 && bytes > free {
        let problem = format!("the file has {} MB, and {} MB of memory are free", bytes / 1_000_000, free / 1_000_000);
        return Err(EngineError::Weights { path: path.to_owned(), problem, hint: None });
    }
    Ok(())
}

/// Errs when a tensor could not be a network's weights: it has no fractions, or not only numbers.
pub(super) fn check(path: &Path, name: &str, tensor: &Tensor) -> Result<(), EngineError> {
    let kind = tensor.kind();
    if !matches!(kind, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16) {
        let hint = "quantised weights have to be brought back to floats where they come from";
        let problem = format!("`{name}` is of type {kind:?}, which weights here cannot be");
        return Err(EngineError::Weights { path: path.to_owned(), problem, hint: Some(hint.to_owned()) });
    }
    let finite = tensor.f_isfinite().and_then(|finite| finite.f_all()?.f_double_value(&[]));
    match finite {
        Ok(1.0) => Ok(()),
        Ok(_) => {
            let problem = format!("`{name}` has values that are not finite (NaN or infinity)");
            let hint = "its training may have diverged: take an earlier checkpoint";
            Err(EngineError::Weights { path: path.to_owned(), problem, hint: Some(hint.to_owned()) })
        }
        Err(source) => Err(EngineError::torch("looking at weights", source)),
    }
}

/// What a file that cannot be read as `wanted` is instead, where its first bytes say so.
pub(super) fn other_format(path: &Path, wanted: Format, problem: &str) -> Option<EngineError> {
    let recognised = Recognised::at(path)?;
    (recognised.format != wanted).then(|| recognised.instead_of(path, problem))
}

/// The name of a file format.
pub(super) type Format = &'static str;

const SAFETENSORS: Format = "safetensors";
/// What `torch.save` and TorchScript write since 2020.
pub(super) const ZIP: Format = "zip";

const AGAIN: &str = "fetch or copy the file again, and compare its size with the original's";
const CONVERT: &str = "convert it once, in Python: `import torch; from safetensors.torch import save_file; \
                       save_file(torch.load(FILE, map_location=\"cpu\", weights_only=True), \"weights.safetensors\")`";

/// What the first bytes of a file tell.
struct Recognised {
    format: Format,
    /// What follows "the file is".
    what: &'static str,
    hint: &'static str,
}

impl Recognised {
    fn at(path: &Path) -> Option<Recognised> {
        let recognised = |format, what, hint| Some(Recognised { format, what, hint });
        if path.is_dir() {
            return recognised("folder", "a folder", "name the file in it");
        }
        let mut start = Vec::new();
        fs::File::open(path).ok()?.take(64).read_to_end(&mut start).ok()?;
        let text = start.trim_ascii_start();
        let is_page = ["<!doctype", "<html", "<?xml"]
            .iter()
            .any(|tag| text.get(..tag.len()).is_some_and(|head| head.eq_ignore_ascii_case(tag.as_bytes())));
        match &start[..] {
            [] => recognised("nothing", "empty", AGAIN),
            [_, _, _, _, _, _, _, _, b'{', ..] => recognised(SAFETENSORS, "safetensors", AGAIN),
            _ if is_page => recognised("html", "a web page", "the download gave a page: open the address in a browser"),
            _ if text.starts_with(b"{") => recognised(
                "json",
                "JSON, perhaps the index of weights in several files",
                "name the file of the weights; several files have to be made one first",
            ),
            [b'P', b'K', 3, 4, ..] => recognised(ZIP, "a zip archive, as `torch.save` writes (.pth, .pt)", CONVERT),
            [0x80, 2..=5, ..] => recognised("pickle", "a pickle, as old versions of `torch.save` write", CONVERT),
            [0x89, b'H', b'D', b'F', ..] => recognised("hdf5", "HDF5, as Keras writes", "export it as safetensors"),
            [b'G', b'G', b'U', b'F', ..] => recognised("gguf", "GGUF", "take the original weights as safetensors"),
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
                recognised("npy", "a NumPy array", "weights have names: store them as safetensors")
            }
            [0x1f, 0x8b, ..] => recognised("gzip", "compressed with gzip", "unpack it with `gunzip`"),
            start if start.starts_with(b"version https://git-lfs") => recognised(
                "git-lfs",
                "a pointer of Git LFS, not the file that it stands for",
                "fetch the file with `git lfs pull`, or download it from the repository's page",
            ),
            _ => None,
        }
    }

    fn instead_of(&self, path: &Path, problem: &str) -> EngineError {
        let problem = format!("the file is {}, {problem}", self.what);
        EngineError::Weights { path: path.to_owned(), problem, hint: Some(self.hint.to_owned()) }
    }
}

/// The longest header that safetensors allows.
const LONGEST_HEADER: u64 = 100_000_000;

/// Bytes that a file should have, and has.
struct Lengths {
    whole: u64,
    there: u64,
}

/// The lengths of a safetensors file that is shorter than its header says.
fn cut_short(path: &Path) -> Option<Lengths> {
    let mut file = fs::File::open(path).ok()?;
    let there = file.metadata().ok()?.len();
    let mut bytes = Vec::new();
    file.by_ref().take(8).read_to_end(&mut bytes).ok()?;
    let header = u64::from_le_bytes(*bytes.first_chunk()?);
    if header > LONGEST_HEADER {
        return None;
    }
    file.take(header).read_to_end(&mut bytes).ok()?;
    let data = header + 8;
    let shorter = |whole| (whole > there).then_some(Lengths { whole, there });
    let Some(text) = bytes.get(8..data as usize) else { return shorter(data) };
    let tensors: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(text).ok()?;
    let ends = tensors.values().filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    shorter(data.checked_add(ends.max()?)?)
}

/// The reason without the path that tch puts before it.
fn cause(error: &tch::TchError) -> String {
    match error {
        // The first eight bytes of a file of another format are an absurd length.
        tch::TchError::SafeTensorError { err: safetensors::SafeTensorError::HeaderTooLarge, .. } => {
            "it begins with no header of that format".to_owned()
        }
        tch::TchError::SafeTensorError { err, .. } => err.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_weight_file_is_called_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole.safetensors");
        Tensor::write_safetensors(&[("a", Tensor::zeros([40], (Kind::Float, tch::Device::Cpu)))], &whole).unwrap();
        let whole = fs::read(whole).unwrap();
        let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 3\n";
        let rows: &[(&[u8], &str, &str)] = &[
            (lfs.as_bytes(), "a pointer of Git LFS", "git lfs pull"),
            (b"PK\x03\x04archive/data.pkl", "`torch.save`", "save_file"),
            (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a pickle", "save_file"),
            (b"\n<!DOCTYPE html><title>404</title>", "a web page", "browser"),
            (b"{\"metadata\": {}, \"weight_map\": {}}", "JSON", "several files"),
            (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "gzip", "gunzip"),
            (b"\x89HDF\r\n\x1a\n", "HDF5", "safetensors"),
            (b"", "empty", "again"),
            (&whole[..whole.len() - 7], "cut short: it has", "again"),
            (&whole[..20], "cut short: it has 20 of", "again"),
            (b"\x05\0\0\0\0\0\0\0{nope", "not safetensors", "again"),
            (b"no format at all", "not safetensors", "again"),
        ];
        let file = folder.path().join("file.safetensors");
        for (bytes, problem, hint) in rows {
            fs::write(&file, bytes).unwrap();
            let error = read(&file).unwrap_err();
            let (text, help) = (error.to_string(), error.hint().unwrap_or_default());
            assert!(text.contains(problem) && help.contains(hint), "{problem}: {text} ({help})");
            assert!(!text.contains("HeaderTooLarge"), "{text}");
        }
        fs::write(&file, &whole).unwrap();
        assert_eq!(read(&file).unwrap().len(), 1);
        assert!(read(folder.path()).unwrap_err().to_string().contains("a folder"));
        assert!(read(&folder.path().join("absent")).unwrap_err().to_string().contains("no such file"));
    }

    #[test]
    fn weights_are_finite_floats() {
        let path = Path::new("w.safetensors");
        for (values, sound) in [([0.5f32, -2.0], true), ([f32::NAN, 0.0], false), ([0.0, f32::INFINITY], false)] {
            assert_eq!(check(path, "conv1.weight", &Tensor::from_slice(&values)).is_ok(), sound, "{values:?}");
        }
        assert!(check(path, "conv1.weight", &Tensor::from_slice(&[1i8])).is_err());
    }
}
