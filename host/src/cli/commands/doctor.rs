//! `coldstart doctor`: what works here, and what to do about what does not.

use super::print_json;
use crate::cli::args::{Args, Doctor};
use crate::cli::problem::Problem;
use crate::engine;
use crate::plugin::SearchPath;
use coldstart_plugin_api::API_VERSION;
use serde::Serialize;

#[derive(Serialize)]
struct Finding {
    what: &'static str,
    works: bool,
    found: String,
}

/// `coldstart doctor`.
pub fn doctor(args: &Args, doctor: &Doctor) -> Result<(), Problem> {
    let findings = findings(args);
    if doctor.json {
        print_json(&findings);
        return Ok(());
    }
    for Finding { what, works, found } in &findings {
        outln!("{} {what:<12} {found}", if *works { "ok     " } else { "missing" });
    }
    Ok(())
}

fn findings(args: &Args) -> Vec<Finding> {
    let search = SearchPath::new(&[]);
    let (good, bad): (Vec<_>, Vec<_>) =
        search.candidates().into_iter().partition(|candidate| candidate.manifest.is_ok());
    let data = args.data.as_ref().map(|data| (data.is_dir(), data.display().to_string()));
    let (data_works, data) = data.unwrap_or((false, "no data folder: set COLDSTART_DATA or pass --data".to_owned()));
    let finding = |what, works, found| Finding { what, works, found };
    vec![
        finding("coldstart", true, format!("{}, plugin contract {API_VERSION}", env!("CARGO_PKG_VERSION"))),
        finding("libtorch", true, engine::TORCH_VERSION.to_owned()),
        device("cpu", "CPU"),
        device("cuda", "CUDA"),
        finding("data", data_works, data),
        finding("plugins", !good.is_empty(), format!("{} readable, {} broken", good.len(), bad.len())),
        finding(
            "search path",
            true,
            search.folders().iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(":"),
        ),
    ]
}

fn device(id: &str, what: &'static str) -> Finding {
    match engine::open(id, 0) {
        Ok(device) => {
            let bf16 = if device.has_bf16() { "bf16" } else { "no fast bf16" };
            Finding { what, works: true, found: format!("{}, {} threads, {bf16}", device.name(), device.threads()) }
        }
        Err(error) => {
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            Finding { what, works: false, found: format!("{error}{hint}") }
        }
    }
}
