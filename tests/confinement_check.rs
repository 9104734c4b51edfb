//! `plugin check` shuts a plugin in as a worker does: whoever checks a stranger's file loses nothing by it.

use coldstart_tests::{Lab, Ran, from_c, repository, without_landlock};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const SECRET: &str = "nobody else's business";

/// A plugin that tries everything when it is made, or when it is asked, and fails with a list of what worked.
const ESCAPEE: &str = r#"
#define _GNU_SOURCE
#include "coldstart_plugin.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

COLDSTART_MANIFEST("{\"format\":1,\"name\":\"escapee\",\"publisher\":\"\",\"version\":\"0.1.0\",\"api\":\"" COLDSTART_API_VERSION
    "\",\"panic\":\"none\",\"summary\":\"x\",\"license\":\"MIT\",\"authors\":\"x\",\"cite\":\"x\",\"roles\":[\"initial\",\"query\"],"
    "\"needs\":[],\"params\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{}}}");

static char said[4000];

static void worked(int holds, const char *what) {
  if (holds) { strcat(said, " WORKED:"); strcat(said, what); }
}

static int reads(const char *path) {
  int file = open(path, O_RDONLY);
  char byte;
  int got = file >= 0 && read(file, &byte, 1) == 1;
  if (file >= 0) close(file);
  return got;
}

static void attempt(void) {
  struct sockaddr_in to = {.sin_family = AF_INET};
  to.sin_addr.s_addr = htonl(0x7f000001);
  struct sockaddr_un near = {.sun_family = AF_UNIX};
  strcpy(near.sun_path, DATAGRAM);
  strcpy(said, "tried");
  worked(reads(KEY), "read-a-key");
  worked(reads("/proc/self/environ"), "read-its-environment");
  char of_parent[64];
  snprintf(of_parent, sizeof of_parent, "/proc/%d/environ", (int)getppid());
  worked(reads(of_parent), "read-the-parents-environment");
  worked(reads("/etc/passwd"), "read-accounts");
  worked(getenv("SECRET_TOKEN") != NULL, "see-a-token");
  worked(getenv("HOME") != NULL, "see-the-home");
  DIR *folder = opendir("/");
  worked(folder != NULL, "list-a-folder");
  to.sin_port = htons(UDP);
  int udp = socket(AF_INET, SOCK_DGRAM, 0);
  worked(udp >= 0, "open-udp");
  sendto(udp, "secret", 6, 0, (void *)&to, sizeof to);
  to.sin_port = htons(TCP);
  int tcp = socket(AF_INET, SOCK_STREAM, 0);
  worked(tcp >= 0, "open-tcp");
  connect(tcp, (void *)&to, sizeof to);
  int local = socket(AF_UNIX, SOCK_DGRAM, 0);
  worked(local >= 0, "open-a-local-socket");
  sendto(local, "secret", 6, 0, (void *)&near, sizeof near);
  int pair[2];
  worked(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "make-a-pair");
  worked(kill(VICTIM, SIGTERM) == 0, "kill-another-process");
  worked(kill(getppid(), 0) == 0, "signal-the-parent");
  worked(ptrace(PTRACE_ATTACH, VICTIM, 0, 0) == 0, "trace-another-process");
  worked(chmod(PRECIOUS, 0) == 0, "change-a-mode");
  worked(unlink(PRECIOUS) == 0, "remove-a-file");
  worked(truncate(PRECIOUS, 0) == 0, "empty-a-file");
  worked(rename(PRECIOUS, PRECIOUS "-moved") == 0, "move-a-file");
  worked(open(OUTSIDE, O_CREAT | O_WRONLY, 0600) >= 0, "write-a-file");
  worked(open("/tmp", O_TMPFILE | O_WRONLY, 0600) >= 0, "write-to-tmp");
  worked(open(PRECIOUS, O_WRONLY) >= 0, "open-a-file-to-write");
  worked(mkdir(OUTSIDE "-folder", 0700) == 0, "make-a-folder");
  pid_t child = fork();
  if (child == 0) _exit(0);
  worked(child > 0, "fork");
  worked(system("true") == 0, "run-a-program");
}

static int32_t fail(coldstart_fault_v1 *fault) {
  attempt();
  fault->message.ptr = said;
  fault->message.len = strlen(said);
  return COLDSTART_PLUGIN_FAILED;
}

