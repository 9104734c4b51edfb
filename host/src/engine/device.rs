//! Opening a device: one binary for CPU and CUDA.
//!
//! The binary links only libtorch's CPU part. For a GPU it loads `libtorch_cuda.so` of an installed PyTorch of the
//! same version, before libtorch is first asked about CUDA: libtorch looks for its CUDA part once and remembers.
//! This is the engine's only file with `unsafe`: loading that library, and asking the driver about its GPUs.

use std::error::Error;
use std::ffi::{CStr, OsStr, c_char, c_int};
use std::fmt;
use std::fs;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, Once, PoisonError};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW, Symbol};
use tch::TchError;

use super::EngineError;
use super::error::TorchResult;
use super::guard;
use crate::{limits, programs, wait};

/// The PyTorch that `tch` binds, and the only one whose CUDA part fits.
pub const TORCH_VERSION: &str = "2.11.0";

/// The environment variable that names the `torch/lib` folder to load CUDA from.
pub const CUDA_FOLDER_VARIABLE: &str = "COLDSTART_TORCH_CUDA";

const CUDA_LIBRARY: &str = "libtorch_cuda.so";
/// The part of the CUDA part that decomposes matrices.
const LINALG_LIBRARY: &str = "libtorch_cuda_linalg.so";

/// Steps with fewer numbers in the first layer are done by one thread.
const SMALL_STEP: usize = 1 << 21;

/// An opened device, and what it can do.
#[derive(Clone, Debug)]
pub struct Device {
    torch: tch::Device,
    name: String,
    threads: usize,
    has_bf16: bool,
}

impl Device {
    /// `cpu` or `cuda:N`.
    pub fn id(&self) -> String {
        match self.torch {
            tch::Device::Cuda(index) => format!("cuda:{index}"),
            _ => "cpu".to_owned(),
        }
    }

    /// The maker's name of the processor or GPU.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many CPU threads libtorch computes with.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Whether the hardware multiplies in bf16, so that `precision = "auto"` uses it.
    pub fn has_bf16(&self) -> bool {
        self.has_bf16
    }

    /// Waits until the device has done all that it was told to do; the CPU always has. A device that fails meanwhile says so at
    /// the next call.
    pub fn wait(&self) {
        if let tch::Device::Cuda(index) = self.torch {
            let waited = guard::calls(|| {
                tch::Cuda::synchronize(index as i64);
                Ok(())
            });
            if let Err(error) = waited {
                tracing::debug!("waiting for {}: {error}", self.id());
            }
        }
    }

    /// Whether it is the CPU.
    pub fn is_cpu(&self) -> bool {
        self.torch == tch::Device::Cpu
    }

    /// The device as `tch` names it.
    pub fn torch(&self) -> tch::Device {
        self.torch
    }

    /// The same device with one CPU thread, if that is where work is done and its steps are small.
    ///
    /// `step` counts the numbers of a step's first layer: images x height x width x channels. Below a limit one thread is used: a
    /// step is then over in a fraction of a second, so that more threads have little to gain, and on a busy machine much to lose,
    /// because each operation waits for the slowest of them. With 11 processes on 2 cores, steps by two threads took 1.2 to 12
    /// times as long as by one (`host/benches/results/threads-busy-2-cores.tsv`). Where two threads begin to gain on an idle
    /// machine was not measured; `host/benches/threads.rs` does.
    pub fn fitting(mut self, step: usize) -> Self {
        if self.is_cpu() && step < SMALL_STEP {
            self.threads = 1;
            tch::set_num_threads(1);
        }
        self
    }

    /// The CPU with one thread, so that tests side by side do not fight for cores, or with as many as a test's child is told.
    #[cfg(test)]
    pub(super) fn cpu_for_tests() -> Self {
        let threads = std::env::var(tests::THREADS_VARIABLE).map_or(1, |threads| threads.parse().unwrap());
        open("cpu", threads).unwrap()
    }
}

