//! Downloads of the public sets: checked, resumable, never half in place.
//!
//! A file arrives as `NAME.partial` and takes its name once its md5 is right, so a file under its own name is whole. An
//! archive is unpacked beside itself in one step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use md5::{Digest, Md5};
use ureq::Agent;
use ureq::http::{Response, StatusCode, header};

use super::error::{DataError, Place};
use super::tarred::member_name;
use crate::limits;
use crate::wait::Source;

/// A data set that anyone may download.
#[derive(Debug)]
pub struct PublicSet {
    /// Its name, which is also its kind in a config and the folder that it is placed in.
    pub name: &'static str,
    /// What it is, and under which terms.
    pub about: &'static str,
    /// Whom to cite.
    pub cite: &'static str,
    /// The address of the files, up to and including the last slash.
    pub base_url: &'static str,
    /// What to download.
    pub files: &'static [PublicFile],
    /// The folder that the archive among the files unpacks to.
    pub unpacks_to: Option<&'static str>,
}

/// One file of a public set.
#[derive(Debug)]
pub struct PublicFile {
    /// Its name, at the address and on disk.
    pub name: &'static str,
    /// Its published md5, in hex.
    pub md5: &'static str,
    /// Its size.
    pub bytes: u64,
}

const fn file(name: &'static str, bytes: u64, md5: &'static str) -> PublicFile {
    PublicFile { name, md5, bytes }
}

