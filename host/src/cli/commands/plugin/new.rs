//! `coldstart plugin new`.

use crate::cli::args::PluginNew;
use crate::cli::problem::Problem;
use crate::workshop::{NewCrate, create};
use coldstart_plugin_api::Role;

/// Make a crate, and say what to do with it.
pub fn new(wanted: &PluginNew) -> Result<(), Problem> {
    let named = |role: &Role| wanted.role.iter().any(|name| name == role.name());
    let folder = create(&NewCrate {
        name: wanted.name.clone(),
        roles: Role::ALL.into_iter().filter(named).collect(),
        publisher: wanted.publisher.clone(),
        contract: wanted.path.clone(),
        folder: wanted.dir.clone(),
    })?;
    outln!("{}", folder.display());
    let library = format!("dist/lib{}.so", wanted.name.replace('-', "_"));
    errln!(
        "next: cd {}, cargo test --release, coldstart plugin build, coldstart plugin check {library}",
        folder.display()
    );
    Ok(())
}
