//! The embedded object: its maps checked against what is pinned, its programs loaded.
//!
//! A pinned map is reused only when type, key size, value size, capacity and flags are those of
//! the object's own definition; aya would take any (KERNEL 10). A change of shape is a change of
//! [`mesh_ebpf::abi::SCHEMA`], which has its own directory; until that is done, the answer is a
//! refusal that names the map, never a silent reuse.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use aya::programs::{Program, ProgramError};
use aya::{EbpfError, EbpfLoader};

use super::pins::{self, Pins};

/// The compiled kernel programs, built by `cargo xtask build-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("MESH_EBPF_OBJECT"));

/// Why the programs are not in the kernel.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramsError {
    /// The object does not parse.
    #[error("the embedded kernel object does not parse: {0}; rebuild it with cargo xtask build-ebpf")]
    Object(String),
    /// A pinned map has another shape.
    #[error(
        "pinned map {path} has {field} {found}, this agent's has {expected}: it was made by another \
         version under the same schema; remove it with mesh-agent uninstall (open connections lose \
         their policy until the new agent runs)"
    )]
    MapMismatch {
        /// The pin.
        path: PathBuf,
        /// What differs.
        field: &'static str,
        /// The pinned map's.
        found: u32,
        /// The object's.
        expected: u32,
    },
    /// A pinned map cannot be looked at.
    #[error("pinned map {path}: {source}")]
    Map {
        /// The pin.
        path: PathBuf,
        /// Why not.
        source: aya::maps::MapError,
    },
    /// aya could not load it.
    #[error("loading the kernel object: {0}")]
    Load(#[from] EbpfError),
    /// The verifier refused a program, or the kernel does not know its type.
    #[error("loading program {name}: {source}")]
    Program {
        /// Its name.
        name: String,
        /// Why not.
        source: ProgramError,
    },
    /// The object lacks a program that wire attaches.
    #[error("the embedded kernel object has no program {0}: it was built from another version")]
    Missing(&'static str),
    /// A pin could not be written.
    #[error("pinning {path}: {source}")]
    Pin {
        /// The pin.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// One loaded program, as the CLI shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Loaded {
    /// Kernel id.
    pub(super) id: u32,
    /// Hash of its instructions.
    pub(super) tag: String,
    /// Instructions the verifier walked.
    pub(super) verified_instructions: Option<u32>,
}

/// The loaded programs. Of what they were loaded from (the object's instructions and relocations,
/// the types of the kernel) nothing is kept: it is megabytes.
#[derive(Debug)]
pub(super) struct Programs {
    descriptors: BTreeMap<String, OwnedFd>,
    loaded: BTreeMap<String, Loaded>,
}

impl Programs {
    /// Checks the pinned maps, makes those that are missing, and loads and pins the programs.
    /// The flag tells whether maps were adopted from an earlier wire.
    ///
    /// # Errors
    /// When a pinned map is not of this version's shape, or the kernel refuses a program.
    pub(super) fn load(pins: &Pins) -> Result<(Self, bool), ProgramsError> {
        let definitions = definitions()?;
        let mut adopted = false;
        for (name, expected) in &definitions {
            let path = pins.maps().join(name);
            if path.exists() {
                expected.check(&path)?;
                adopted = true;
            }
        }
        let mut loader = EbpfLoader::new();
        for name in definitions.keys() {
            loader.map_pin_path(name, pins.maps().join(name));
        }
        let mut object = loader.load(OBJECT)?;
        let (mut descriptors, mut loaded) = (BTreeMap::new(), BTreeMap::new());
        for (name, program) in object.programs_mut() {
            let fail = |source| ProgramsError::Program { name: name.to_owned(), source };
            load(program).map_err(fail)?;
            descriptors.insert(name.to_owned(), pin(program, &pins.programs(), name)?);
            let info = program.info().map_err(fail)?;
            loaded.insert(
                name.to_owned(),
                Loaded {
                    id: info.id(),
                    tag: format!("{:016x}", info.tag()),
                    verified_instructions: info.verified_instruction_count(),
                },
            );
        }
        for path in pins::entries(&pins.programs()) {
            let known = path.file_name().is_some_and(|name| loaded.contains_key(&*name.to_string_lossy()));
            if !known {
                // Of a version that had more programs; its links keep it while they are there.
                fs::remove_file(&path).map_err(|source| ProgramsError::Pin { path, source })?;
            }
        }
        Ok((Self { descriptors, loaded }, adopted))
    }

    /// A loaded program's descriptor and id.
    ///
    /// # Errors
    /// When the object has no program of that name.
    pub(super) fn get(&self, name: &'static str) -> Result<(BorrowedFd<'_>, u32), ProgramsError> {
        let id = self.loaded.get(name).ok_or(ProgramsError::Missing(name))?.id;
        let descriptor = self.descriptors.get(name).ok_or(ProgramsError::Missing(name))?;
        Ok((descriptor.as_fd(), id))
    }

    /// Whether the object has a program of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.loaded.contains_key(name)
    }

    /// All of them, by name.
    pub(super) fn loaded(&self) -> &BTreeMap<String, Loaded> {
        &self.loaded
    }
}

/// A map's shape.
#[derive(Debug, Clone, Copy)]
struct Shape {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

impl Shape {
    fn check(&self, path: &Path) -> Result<(), ProgramsError> {
        let map = |source| ProgramsError::Map { path: path.to_owned(), source };
        let info = MapInfo::from_pin(path).map_err(map)?;
        let kind = info.map_type().map_err(map)? as u32;
        for (field, found, expected) in [
            ("type", kind, self.kind),
            ("key size", info.key_size(), self.key_size),
            ("value size", info.value_size(), self.value_size),
            ("capacity", info.max_entries(), self.max_entries),
            ("flags", info.map_flags(), self.flags),
        ] {
            if found != expected {
                return Err(ProgramsError::MapMismatch { path: path.to_owned(), field, found, expected });
            }
        }
        Ok(())
    }
}

/// The mesh's maps as the object defines them; global data of the compiler's is not among them.
fn definitions() -> Result<BTreeMap<String, Shape>, ProgramsError> {
    let object = aya_obj::Object::parse(OBJECT).map_err(|error| ProgramsError::Object(error.to_string()))?;
    Ok(object
        .maps
        .into_iter()
        .filter(|(name, _)| name.starts_with("mesh_"))
        .map(|(name, map)| {
            let shape = Shape {
                kind: map.map_type(),
                key_size: map.key_size(),
                value_size: map.value_size(),
                max_entries: map.max_entries(),
                flags: map.map_flags(),
            };
            (name, shape)
        })
        .collect())
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupSockopt(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::SkLookup(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        // Not one of ours: left unloaded, so asking for it fails by name.
        _ => Ok(()),
    }
}

/// Pins the new program where the old one was, in one step; gives a descriptor of it.
fn pin(program: &mut Program, directory: &Path, name: &str) -> Result<OwnedFd, ProgramsError> {
    let path = directory.join(name);
    let fresh = directory.join(format!("{name}_new"));
    let fail = |source| ProgramsError::Pin { path: path.clone(), source };
    let _ = fs::remove_file(&fresh);
    let fd = program.fd().map_err(|source| ProgramsError::Program { name: name.to_owned(), source })?;
    crate::sys::bpf::pin(fd.as_fd(), &fresh).map_err(fail)?;
    fs::rename(&fresh, &path).map_err(fail)?;
    fd.as_fd().try_clone_to_owned().map_err(fail)
}