/// `device cpu (AMD EPYC 9654, 2 cores), 1 thread`: what a run says first.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let (id, threads) = (self.id(), counted(self.threads, "thread"));
        match self.torch {
            tch::Device::Cpu => write!(f, "device {id} ({}, {}), {threads}", self.name, counted(cores(), "core")),
            _ => write!(f, "device {id} ({}), {threads}", self.name),
        }
    }
}

/// How many cores this process may keep busy: by its affinity, and by the quotas of its control groups (either version).
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get())
}

/// Opens `auto`, `cpu`, `cuda` or `cuda:N`, and lets libtorch use `threads` CPU threads (0: one per core).
///
/// `auto` takes the first GPU if there is one that works, else the CPU; where there is a GPU that cannot be used, it warns and says
/// why. It also warns when there are more threads than [`cores`]. Errs when the name is none of
/// these or the GPU cannot be used; the message says what is missing. The number of threads holds for the process, so
/// open the device first, before any other work with libtorch.
pub fn open(wanted: &str, threads: usize) -> Result<Device, EngineError> {
    let threads = set_threads(threads);
    match wanted {
        "cpu" => Ok(cpu(threads)),
        "auto" => open_cuda("cuda", 0, threads).or_else(|error| {
            say_why_not(&error);
            Ok(cpu(threads))
        }),
        _ => open_cuda(wanted, cuda_index(wanted)?, threads),
    }
}

/// How many GPUs this program can use; says why not, where there are some and it is none.
pub fn n_gpus() -> usize {
    match open_cuda("cuda", 0, 1) {
        Ok(_) => driven_gpus().map_or(0, |gpus| gpus.len()),
        Err(error) => {
            say_why_not(&error);
            0
        }
    }
}

/// The GPUs that the driver offers to this process.
fn driven_gpus() -> Result<Vec<Gpu>, String> {
    Driver::open().and_then(|driver| driver.gpus())
}

/// Says aloud that a GPU lies idle; where there is none, nothing is missing.
fn say_why_not(error: &EngineError) {
    let hidden = std::env::var("CUDA_VISIBLE_DEVICES").is_ok_and(|shown| shown.is_empty() || shown == "-1");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sign = sign_of_driver().or_else(|| sign_of_gpu(Path::new("/"), &path));
    match sign.filter(|_| !hidden) {
        Some(sign) => {
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            let quiet = "`--device cpu` chooses the CPU without this warning";
            tracing::warn!("there seems to be a GPU ({sign}), but the CPU is used: {error}{hint}; {quiet}");
        }
        None => tracing::info!("using the CPU: {error}"),
    }
}

/// What the driver has to say: the name of a GPU, or that it fails otherwise than for want of one.
fn sign_of_driver() -> Option<String> {
    match Driver::open().ok()?.gpus() {
        Ok(gpus) => gpus.into_iter().next().map(|gpu| gpu.name),
        Err(problem) if problem == NO_GPU => None,
        Err(problem) => Some(problem),
    }
}