#ifdef AT_CREATE
static int32_t create(void *o, coldstart_text_v1 n, coldstart_text_v1 p, const coldstart_host_v1 *h,
                      const coldstart_selector_v1 **s, coldstart_fault_v1 *fault) { return fail(fault); }
#else
static int32_t choose(void *o, const coldstart_request_v1 *r, const coldstart_host_v1 *h, coldstart_selection_v1 *s,
                      coldstart_fault_v1 *fault) { return fail(fault); }
static const coldstart_selector_v1 selector = {.head = COLDSTART_HEAD_V1(coldstart_selector_v1), .select = choose};
static int32_t create(void *o, coldstart_text_v1 n, coldstart_text_v1 p, const coldstart_host_v1 *h,
                      const coldstart_selector_v1 **s, coldstart_fault_v1 *fault) { *s = &selector; return COLDSTART_OK; }
#endif
#ifdef AT_LOAD
__attribute__((constructor)) static void begin(void) { attempt(); fputs(said, stderr); }
#endif
const coldstart_plugin_v1 coldstart_plugin_entry_v1 = {COLDSTART_HEAD_V1(coldstart_plugin_v1), COLDSTART_TEXT_V1(coldstart_manifest), create};
"#;

/// What a stranger could be after, and whether it is as it was.
struct Valuables {
    lab: Lab,
    udp: UdpSocket,
    tcp: TcpListener,
    local: UnixDatagram,
    victim: Child,
}

impl Valuables {
    fn new() -> Valuables {
        let lab = Lab::new();
        lab.write("home/.ssh/id", SECRET);
        lab.write("home/precious.txt", SECRET);
        let local = UnixDatagram::bind(lab.path("local.sock")).unwrap();
        let victim = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        udp.set_nonblocking(true).unwrap();
        tcp.set_nonblocking(true).unwrap();
        local.set_nonblocking(true).unwrap();
        Valuables { lab, udp, tcp, local, victim }
    }

    /// What the compiler is told of them.
    fn flags(&self, moment: &str) -> Vec<String> {
        let text = |name: &str, path: &str| format!("-D{name}=\"{}\"", self.lab.path(path).display());
        let number = |name: &str, number: u32| format!("-D{name}={number}");
        vec![
            text("KEY", "home/.ssh/id"),
            text("PRECIOUS", "home/precious.txt"),
            text("DATAGRAM", "local.sock"),
            text("OUTSIDE", "outside"),
            number("UDP", self.udp.local_addr().unwrap().port().into()),
            number("TCP", self.tcp.local_addr().unwrap().port().into()),
            number("VICTIM", self.victim.id()),
            format!("-D{moment}"),
            format!("-I{}", repository().join("plugin-api/include").display()),
            "-w".to_owned(),
        ]
    }

    /// The plugin that is after them, at one of its moments.
    fn escapee(&self, moment: &str) -> PathBuf {
        let flags = self.flags(moment);
        from_c(&self.lab, "escapee", ESCAPEE, &flags.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn check(&self, args: &[&str]) -> Ran {
        let mut command = self.lab.command(&[&["plugin", "check", "--json"], args].concat());
        command.env("SECRET_TOKEN", SECRET);
        Ran::of(command.output().unwrap())
    }

    #[track_caller]
    fn are_untouched(&mut self) {
        let mut bytes = [0; 64];
        assert!(self.udp.recv(&mut bytes).is_err(), "something came by UDP");
        assert!(self.tcp.accept().is_err(), "something came by TCP");
        assert!(self.local.recv(&mut bytes).is_err(), "something came by a local socket");
        assert!(self.victim.try_wait().unwrap().is_none(), "another process was killed");
        let precious = self.lab.path("home/precious.txt");
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), SECRET);
        assert_ne!(precious.metadata().unwrap().permissions().mode() & 0o777, 0);
        for left in ["outside", "outside-folder", "home/precious.txt-moved"] {
            assert!(!self.lab.path(left).exists(), "{left}");
        }
    }
}

impl Drop for Valuables {
    fn drop(&mut self) {
        _ = self.victim.kill();
        _ = self.victim.wait();
    }
}

