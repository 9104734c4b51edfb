//! A real browser, for tests that look at a page.

use crate::programs;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The browser to be found; `$CHROMIUM` comes first.
pub(super) fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &str| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    named.or_else(|| on_path("chromium")).or_else(|| on_path("chromium-browser")).or_else(|| on_path("google-chrome"))
}

/// Runs the browser once and returns its output and log; panics when it takes longer than two minutes.
pub(super) fn browse(chromium: &Path, html: &Path, what: &[String]) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let output = |name: &str| profile.path().join(name);
    let file = |name: &str| Stdio::from(fs::File::create(output(name)).unwrap());
    let mut browser = programs::at(chromium)
        .args("--headless --no-sandbox --disable-quic --no-first-run --enable-logging=stderr".split(' '))
        // WebGL without a GPU.
        .args(["--use-angle=swiftshader", "--enable-unsafe-swiftshader"])
        .args("--disable-background-networking --disable-component-update --disable-sync".split(' '))
        .args(["--window-size=1280,2000", "--virtual-time-budget=10000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(what)
        .arg(format!("file://{}", html.display()))
        .stdout(file("out"))
        .stderr(file("log"))
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while browser.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            browser.kill().unwrap();
            panic!("the browser took too long:\n{}", fs::read_to_string(output("log")).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    (fs::read_to_string(output("out")).unwrap(), fs::read_to_string(output("log")).unwrap())
}
