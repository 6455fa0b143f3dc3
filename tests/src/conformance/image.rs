//! The image of the suite's pods, under the very name that the suite's manifest has for it: the nodes have it before
//! anybody pulls, and the manifest stays as it is.

use std::{collections::BTreeSet, fs, path::Path};

use super::{Error, beside};
use crate::cluster::{Image, Running};

/// The program, and the names by which pods find it.
const PROGRAM: &str = "mesh-echo-advanced";
const NAMES: [&str; 2] = ["/usr/bin/server", "/usr/bin/client"];

/// Where the manifest has the server's certificate and key.
const CERTIFICATE: &str = "/cert.crt";
const KEY: &str = "/cert.key";

/// Brings the image to every node, once for every name that the manifest has.
pub(super) fn load(cluster: &Running, manifest: &Path) -> Result<(), Error> {
    let text = fs::read_to_string(manifest).map_err(Error::io("read", manifest))?;
    let names = named(&text);
    if names.is_empty() {
        return Err(Error::NoImage(manifest.to_owned()));
    }
    let folder = tempfile::tempdir().map_err(Error::io("make", Path::new("a temporary folder")))?;
    let pair = rcgen::generate_simple_self_signed(["echo".to_owned()])?;
    let files = [(CERTIFICATE, pair.cert.pem()), (KEY, pair.signing_key.serialize_pem())];
    let mut image = Image { entrypoint: vec![NAMES[0].to_owned()], ..Image::default() };
    for (target, pem) in files {
        let path = folder.path().join(target.trim_start_matches('/'));
        fs::write(&path, pem).map_err(Error::io("write", &path))?;
        image.files.push((path, target.into()));
    }
    let program = beside(PROGRAM)?;
    image.take_libraries(&program);
    image.files.extend(NAMES.map(|name| (program.clone(), name.into())));
    for name in names {
        name.clone_into(&mut image.name);
        cluster.load(&image)?;
    }
    Ok(())
}

/// The images that a manifest's containers are of.
fn named(manifest: &str) -> BTreeSet<&str> {
    manifest.lines().filter_map(image_of).filter(|name| !name.is_empty()).collect()
}

fn image_of(line: &str) -> Option<&str> {
    let named = line.trim_start().trim_start_matches("- ").strip_prefix("image:")?;
    Some(named.trim().trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn images_are_found_by_their_names() {
        let manifest = "containers:\n  - name: a\n    image: x.y/a:v1\n    imagePullPolicy: Never\n  - image: \"b:2\"\n  - image: 'b:2'\n";
        assert_eq!(named(manifest).into_iter().collect::<Vec<_>>(), ["b:2", "x.y/a:v1"]);
    }
}