/// What says that there is an NVIDIA GPU, whether or not its driver answers: a device file, the PCI bus, the driver's tool, or
/// that the user has named a folder for CUDA.
fn sign_of_gpu(root: &Path, path: &OsStr) -> Option<String> {
    let names = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let is_gpu_file = |name: &String| {
        name.strip_prefix("nvidia")
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    if let Some(name) = names("dev").into_iter().find(is_gpu_file) {
        return Some(format!("/dev/{name}"));
    }
    let of_pci = |device: &str, file: &str| {
        let text = fs::read_to_string(root.join("sys/bus/pci/devices").join(device).join(file)).unwrap_or_default();
        text.trim().to_owned()
    };
    // 0x10de is NVIDIA, and 0x03 the class of displays and their relatives without a screen.
    let is_gpu = |device: &String| of_pci(device, "vendor") == "0x10de" && of_pci(device, "class").starts_with("0x03");
    if let Some(device) = names("sys/bus/pci/devices").into_iter().find(is_gpu) {
        return Some(format!("NVIDIA's device {device} on the PCI bus"));
    }
    if let Some(folder) = std::env::split_paths(path).find(|folder| folder.join("nvidia-smi").is_file()) {
        return Some(folder.join("nvidia-smi").display().to_string());
    }
    std::env::var_os(CUDA_FOLDER_VARIABLE).map(|_| format!("{CUDA_FOLDER_VARIABLE} is set"))
}

fn cuda_index(wanted: &str) -> Result<usize, EngineError> {
    let index = match wanted.strip_prefix("cuda") {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix(':').and_then(|digits| digits.parse().ok()),
        None => None,
    };
    index.ok_or_else(|| missing(wanted, "there is no such device", "use `auto`, `cpu`, `cuda` or `cuda:N`"))
}

fn missing(wanted: &str, problem: impl Into<String>, hint: impl Into<String>) -> EngineError {
    EngineError::Device { wanted: wanted.to_owned(), problem: problem.into(), hint: hint.into() }
}

fn set_threads(threads: usize) -> usize {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // libtorch accepts this once per process. The engine never runs two operations side by side.
        tch::set_num_interop_threads(1);
        keep_memory();
    });
    let cores = cores();
    let threads = if threads == 0 { cores } else { threads.min(i32::MAX as usize) };
    if threads > cores {
        let (some, one) = (if cores == 1 { "core" } else { "cores" }, "waits for all the others at each operation");
        tracing::warn!(
            "{threads} threads are more than the {cores} {some} that this process may use: each thread {one}"
        );
    }
    tch::set_num_threads(threads as i32);
    threads
}

/// Lets the process keep the memory that a step frees, because the next step asks for as much again. Else glibc gives large
/// blocks back to the system each time, and a tenth of a step is spent on pages that come back zeroed.
fn keep_memory() {
    const LARGEST: c_int = 1 << 30;
    for (what, value) in [(libc::M_MMAP_THRESHOLD, LARGEST), (libc::M_TRIM_THRESHOLD, c_int::MAX)] {
        // SAFETY: mallopt takes plain integers and may be called at any time; one that it refuses changes nothing.
        unsafe { libc::mallopt(what, value) };
    }
}

/// Does small work on the calling thread alone: waiting for other threads at each of hundreds of small operations takes longer,
/// on a busy machine by far.
pub(super) fn alone<T>(work: impl FnOnce() -> T) -> T {
    let threads = tch::get_num_threads();
    tch::set_num_threads(1);
    let done = work();
    tch::set_num_threads(threads);
    done
}

fn cpu(threads: usize) -> Device {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = field(&info, "model name").unwrap_or(std::env::consts::ARCH).to_owned();
    let has_bf16 = field(&info, "flags").is_some_and(multiplies_bf16);
    Device { torch: tch::Device::Cpu, name, threads, has_bf16 }
}

/// The first value of `key` in /proc/cpuinfo.
fn field<'a>(info: &'a str, key: &str) -> Option<&'a str> {
    info.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
}

fn multiplies_bf16(flags: &str) -> bool {
    flags.split_whitespace().any(|flag| flag == "avx512_bf16" || flag == "amx_bf16")
}

fn open_cuda(wanted: &str, index: usize, threads: usize) -> Result<Device, EngineError> {
    let gpus =
        driven_gpus().map_err(|problem| missing(wanted, problem, "use `--device cpu`, or check `nvidia-smi`"))?;
    let Some(gpu) = gpus.get(index) else {
        let problem = format!("there is no GPU {index}, only {}", gpus.len());
        return Err(missing(wanted, problem, "GPUs count from 0, and CUDA_VISIBLE_DEVICES hides some"));
    };
    load_torch_cuda(wanted)?;
    if !tch::Cuda::is_available() {
        let problem =
            format!("{CUDA_LIBRARY} is loaded and the driver knows `{}`, but libtorch cannot use it", gpu.name);
        return Err(missing(wanted, problem, "the driver may be too old for this PyTorch's CUDA; see `nvidia-smi`"));
    }
    // The batches of an epoch have one shape or two, so searching for the best algorithm pays.
    tch::Cuda::cudnn_set_benchmark(true);
    let has_bf16 = gpu.compute_capability_major >= 8;
    Ok(Device { torch: tch::Device::Cuda(index), name: gpu.name.clone(), threads, has_bf16 })
}