/// The sets that `data fetch` knows.
pub static PUBLIC_SETS: &[PublicSet] = &[
    PublicSet {
        name: "mnist",
        about: "60000 + 10000 handwritten digits, 28x28 grey; CC BY-SA 3.0",
        cite: "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, 1998",
        base_url: "https://ossci-datasets.s3.amazonaws.com/mnist/",
        files: &[
            file("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            file("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
            file("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
            file("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
        ],
        unpacks_to: None,
    },
    PublicSet {
        name: "fashion-mnist",
        about: "60000 + 10000 articles of clothing, 28x28 grey; MIT licence",
        cite: "Xiao, Rasul, Vollgraf: Fashion-MNIST, arXiv:1708.07747, 2017",
        base_url: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        files: &[
            file("train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            file("train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
            file("t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
            file("t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
        ],
        unpacks_to: None,
    },
    PublicSet {
        name: "cifar10",
        about: "50000 + 10000 colour images of ten classes, 32x32; no licence stated, a citation is asked for",
        cite: "Krizhevsky: Learning multiple layers of features from tiny images, 2009",
        base_url: "https://www.cs.toronto.edu/~kriz/",
        files: &[file("cifar-10-python.tar.gz", 170_498_071, "c58f30108f718f92721af3b95e74349a")],
        unpacks_to: Some("cifar-10-batches-py"),
    },
    PublicSet {
        name: "cifar100",
        about: "50000 + 10000 colour images of a hundred classes, 32x32; no licence stated, a citation is asked for",
        cite: "Krizhevsky: Learning multiple layers of features from tiny images, 2009",
        base_url: "https://www.cs.toronto.edu/~kriz/",
        files: &[file("cifar-100-python.tar.gz", 169_001_437, "eb9058c3a382ffc7106e4002c42a8d85")],
        unpacks_to: Some("cifar-100-python"),
    },
];

/// How far the download of one file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The file.
    pub file: &'static str,
    /// Bytes that are here, earlier attempts included.
    pub done: u64,
    /// Bytes of the whole file.
    pub total: u64,
}

/// What a [`fetch`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The folder that holds the set.
    pub folder: PathBuf,
    /// Files that were downloaded.
    pub downloaded: Vec<&'static str>,
    /// Files that were there already, with the right md5.
    pub kept: Vec<&'static str>,
}

/// Downloads `set` into the folder `into/NAME`, and unpacks its archive there.
///
/// A file that is there with the right md5 is kept; a download that was cut continues where it stopped, if the server
/// allows it. `base_url_override` replaces the official address (a mirror); the md5s stay.
///
/// # Errors
/// [`DataError::Download`] if the server cannot be reached, refuses, or stops early; what arrived stays on disk.
/// [`DataError::Checksum`] if a file is not the published one; it is deleted.
pub fn fetch(
    set: &PublicSet,
    into: &Path,
    base_url_override: Option<&str>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Fetched, DataError> {
    let folder = into.join(set.name);
    fs::create_dir_all(&folder).map_err(|source| DataError::io(&folder, source))?;
    let base_url = base_url_override.unwrap_or(set.base_url).trim_end_matches('/');
    let mut fetched = Fetched { folder, downloaded: Vec::new(), kept: Vec::new() };
    for file in set.files {
        let path = fetched.folder.join(file.name);
        if path.is_file() && md5_of(&path)? == file.md5 {
            fetched.kept.push(file.name);
        } else {
            download(&format!("{base_url}/{}", file.name), file, &path, progress)?;
            fetched.downloaded.push(file.name);
        }
        if let Some(unpacked) = set.unpacks_to {
            unpack(&path, &fetched.folder, unpacked)?;
        }
    }
    Ok(fetched)
}

/// Brings `path.partial` to its full length, checks it, and gives it its name.
fn download(url: &str, file: &PublicFile, path: &Path, progress: &mut dyn FnMut(&Progress)) -> Result<(), DataError> {
    let partial = path.with_file_name(format!("{}.partial", file.name));
    let io_error = |source| DataError::io(&partial, source);
    let arrived = fs::metadata(&partial).map_or(0, |metadata| metadata.len());
    if arrived < file.bytes {
        let (response, start) = request(url, arrived)?;
        let mut target = OpenOptions::new().create(true).append(true).open(&partial).map_err(io_error)?;
        target.set_len(start).map_err(io_error)?;
        let body = Source::new(response.into_body().into_reader(), limits::SILENCE);
        let mut report = |done| progress(&Progress { file: file.name, done, total: file.bytes });
        copy(body, &mut target, start, file.bytes, url, &partial, &mut report)?;
        target.sync_all().map_err(io_error)?;
    }
    let got = md5_of(&partial)?;
    if got != file.md5 {
        fs::remove_file(&partial).map_err(io_error)?;
        return Err(DataError::Checksum { url: url.into(), expected: file.md5.into(), got });
    }
    fs::rename(&partial, path).map_err(io_error)
}

/// Asks for the file from `offset` on. Returns the answer and where in the file it starts: 0 if the server gives the
/// whole file anyway.
fn request(url: &str, offset: u64) -> Result<(Response<ureq::Body>, u64), DataError> {
    let failed = |why: String| DataError::Download { url: url.into(), why };
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        // The md5 is that of the stored file, so the server must not recode it on the way.
        .accept_encoding("identity")
        .user_agent(concat!("coldstart/", env!("CARGO_PKG_VERSION")));
    let mut request = config.build().new_agent().get(url);
    if offset > 0 {
        request = request.header(header::RANGE, format!("bytes={offset}-"));
    }
    let response = request.call().map_err(|error| failed(error.to_string()))?;
    match response.status() {
        StatusCode::OK => Ok((response, 0)),
        StatusCode::PARTIAL_CONTENT if continues_at(&response, offset) => Ok((response, offset)),
        StatusCode::PARTIAL_CONTENT => Err(failed(format!("the server did not continue at byte {offset}"))),
        status => Err(failed(format!("the server answered {status}"))),
    }
}

fn continues_at(response: &Response<ureq::Body>, offset: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {offset}-")))
}

/// Appends the body to `target`, which has `done` bytes, and demands that it ends at `total`.
fn copy(
    mut body: impl Read,
    target: &mut File,
    mut done: u64,
    total: u64,
    url: &str,
    partial: &Path,
    report: &mut dyn FnMut(u64),
) -> Result<(), DataError> {
    let cut = |done: u64, why: String| DataError::Download {
        url: url.into(),
        why: format!("it stopped after {done} of {total} bytes{why}"),
    };
    let mut buffer = vec![0; 1 << 16];
    report(done);
    loop {
        let n = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(cut(done, format!(" ({error})"))),
        };
        target.write_all(&buffer[..n]).map_err(|source| DataError::io(partial, source))?;
        done += n as u64;
        report(done);
        if done > total {
            // Longer than the published file: the md5 will say that it is another one.
            return Ok(());
        }
    }
    if done < total { Err(cut(done, String::new())) } else { Ok(()) }
}

fn md5_of(path: &Path) -> Result<String, DataError> {
    let io_error = |source| DataError::io(path, source);
    let mut file = File::open(path).map_err(io_error)?;
    let mut digest = Md5::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(io_error)? {
            0 => break,
            n => digest.update(&buffer[..n]),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Unpacks `archive` so that `folder/unpacked` is either whole or absent.
fn unpack(archive: &Path, folder: &Path, unpacked: &str) -> Result<(), DataError> {
    let target = folder.join(unpacked);
    if target.is_dir() {
        return Ok(());
    }
    let staging = tempfile::tempdir_in(folder).map_err(|source| DataError::io(folder, source))?;
    unpack_into(archive, staging.path())?;
    let staged = staging.path().join(unpacked);
    if !staged.is_dir() {
        let why = format!("the archive holds no folder `{unpacked}`");
        return Err(DataError::malformed(archive, Place::Whole, why));
    }
    fs::rename(&staged, &target).map_err(|source| DataError::io(&target, source))
}

/// Writes every file of a gzipped tar archive below `folder`; links and paths that lead elsewhere are refused.
fn unpack_into(archive: &Path, folder: &Path) -> Result<(), DataError> {
    let corrupt =
        |error: io::Error| DataError::malformed(archive, Place::Whole, format!("not a whole tar archive ({error})"));
    let file = File::open(archive).map_err(|source| DataError::io(archive, source))?;
    let mut members = tar::Archive::new(GzDecoder::new(file));
    for member in members.entries().map_err(corrupt)? {
        let mut member = member.map_err(corrupt)?;
        let Some(name) = member_name(&member, archive, member.raw_file_position())? else { continue };
        let target = folder.join(name);
        let io_error = |source| DataError::io(&target, source);
        if member.header().entry_type().is_dir() {
            fs::create_dir_all(&target).map_err(io_error)?;
            continue;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(io_error)?;
        }
        let mut file = File::create(&target).map_err(io_error)?;
        io::copy(&mut member, &mut file).map_err(corrupt)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