#[test]
fn a_plugin_that_is_checked_reaches_nothing() {
    let mut valuables = Valuables::new();
    for (moment, case) in
        [("AT_CREATE", "selection-valid"), ("AT_SELECT", "selection-valid"), ("AT_SELECT", "loads-twice")]
    {
        let file = valuables.escapee(moment);
        let ran = valuables.check(&[file.to_str().unwrap(), "--case", case]);
        let report = ran.exits(3).json();
        let detail = report["cases"][0]["detail"].as_str().unwrap();
        assert!(detail.contains("tried"), "{moment}: {detail}");
        assert!(!detail.contains("WORKED"), "{moment}: {detail}");
        assert_eq!(report["confinement"], "full");
        valuables.are_untouched();
    }
    // In every case of every level, whatever comes of it.
    let file = valuables.escapee("AT_SELECT");
    let report = valuables.check(&[file.to_str().unwrap(), "--level", "fuzz", "--count", "20"]).json();
    assert!(!report.to_string().contains("WORKED"), "{report}");
    valuables.are_untouched();
    // Code that would run while it is loaded is seen before.
    let file = valuables.escapee("AT_LOAD");
    for level in ["static", "load"] {
        let ran = valuables.check(&[file.to_str().unwrap(), "--level", level]);
        ran.exits(3).says("elf-rules");
        assert!(!ran.stdout.contains("read-a-key"), "{}", ran.stdout);
        valuables.are_untouched();
    }
}

/// The same code as a program of its own: what is tried works where nothing is shut in, so the test above can fail.
#[test]
fn what_that_plugin_tries_works_outside() {
    let mut valuables = Valuables::new();
    let source = format!("{ESCAPEE}\nint main(void) {{ attempt(); puts(said); return 0; }}\n");
    let (source, program) = (valuables.lab.write("open.c", source), valuables.lab.path("open"));
    let compiled = Command::new("cc").args(valuables.flags("AT_SELECT")).arg("-o").args([&program, &source]).status();
    assert!(compiled.unwrap().success());
    let output = Command::new(program).env("SECRET_TOKEN", SECRET).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    for attempt in [
        "read-a-key",
        "read-its-environment",
        "see-a-token",
        "open-udp",
        "open-tcp",
        "open-a-local-socket",
        "make-a-pair",
        "kill-another-process",
        "signal-the-parent",
        "change-a-mode",
        "remove-a-file",
        "write-a-file",
        "make-a-folder",
        "fork",
        "run-a-program",
    ] {
        assert!(said.contains(&format!("WORKED:{attempt}")), "{attempt}: {said}");
    }
    valuables.victim.wait().unwrap();
}

/// Without landlock files could be read. What nobody has signed is then not run; what the user points to is, and it is said.
#[test]
fn a_system_that_cannot_shut_a_plugin_in_is_refused_or_said() {
    let lab = Lab::new();
    let library = coldstart_tests::library("margin");
    let packed = lab.coldstart(&["plugin", "pack", library.to_str().unwrap()]);
    let package = packed.exits(0).stdout.trim().to_owned();
    let check = |plugin: &str, args: &[&str], weak: bool| {
        let mut command = lab.command(&[&["plugin", "check", plugin, "--level", "load", "--json"], args].concat());
        if weak {
            without_landlock(&mut command);
        }
        Ran::of(command.output().unwrap())
    };
    let file = library.to_str().unwrap();
    for (plugin, args, weak, exit, confinement) in [
        (file, &[][..], false, 0, "full"),
        (file, &["--sandbox", "required"], false, 0, "full"),
        (&package, &[], false, 0, "full"),
        (file, &[], true, 0, "no-landlock"),
        (file, &["--sandbox", "required"], true, 3, "no-landlock"),
        (&package, &[], true, 3, "no-landlock"),
        (&package, &["--sandbox", "best-effort"], true, 0, "no-landlock"),
    ] {
        let ran = check(plugin, args, weak);
        let report = ran.exits(exit).json();
        assert_eq!(report["confinement"], confinement, "{plugin} {args:?}");
        let ran_code =
            report["cases"].as_array().unwrap().iter().any(|row| row["case"] == "loads" && row["result"] == "success");
        assert_eq!(ran_code, exit == 0, "{plugin} {args:?}: {report}");
        if exit != 0 {
            ran.says("was not run: this system's sandbox is only `no-landlock`").says("--sandbox best-effort");
        }
    }
    // What runs none of its code needs no sandbox.
    let mut command = lab.command(&["plugin", "check", &package, "--level", "static", "--json"]);
    without_landlock(&mut command);
    assert_eq!(Ran::of(command.output().unwrap()).exits(0).json()["confinement"], "");
}