/// The folder that libtorch's CUDA part was loaded from, once it was.
static LOADED_FROM: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Loads libtorch's CUDA part into the process, once.
fn load_torch_cuda(wanted: &str) -> Result<(), EngineError> {
    let mut loaded = LOADED_FROM.lock().unwrap_or_else(PoisonError::into_inner);
    if loaded.is_none() {
        let path = find_torch_cuda(&folders()).map_err(|problem| {
            let hint = format!(
                "`pip install torch=={TORCH_VERSION}`, or set {CUDA_FOLDER_VARIABLE} to its `torch/lib` folder"
            );
            missing(wanted, problem, hint)
        })?;
        load_for_good(&path, RTLD_NOW | RTLD_GLOBAL).map_err(|problem| {
            missing(wanted, problem, "reinstall that PyTorch with the `nvidia-*` packages that it depends on")
        })?;
        *loaded = path.parent().map(Path::to_owned);
    }
    Ok(())
}

/// Loads what libtorch decomposes matrices with on a GPU, if it lies beside the CUDA part that is in use. Call it before the
/// first decomposition there.
///
/// libtorch opens that library then by its name alone, and the loader looks for it beside `libtorch_cpu.so`, which is not where
/// pip's PyTorch has it; one that is loaded already is found by that name. It is not loaded before it is needed, because it
/// brings hundreds of megabytes of cuSOLVER along.
pub(super) fn load_linalg() -> TorchResult<()> {
    let loaded = LOADED_FROM.lock().unwrap_or_else(PoisonError::into_inner);
    match &*loaded {
        Some(folder) => load_linalg_beside(folder).map_err(TchError::Torch),
        None => Ok(()),
    }
}

fn load_linalg_beside(folder: &Path) -> Result<(), String> {
    let path = folder.join(LINALG_LIBRARY);
    // A libtorch that has it built in has no such file.
    if path.is_file() { load_for_good(&path, RTLD_NOW | RTLD_LOCAL) } else { Ok(()) }
}

/// Loads a library of PyTorch by its full path, or finds it loaded, and never unloads it.
fn load_for_good(path: &Path, flags: c_int) -> Result<(), String> {
    // SAFETY: loading runs the initialisers of a library of PyTorch, which are made to run in any process; its folder's version
    // was checked to be the one that we link.
    let library = unsafe { Library::open(Some(path), flags) }.map_err(|error| {
        // The loader's own words, such as which further library is missing, are the error's source.
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        format!("{} cannot be loaded: {reason}", path.display())
    })?;
    // libtorch keeps pointers into it for good.
    std::mem::forget(library);
    Ok(())
}

/// Where libtorch's CUDA part may be: the named folder alone, or beside the loaded libtorch and in Python's torch.
fn folders() -> Vec<PathBuf> {
    match std::env::var_os(CUDA_FOLDER_VARIABLE) {
        Some(folder) => vec![folder.into()],
        None => loaded_torch_folder().into_iter().chain(python_torch_folder()).collect(),
    }
}

fn loaded_torch_folder() -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps.lines().find(|line| line.ends_with("/libtorch_cpu.so"))?;
    Path::new(&path[path.find('/')?..]).parent().map(Path::to_owned)
}

fn python_torch_folder() -> Option<PathBuf> {
    let ask = "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])";
    let mut python = programs::python(ask, &programs::python_path()).ok()?;
    python.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let answer = wait::output(&mut python, limits::PYTHON).ok().filter(|answer| answer.status.success())?;
    Some(Path::new(String::from_utf8(answer.stdout).ok()?.trim()).join("lib"))
}

