//! What is measured of a library when it is packed: where it can run.

use super::checksums::sha256;
use crate::plugin::elf;
use crate::plugin::error::{PluginCode, PluginError};
use serde::{Deserialize, Serialize};

/// The build part of a package's manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The target triple.
    pub triple: String,
    /// The newest glibc that the library is bound to; empty if to none.
    pub glibc: String,
    /// The oldest processor that it runs on, as its author says.
    pub cpu: String,
    /// `sha256:` and the hash of the library.
    pub sha256: String,
}

impl Build {
    /// Measure a library; `cpu` is taken at its word.
    pub fn measure(file: &str, library: &[u8], cpu: Option<&str>) -> Result<Build, PluginError> {
        let triple = elf::triple(file, library)?;
        let cpu = cpu.unwrap_or(cpu_levels(&triple)[0]);
        let build =
            Build { glibc: elf::glibc_floor(file, library)?, cpu: cpu.to_owned(), sha256: sha256(library), triple };
        build.check_cpu(file)?;
        Ok(build)
    }

    /// Errs with P012 if the library is not what this says of it.
    pub fn check(&self, name: &str, library: &[u8]) -> Result<(), PluginError> {
        self.check_cpu(name)?;
        if *self == Build::measure(name, library, Some(&self.cpu))? {
            return Ok(());
        }
        Err(PluginError::new(PluginCode::Descriptor, name, "the section `build` of its manifest is not true"))
    }

    /// Errs with P007 if the library is for another machine or a newer processor than this one.
    pub fn check_machine(&self, name: &str) -> Result<(), PluginError> {
        let here = native_triple();
        let refuse = |message: String| Err(PluginError::new(PluginCode::Machine, name, message));
        if self.triple != here {
            return refuse(format!("is for {}, this machine is {here}", self.triple))
                .map_err(|error| error.with_hint(format!("get the package for {here}")));
        }
        let level = cpu_levels(&here).iter().position(|level| *level == self.cpu);
        if level.is_none_or(|level| level > native_cpu_level()) {
            return refuse(format!("needs a processor {}, this one is {}", self.cpu, native_cpu()));
        }
        Ok(())
    }

    fn check_cpu(&self, name: &str) -> Result<(), PluginError> {
        let known = cpu_levels(&self.triple);
        if known.contains(&self.cpu.as_str()) {
            return Ok(());
        }
        let message = format!("`{}` is no level of processors for {}", self.cpu, self.triple);
        Err(PluginError::new(PluginCode::Machine, name, message).with_hint(format!("it can be {}", known.join(", "))))
    }
}

/// The levels of processors for a triple, the oldest first.
pub fn cpu_levels(triple: &str) -> &'static [&'static str] {
    match triple.starts_with("aarch64") {
        true => &["armv8-a"],
        false => &["x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4"],
    }
}

/// The triple of this machine.
pub fn native_triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn native_cpu() -> &'static str {
    cpu_levels(&native_triple())[native_cpu_level()]
}

/// The place of this processor among the levels of its kind.
#[cfg(target_arch = "x86_64")]
fn native_cpu_level() -> usize {
    macro_rules! all {
        ($($feature:tt),*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
    }
    let levels = [
        all!("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cmpxchg16b"),
        all!("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe"),
        all!("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    ];
    levels.iter().take_while(|has| **has).count()
}

#[cfg(not(target_arch = "x86_64"))]
fn native_cpu_level() -> usize {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_fits_its_machine_and_its_processor() {
        let here = native_triple();
        let (oldest, newest) = (cpu_levels(&here)[0], native_cpu());
        for (triple, cpu, fits) in [
            (here.as_str(), oldest, true),
            (&here, newest, true),
            (&here, "x86-64-v9", false),
            ("sparc64-unknown-linux-gnu", oldest, false),
        ] {
            let (triple, cpu) = (triple.to_owned(), cpu.to_owned());
            let build = Build { triple, cpu, glibc: String::new(), sha256: String::new() };
            let checked = build.check_machine("x");
            assert_eq!(checked.is_ok(), fits, "{build:?}");
            assert!(checked.is_ok() || checked.unwrap_err().code == PluginCode::Machine);
        }
    }
}
