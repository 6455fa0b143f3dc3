//! `mesh-generate`: writes the files of `deploy/` that are made from types or rendered from the chart, or compares them.
//! `cargo xtask crds` runs it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Parser;
use mesh_control::install;

/// Writes what in `deploy/` is generated.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only compare, and fail if something differs.
    #[arg(long)]
    check: bool,
    /// The root of the workspace.
    root: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut differing = Vec::new();
    for (path, text) in install::generated()? {
        let file = arguments.root.join(&path);
        if fs::read_to_string(&file).is_ok_and(|there| there == text) {
            continue;
        }
        if !arguments.check {
            let folder = file.parent().unwrap_or(&arguments.root);
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
            println!("{path} written");
        }
        differing.push(path);
    }
    if arguments.check && !differing.is_empty() {
        bail!("{} not as the types and the chart say; run: cargo xtask crds", differing.join(", "));
    }
    Ok(())
}
