//! Images from programs of this machine, as archives of one layer (OCI image layout): without a registry, without a
//! base image, the same bytes each time.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Architecture, Error, error};
use crate::tool;

/// An image to be made.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Its full name, with a tag.
    pub name: String,
    /// Files of this machine, and where the image has them.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// The command that a container of it runs; what a pod gives as `args` comes after it.
    pub entrypoint: Vec<String>,
    /// Who runs it, as `UID:GID`; root where it is left out.
    pub user: Option<String>,
    /// What is said about it.
    pub labels: BTreeMap<String, String>,
    /// The processors it is for; this machine's by default.
    pub architecture: Architecture,
}

impl Image {
    /// An image of one program, which is found on the `PATH` there, with the libraries that it is linked with here.
    ///
    /// # Errors
    /// If the program cannot be read.
    pub fn of_program(name: &str, program: &Path) -> Result<Self, Error> {
        let file = program.file_name().unwrap_or_default();
        let target = Path::new("/usr/bin").join(file);
        let entrypoint = vec![target.display().to_string()];
        let files = vec![(program.to_owned(), target)];
        let mut image = Self { name: name.to_owned(), files, entrypoint, ..Self::default() };
        image.take_libraries(program);
        Ok(image)
    }

    /// Takes in what a program of this machine loads when it starts, from where it loads it here.
    pub fn take_libraries(&mut self, program: &Path) {
        self.files.extend(libraries(program).into_iter().map(|library| (library.clone(), library)));
    }
}

/// The shared libraries of a program, the loader among them; none if it is linked statically.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let mut command = Command::new("ldd");
    command.arg(program);
    // It fails for a static program.
    let Ok(text) = tool::run(command, "") else { return Vec::new() };
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    text.lines().filter_map(path).collect()
}

/// Writes the image to `archive`, replacing it at once.
///
/// # Errors
/// If a file cannot be read or written.
pub fn pack(image: &Image, archive: &Path) -> Result<(), Error> {
    let folder = archive.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(error::io("make", folder))?;
    // By a name of its own, so that what a killed one left is taken away by the next.
    let work = archive.with_extension("making");
    if work.exists() {
        fs::remove_dir_all(&work).map_err(error::io("remove", &work))?;
    }
    let (content, layout) = (work.join("content"), work.join("layout"));
    for (source, target) in &image.files {
        let target = content.join(target.strip_prefix("/").unwrap_or(target));
        let above = target.parent().unwrap_or(&content);
        fs::create_dir_all(above).map_err(error::io("make", above))?;
        fs::copy(source, &target).map_err(error::io::<io::Error>("copy", source))?;
    }
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(error::io("make", &blobs))?;
    let layer = work.join("layer.tar");
    tar(&content, &layer)?;
    let layer = blob(&blobs, fs::read(&layer).map_err(error::io("read", &layer))?)?;
    let mut running =
        json!({ "Entrypoint": image.entrypoint, "Env": ["PATH=/usr/bin:/bin"], "WorkingDir": "/" });
    if let Some(user) = &image.user {
        running["User"] = json!(user);
    }
    if !image.labels.is_empty() {
        running["Labels"] = json!(image.labels);
    }
    let architecture = image.architecture.name();
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": running,
        "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
    });
    let config = blob(&blobs, serde_json::to_vec(&config)?)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.describe("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.describe("application/vnd.oci.image.layer.v1.tar")],
    });
    let mut manifest = blob(&blobs, serde_json::to_vec(&manifest)?)?.describe(MANIFEST);
    // The first is what containerd takes the name from, the second what others do.
    manifest["annotations"] = json!({
        "io.containerd.image.name": image.name,
        "org.opencontainers.image.ref.name": image.name,
    });
    manifest["platform"] = json!({ "architecture": architecture, "os": "linux" });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    for (file, text) in [("index.json", index), ("oci-layout", json!({ "imageLayoutVersion": "1.0.0" }))] {
        let path = layout.join(file);
        fs::write(&path, serde_json::to_vec(&text)?).map_err(error::io("write", &path))?;
    }
    let whole = work.join("image.tar");
    tar(&layout, &whole)?;
    fs::rename(&whole, archive).map_err(error::io("write", archive))?;
    fs::remove_dir_all(&work).map_err(error::io("remove", &work))
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Content that is named by its hash.
struct Blob {
    digest: String,
    size: usize,
}

impl Blob {
    fn describe(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.size })
    }
}

fn blob(folder: &Path, content: Vec<u8>) -> Result<Blob, Error> {
    let mut name = String::new();
    for byte in Sha256::digest(&content) {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    let path = folder.join(&name);
    fs::write(&path, &content).map_err(error::io("write", &path))?;
    Ok(Blob { digest: format!("sha256:{name}"), size: content.len() })
}

/// An archive that says nothing of who made it and when.
fn tar(folder: &Path, archive: &Path) -> Result<(), Error> {
    let mut command = Command::new("tar");
    command.args(["--create", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"]);
    command.args(["--mode=u=rwX,go=rX", "--format=ustar"]).arg("--file").arg(archive);
    command.arg("--directory").arg(folder).arg(".");
    Ok(tool::run(command, "").map(drop)?)
}
