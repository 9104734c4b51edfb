//! Downloads from a small server on the loopback device that misbehaves on request.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;

/// How the loopback server treats one request.
#[derive(Clone, Copy)]
enum Behaviour {
    /// Serves the file, or the range asked for.
    Whole,
    /// Announces the file and hangs up after so many bytes of it.
    CutAfter(usize),
    /// Serves the whole file whatever is asked.
    IgnoresRange,
    /// Says 404.
    Refuses,
}

/// Serves `content` to one request per behaviour, in turn; keeps the `Range` headers that it saw.
struct Server {
    url: String,
    ranges: Arc<Mutex<Vec<Option<String>>>>,
}

impl Server {
    fn start(content: Vec<u8>, behaviours: Vec<Behaviour>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/data/", listener.local_addr().unwrap());
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let seen = ranges.clone();
        thread::spawn(move || {
            for behaviour in behaviours {
                let (stream, _) = listener.accept().unwrap();
                let range = answer(stream, &content, behaviour);
                seen.lock().unwrap().push(range);
            }
        });
        Server { url, ranges }
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.ranges.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, content: &[u8], behaviour: Behaviour) -> Option<String> {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let range = request
        .iter()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(|range| range.to_string()));
    let start = range.as_ref().map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
    let (status, start, sent) = match behaviour {
        Behaviour::Refuses => ("404 Not Found", content.len(), 0),
        Behaviour::CutAfter(n) => ("200 OK", 0, n),
        Behaviour::Whole if start > 0 => ("206 Partial Content", start, content.len() - start),
        Behaviour::Whole | Behaviour::IgnoresRange => ("200 OK", 0, content.len()),
    };
    let body = &content[start..];
    let end = content.len().saturating_sub(1);
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{end}/{}\r\nConnection: close\r\n\r\n",
        body.len(),
        content.len()
    )
    .unwrap();
    stream.write_all(&body[..sent]).unwrap();
    range
}

fn content() -> Vec<u8> {
    (0..300_000u32).map(|i| (i * i / 7) as u8).collect()
}

fn hex_md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A public set of one file; the few bytes of a test's table are never given back.
fn set_of(file_name: &'static str, content: &[u8], unpacks_to: Option<&'static str>) -> PublicSet {
    let files = vec![file(file_name, content.len() as u64, hex_md5(content).leak())];
    PublicSet { name: "set", about: "", cite: "", base_url: "http://invalid/", files: files.leak(), unpacks_to }
}

fn fetch_from(server: &Server, set: &PublicSet, into: &Path) -> Result<Fetched, DataError> {
    fetch(set, into, Some(&server.url), &mut |_| {})
}

#[test]
fn a_fresh_download_arrives_whole_and_is_kept() {
    let (into, content) = (tempfile::tempdir().unwrap(), content());
    let set = set_of("a.bin", &content, None);
    let server = Server::start(content.clone(), vec![Behaviour::Whole]);
    let mut steps = Vec::new();
    let fetched = fetch(&set, into.path(), Some(&server.url), &mut |step| steps.push(*step)).unwrap();
    assert_eq!(fetched.downloaded, ["a.bin"]);
    assert_eq!(fs::read(fetched.folder.join("a.bin")).unwrap(), content);
    assert!(steps.is_sorted_by_key(|step| step.done));
    assert_eq!(steps.last().unwrap(), &Progress { file: "a.bin", done: 300_000, total: 300_000 });
    // The server is gone: the second call must not need it.
    let again = fetch_from(&server, &set, into.path()).unwrap();
    assert_eq!((again.kept, again.downloaded), (vec!["a.bin"], vec![]));
    assert_eq!(fs::read_dir(&again.folder).unwrap().count(), 1);
}

#[test]
fn a_cut_download_continues_where_it_stopped() {
    let rows = [(Behaviour::Whole, "resumed"), (Behaviour::IgnoresRange, "started afresh")];
    for (second, how) in rows {
        let (into, content) = (tempfile::tempdir().unwrap(), content());
        let set = set_of("a.bin", &content, None);
        let server = Server::start(content.clone(), vec![Behaviour::CutAfter(100_000), second]);
        let error = fetch_from(&server, &set, into.path()).unwrap_err();
        assert!(error.to_string().contains("stopped after 100000 of 300000"), "{error}");
        assert!(error.hint().unwrap().contains("continues"));
        assert!(!into.path().join("set/a.bin").exists());
        fetch_from(&server, &set, into.path()).expect(how);
        assert_eq!(fs::read(into.path().join("set/a.bin")).unwrap(), content, "{how}");
        assert_eq!(server.ranges(), [None, Some("100000-".to_string())], "{how}");
        assert!(!into.path().join("set/a.bin.partial").exists());
    }
}

#[test]
fn a_wrong_file_is_deleted_and_both_sums_are_told() {
    let content = content();
    let mut wrong = content.clone();
    wrong[5] ^= 1;
    for served in [wrong, [content.clone(), vec![0; 99]].concat()] {
        let into = tempfile::tempdir().unwrap();
        let server = Server::start(served, vec![Behaviour::Whole]);
        let error = fetch_from(&server, &set_of("a.bin", &content, None), into.path()).unwrap_err();
        let DataError::Checksum { expected, got, .. } = &error else { panic!("{error}") };
        assert_eq!(*expected, hex_md5(&content));
        assert_ne!(got, expected);
        assert_eq!(fs::read_dir(into.path().join("set")).unwrap().count(), 0);
    }
}

#[test]
fn a_refusal_names_address_and_status() {
    let into = tempfile::tempdir().unwrap();
    let server = Server::start(content(), vec![Behaviour::Refuses]);
    let error = fetch_from(&server, &set_of("a.bin", &content(), None), into.path()).unwrap_err();
    assert!(error.to_string().contains("/data/a.bin") && error.to_string().contains("404"), "{error}");
}

fn gzipped_tar(members: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(gz);
    for (name, kind, content) in members {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

#[test]
fn an_archive_is_unpacked_once_and_hostile_ones_are_not() {
    use tar::EntryType::{Regular, Symlink};
    let rows: [(&str, tar::EntryType, Option<&str>); 5] = [
        ("inner/b", Regular, None),
        ("inner/../../b", Regular, Some("leads outside")),
        ("/tmp/coldstart-must-not-exist", Regular, Some("leads outside")),
        ("inner/b", Symlink, Some("links are not followed")),
        ("other/b", Regular, None),
    ];
    for (second, kind, error) in rows {
        let archive = gzipped_tar(&[("inner/a", Regular, b"one"), (second, kind, b"")]);
        let into = tempfile::tempdir().unwrap();
        let server = Server::start(archive.clone(), vec![Behaviour::Whole]);
        let outcome = fetch_from(&server, &set_of("x.tar.gz", &archive, Some("inner")), into.path());
        let unpacked = into.path().join("set/inner");
        match error {
            None => assert_eq!(fs::read(unpacked.join("a")).unwrap(), b"one"),
            Some(expected) => {
                let message = outcome.unwrap_err().to_string();
                assert!(message.contains(expected), "{message}");
                assert!(!unpacked.exists());
            }
        }
    }
}
