//! `mesh-image`: packs programs into an image, as a Containerfile says, without a registry and without a daemon.
//! `cargo xtask images` runs it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use mesh_tests::cluster::{Architecture, Error, Sources, pack, read_containerfile};

/// Packs an image.
#[derive(Debug, Parser)]
struct Arguments {
    /// What is in it
    #[arg(long)]
    containerfile: PathBuf,
    /// What paths in the Containerfile are relative to
    #[arg(long)]
    context: PathBuf,
    /// The folder that it calls PROGRAMS
    #[arg(long)]
    programs: PathBuf,
    /// The architecture of the programs: amd64 or arm64
    #[arg(long)]
    architecture: Architecture,
    /// Take this machine's libraries along, for programs that are not linked statically
    #[arg(long)]
    libraries: bool,
    /// The image's full name, with a tag
    #[arg(long)]
    name: String,
    /// The archive to write
    archive: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match make(&arguments) {
        Ok(()) => {
            println!("{}: {}", arguments.archive.display(), arguments.name);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn make(arguments: &Arguments) -> Result<(), Error> {
    let read = |path: &Path| {
        fs::read(path).map_err(|source| Error::Io { what: "read", path: path.to_owned(), source })
    };
    let text = String::from_utf8_lossy(&read(&arguments.containerfile)?).into_owned();
    let sources = Sources { programs: &arguments.programs, context: &arguments.context };
    let mut image = read_containerfile(&text, sources)?;
    image.name.clone_from(&arguments.name);
    image.architecture = arguments.architecture;
    let files = image.files.iter().map(|(source, _)| source.clone());
    let programs: Vec<PathBuf> = files.filter(|source| source.starts_with(&arguments.programs)).collect();
    for program in &programs {
        arguments.architecture.admits(program, &read(program)?, arguments.libraries)?;
        if arguments.libraries {
            image.take_libraries(program);
        }
    }
    pack(&image, &arguments.archive)
}