/// The first of `folders` that holds the right CUDA part, or what is wrong with each.
fn find_torch_cuda(folders: &[PathBuf]) -> Result<PathBuf, String> {
    let mut problems = Vec::new();
    for folder in folders {
        let path = folder.join(CUDA_LIBRARY);
        match version_beside(folder) {
            _ if !path.is_file() => problems.push(format!("no {CUDA_LIBRARY} in {}", folder.display())),
            Some(version) if version == TORCH_VERSION => return Ok(path),
            Some(version) => problems.push(format!("{} is of PyTorch {version}, not {TORCH_VERSION}", path.display())),
            None => problems.push(format!("{} does not say its version (no ../version.py)", path.display())),
        }
    }
    if problems.is_empty() {
        problems.push("no installed PyTorch was found".to_owned());
    }
    Err(problems.join("; "))
}

/// The PyTorch version that `torch/version.py` beside `torch/lib` states, without its `+cu130`.
fn version_beside(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join("../version.py")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
    line.trim_matches(['\'', '"']).split('+').next().map(str::to_owned)
}

/// What the driver says of one GPU.
struct Gpu {
    name: String,
    compute_capability_major: c_int,
}

/// The functions of the NVIDIA driver that tell of its GPUs, with the types that cuda.h has given them since CUDA 3.2.
struct Driver {
    init: Symbol<unsafe extern "C" fn(u32) -> c_int>,
    count: Symbol<unsafe extern "C" fn(*mut c_int) -> c_int>,
    name: Symbol<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int>,
    attribute: Symbol<unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int>,
}

