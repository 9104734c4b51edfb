//! Opening a device: one binary for CPU and CUDA.
//!
//! The binary links only libtorch's CPU part. For a GPU it loads `libtorch_cuda.so` of an installed PyTorch of the
//! same version, before libtorch is first asked about CUDA: libtorch looks for its CUDA part once and remembers.
//! This is the engine's only file with `unsafe`: loading that library, and asking the driver about its GPUs.

use std::error::Error;
use std::ffi::{CStr, c_char, c_int};
use std::fs;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, Once};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW, Symbol};

use super::EngineError;

/// The PyTorch that `tch` binds, and the only one whose CUDA part fits.
pub const TORCH_VERSION: &str = "2.11.0";

/// The environment variable that names the `torch/lib` folder to load CUDA from.
pub const CUDA_FOLDER_VARIABLE: &str = "COLDSTART_TORCH_CUDA";

const CUDA_LIBRARY: &str = "libtorch_cuda.so";

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

    /// Waits until the device has done all that it was told to do; the CPU always has.
    pub fn wait(&self) {
        if let tch::Device::Cuda(index) = self.torch {
            tch::Cuda::synchronize(index as i64);
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

    /// The CPU with one thread, so that tests side by side do not fight for cores, or with as many as a test's child is told.
    #[cfg(test)]
    pub(super) fn cpu_for_tests() -> Self {
        let threads = std::env::var(tests::THREADS_VARIABLE).map_or(1, |threads| threads.parse().unwrap());
        open("cpu", threads).unwrap()
    }
}

/// Opens `auto`, `cpu`, `cuda` or `cuda:N`, and lets libtorch use `threads` CPU threads (0: one per core).
///
/// `auto` takes the first GPU if there is one that works, else the CPU, and logs why. Errs when the name is none of
/// these or the GPU cannot be used; the message says what is missing. The number of threads holds for the process, so
/// open the device first, before any other work with libtorch.
pub fn open(wanted: &str, threads: usize) -> Result<Device, EngineError> {
    let threads = set_threads(threads);
    match wanted {
        "cpu" => Ok(cpu(threads)),
        "auto" => open_cuda("cuda", 0, threads).or_else(|error| {
            tracing::info!("using the CPU: {error}");
            Ok(cpu(threads))
        }),
        _ => open_cuda(wanted, cuda_index(wanted)?, threads),
    }
}

/// How many GPUs this program can use.
pub fn n_gpus() -> usize {
    let usable = open_cuda("cuda", 0, 1).is_ok();
    let gpus = || Driver::open().and_then(|driver| driver.gpus());
    if usable { gpus().map_or(0, |gpus| gpus.len()) } else { 0 }
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
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let threads = if threads == 0 { cores() } else { threads.min(i32::MAX as usize) };
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
    let gpus = Driver::open().and_then(|driver| driver.gpus());
    let gpus = gpus.map_err(|problem| missing(wanted, problem, "use `--device cpu`, or check `nvidia-smi`"))?;
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

/// Loads libtorch's CUDA part into the process, once.
fn load_torch_cuda(wanted: &str) -> Result<(), EngineError> {
    static LOADED: Mutex<bool> = Mutex::new(false);
    let mut loaded = LOADED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !*loaded {
        let path = find_torch_cuda(&folders()).map_err(|problem| {
            let hint = format!(
                "`pip install torch=={TORCH_VERSION}`, or set {CUDA_FOLDER_VARIABLE} to its `torch/lib` folder"
            );
            missing(wanted, problem, hint)
        })?;
        // SAFETY: loading runs the initialisers of a library whose version was checked to be the one we link.
        let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) }.map_err(|error| {
            // The loader's own words, such as which further library is missing, are the error's source.
            let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            let problem = format!("{} cannot be loaded: {reason}", path.display());
            missing(wanted, problem, "reinstall that PyTorch with the `nvidia-*` packages that it depends on")
        })?;
        // libtorch keeps pointers into it for good.
        std::mem::forget(library);
        *loaded = true;
    }
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
    let answer = Command::new("python3").args(["-c", ask]).output().ok().filter(|answer| answer.status.success())?;
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

fn succeeded(call: &str, status: c_int) -> Result<(), String> {
    match status {
        0 => Ok(()),
        100 => Err("the NVIDIA driver knows no GPU".to_owned()),
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