impl Driver {
    fn open() -> Result<Self, String> {
        // SAFETY: libcuda is the driver's own library; its initialisers are made to run in any process.
        let library = unsafe { Library::open(Some("libcuda.so.1"), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|_| "there is no NVIDIA driver (libcuda.so.1 cannot be loaded)".to_owned())?;
        // The driver keeps threads and state for good, so it is never unloaded, and its symbols stay valid.
        let library = ManuallyDrop::new(library);
        let lacks = |error| format!("the NVIDIA driver is not usable: {error}");
        // SAFETY: the fields have the types of these functions in cuda.h.
        unsafe {
            Ok(Self {
                init: library.get(b"cuInit").map_err(lacks)?,
                count: library.get(b"cuDeviceGetCount").map_err(lacks)?,
                name: library.get(b"cuDeviceGetName").map_err(lacks)?,
                attribute: library.get(b"cuDeviceGetAttribute").map_err(lacks)?,
            })
        }
    }

    /// The GPUs that the driver offers to this process, in CUDA's order.
    fn gpus(&self) -> Result<Vec<Gpu>, String> {
        let mut n_gpus = 0;
        // SAFETY: cuInit takes 0.
        succeeded("cuInit", unsafe { (self.init)(0) })?;
        // SAFETY: the count is written to a live integer.
        succeeded("cuDeviceGetCount", unsafe { (self.count)(&mut n_gpus) })?;
        (0..n_gpus).map(|index| self.gpu(index)).collect()
    }

    /// The GPU of that index; in every driver the handle of a device is its index.
    fn gpu(&self, index: c_int) -> Result<Gpu, String> {
        let (mut text, mut major) = ([0 as c_char; 256], 0);
        // SAFETY: the driver writes at most the stated 256 bytes, the last of them a zero.
        succeeded("cuDeviceGetName", unsafe { (self.name)(text.as_mut_ptr(), text.len() as c_int, index) })?;
        // SAFETY: the value is written to a live integer.
        let status = unsafe { (self.attribute)(&mut major, COMPUTE_CAPABILITY_MAJOR, index) };
        succeeded("cuDeviceGetAttribute", status)?;
        // SAFETY: the driver wrote a string that ends in a zero, and `text` was all zeros before.
        let name = unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned();
        Ok(Gpu { name, compute_capability_major: major })
    }
}

/// CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR of cuda.h.
const COMPUTE_CAPABILITY_MAJOR: c_int = 75;

const NO_GPU: &str = "the NVIDIA driver knows no GPU";

fn succeeded(call: &str, status: c_int) -> Result<(), String> {
    match status {
        0 => Ok(()),
        100 => Err(NO_GPU.to_owned()),
        _ => Err(format!("the NVIDIA driver failed in {call} with CUDA error {status}")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// How many threads [`Device::cpu_for_tests`] opens.
    pub const THREADS_VARIABLE: &str = "COLDSTART_TEST_THREADS";

    #[test]
    fn a_name_that_is_no_device_is_refused() {
        for wanted in ["gpu", "cuda:", "cuda:x", "cuda0", "cuda:-1", ""] {
            let error = open(wanted, 1).unwrap_err();
            assert!(error.to_string().contains("no such device"), "{wanted}: {error}");
            assert!(error.hint().unwrap().contains("cuda:N"));
        }
        assert_eq!(cuda_index("cuda").unwrap(), 0);
        assert_eq!(cuda_index("cuda:3").unwrap(), 3);
    }

    #[test]
    fn auto_opens_and_cuda_opens_or_says_what_is_missing() {
        assert!(open("auto", 1).is_ok());
        if let Err(error) = open("cuda", 1) {
            eprintln!("no CUDA here: {error}");
            assert!(error.to_string().starts_with("cannot use device `cuda`: "), "{error}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn the_cpu_reports_itself() {
        let device = Device::cpu_for_tests();
        assert_eq!((device.id().as_str(), device.threads()), ("cpu", 1));
        assert!(!device.name().is_empty());
        assert!(multiplies_bf16("fpu avx512_bf16 sse") && !multiplies_bf16("fpu avx2 avx512_bf16x"));
    }

    #[test]
    fn a_device_says_what_it_is() {
        let name = "AMD EPYC 9654".to_owned();
        let cpu = Device { torch: tch::Device::Cpu, name, threads: 1, has_bf16: true };
        let some = if cores() == 1 { "core" } else { "cores" };
        assert_eq!(cpu.to_string(), format!("device cpu (AMD EPYC 9654, {} {some}), 1 thread", cores()));
        let gpu = Device { torch: tch::Device::Cuda(1), name: "NVIDIA H100".to_owned(), threads: 8, has_bf16: true };
        assert_eq!(gpu.to_string(), "device cuda:1 (NVIDIA H100), 8 threads");
    }

    #[test]
    fn a_gpu_that_is_there_leaves_a_sign() {
        let root = tempfile::tempdir().unwrap();
        let sign = |path: &str| sign_of_gpu(root.path(), OsStr::new(path));
        let write = |name: &str, text: &str| {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        // The control files are there without a GPU, and so is NVIDIA's sound.
        for (name, text) in [
            ("dev/nvidiactl", ""),
            ("dev/nvidia-uvm", ""),
            ("sys/bus/pci/devices/0000:00:1f.3/vendor", "0x10de\n"),
            ("sys/bus/pci/devices/0000:00:1f.3/class", "0x040300\n"),
            ("sys/bus/pci/devices/0000:00:02.0/vendor", "0x8086\n"),
            ("sys/bus/pci/devices/0000:00:02.0/class", "0x030000\n"),
        ] {
            write(name, text);
        }
        assert_eq!(sign("/nowhere"), None);
        write("bin/nvidia-smi", "");
        let bin = root.path().join("bin");
        let tool = bin.join("nvidia-smi").display().to_string();
        assert_eq!(sign(&format!("/nowhere:{}", bin.display())), Some(tool));
        write("sys/bus/pci/devices/0000:41:00.0/vendor", "0x10de\n");
        write("sys/bus/pci/devices/0000:41:00.0/class", "0x030200\n");
        assert_eq!(sign("/nowhere").unwrap(), "NVIDIA's device 0000:41:00.0 on the PCI bus");
        write("dev/nvidia0", "");
        assert_eq!(sign("/nowhere").unwrap(), "/dev/nvidia0");
    }

    /// A library that stands where pip's PyTorch has CUDA's linear algebra is then found by its name alone, as libtorch asks.
    #[test]
    fn linear_algebra_is_opened_by_its_full_path() {
        let torch = tempfile::tempdir().unwrap();
        let lib = torch.path().join("lib");
        fs::create_dir(&lib).unwrap();
        // SAFETY: the library, if there were one, would be the one that is made below, which runs nothing.
        let by_name = || unsafe { Library::open(Some(LINALG_LIBRARY), RTLD_NOW | RTLD_LOCAL) };
        assert!(by_name().is_err());
        load_linalg_beside(&lib).unwrap();
        assert!(by_name().is_err(), "there is no file to load");
        fs::write(lib.join(LINALG_LIBRARY), "no library").unwrap();
        let problem = load_linalg_beside(&lib).unwrap_err();
        assert!(problem.contains(&format!("{} cannot be loaded", lib.join(LINALG_LIBRARY).display())), "{problem}");

        fs::write(lib.join("empty.c"), "int coldstart_pretended_linalg(void) { return 1; }\n").unwrap();
        let name = format!("-Wl,-soname,{LINALG_LIBRARY}");
        let args = ["-shared", "-fPIC", &name, "-o", LINALG_LIBRARY, "empty.c"];
        let made = std::process::Command::new("cc")
            .args(args)
            .current_dir(&lib)
            .status()
            .expect("a C compiler, as the build needs one");
        assert!(made.success());
        load_linalg_beside(&lib).unwrap();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(maps.contains(&lib.join(LINALG_LIBRARY).display().to_string()), "{maps}");
        by_name().unwrap();
    }

    #[test]
    fn threads_hold_in_every_thread() {
        Device::cpu_for_tests();
        let elsewhere = std::thread::spawn(tch::get_num_threads).join().unwrap();
        assert_eq!(elsewhere, 1);
    }

    #[test]
    fn the_loaded_libtorch_is_found() {
        Device::cpu_for_tests();
        assert!(loaded_torch_folder().unwrap().join("libtorch_cpu.so").is_file());
    }

    #[test]
    fn a_folder_without_the_right_cuda_part_is_told_apart() {
        let folder = |name: &str, version: Option<&str>, library: bool| {
            let torch = std::env::temp_dir().join(format!("coldstart-torch-{}-{name}", std::process::id()));
            fs::create_dir_all(torch.join("lib")).unwrap();
            if let Some(version) = version {
                fs::write(torch.join("version.py"), format!("__version__ = '{version}'\n")).unwrap();
            }
            if library {
                fs::write(torch.join("lib").join(CUDA_LIBRARY), "").unwrap();
            }
            torch.join("lib")
        };
        let rows = [
            (folder("empty", Some("2.11.0"), false), "no libtorch_cuda.so in"),
            (folder("old", Some("2.10.0+cu128"), true), "of PyTorch 2.10.0, not 2.11.0"),
            (folder("mute", None, true), "does not say its version"),
        ];
        let right = folder("right", Some("2.11.0+cu130"), true);
        for (folder, expected) in &rows {
            let problem = find_torch_cuda(std::slice::from_ref(folder)).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
            assert_eq!(find_torch_cuda(&[folder.clone(), right.clone()]).unwrap(), right.join(CUDA_LIBRARY));
        }
        assert!(find_torch_cuda(&[]).unwrap_err().contains("no installed PyTorch"));
        for lib in rows.iter().map(|row| &row.0).chain([&right]) {
            fs::remove_dir_all(lib.parent().unwrap()).unwrap();
        }
    }
}
