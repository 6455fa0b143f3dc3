//! The part of a Containerfile that images of static programs need: `FROM scratch`, `ARG PROGRAMS`, `COPY`, `LABEL`,
//! `USER`, `ENTRYPOINT`. Everything else is refused, so that what is made here is what another builder makes.

use std::path::{Path, PathBuf};

use super::image::Image;

/// Why a Containerfile is not understood.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the Containerfile, `{instruction}`: {problem}")]
pub struct ContainerfileError {
    line: usize,
    instruction: String,
    problem: &'static str,
}

/// Where files come from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// What `${PROGRAMS}` stands for.
    pub programs: &'a Path,
    /// What every other path is relative to.
    pub context: &'a Path,
}

/// Reads a Containerfile: the image without a name, for this machine's architecture.
///
/// # Errors
/// If an instruction is not one of those above, or the first is not `FROM scratch`.
pub fn read(text: &str, sources: Sources<'_>) -> Result<Image, ContainerfileError> {
    let mut image = Image::default();
    let lines = text.lines().map(str::trim).enumerate();
    let mut based = false;
    for (index, instruction) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let refuse =
            |problem| ContainerfileError { line: index + 1, instruction: instruction.to_owned(), problem };
        let (word, rest) = instruction.split_once(' ').unwrap_or((instruction, ""));
        match (word, rest) {
            ("FROM", "scratch") if !based => based = true,
            _ if !based => return Err(refuse("the first instruction is FROM scratch")),
            ("ARG", "PROGRAMS") => {}
            ("COPY", paths) => {
                let (source, target) =
                    paths.split_once(' ').ok_or_else(|| refuse("write COPY SOURCE TARGET"))?;
                if !target.starts_with('/') || target.ends_with('/') || target.contains(' ') {
                    return Err(refuse("the target is one file, by its absolute path"));
                }
                let source = match source.strip_prefix("${PROGRAMS}/") {
                    Some(program) => sources.programs.join(program),
                    None => sources.context.join(source),
                };
                image.files.push((source, PathBuf::from(target)));
            }
            ("LABEL", label) => {
                let (key, value) =
                    label.split_once('=').ok_or_else(|| refuse("write LABEL KEY=\"VALUE\""))?;
                let value = serde_json::from_str(value).map_err(|_| refuse("the label's value is quoted"))?;
                image.labels.insert(key.to_owned(), value);
            }
            ("USER", user) if !user.is_empty() => image.user = Some(user.to_owned()),
            ("ENTRYPOINT", words) => {
                image.entrypoint =
                    serde_json::from_str(words).map_err(|_| refuse("write ENTRYPOINT [\"/PROGRAM\"]"))?;
            }
            _ => {
                return Err(refuse(
                    "not known here: FROM scratch, ARG PROGRAMS, COPY, LABEL, USER, ENTRYPOINT are",
                ));
            }
        }
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Sources, read};

    fn sources() -> Sources<'static> {
        Sources { programs: Path::new("/p"), context: Path::new("/c") }
    }

    #[test]
    fn what_other_builders_read_is_read() {
        let text = "# said\nFROM scratch\nARG PROGRAMS\n\nLABEL a.b=\"c d\"\nCOPY ${PROGRAMS}/x /usr/bin/x\n\
            COPY y/z /etc/z\nUSER 1:2\nENTRYPOINT [\"/usr/bin/x\", \"-v\"]\n";
        let image = read(text, sources()).unwrap();
        let file = |from: &str, to: &str| (PathBuf::from(from), PathBuf::from(to));
        assert_eq!(image.files, [file("/p/x", "/usr/bin/x"), file("/c/y/z", "/etc/z")]);
        assert_eq!(image.entrypoint, ["/usr/bin/x", "-v"]);
        assert_eq!(image.user.as_deref(), Some("1:2"));
        assert_eq!(image.labels["a.b"], "c d");
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_line() {
        for (text, says) in [
            ("FROM debian", "line 1 "),
            ("COPY a /b", "line 1 "),
            ("FROM scratch\nRUN true", "line 2 "),
            ("FROM scratch\nCOPY a b", "absolute path"),
            ("FROM scratch\nENTRYPOINT /x", "ENTRYPOINT ["),
            ("FROM scratch\nFROM scratch", "line 2 "),
        ] {
            let error = read(text, sources()).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn every_image_of_the_mesh_is_read() {
        for name in ["mesh-agent", "mesh-control", "meshctl"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/images");
            let text = std::fs::read_to_string(folder.join(format!("{name}.Containerfile"))).unwrap();
            let image = read(&text, sources()).unwrap();
            assert_eq!(image.entrypoint, [format!("/usr/bin/{name}")]);
            assert_eq!(image.labels["org.opencontainers.image.title"], name);
        }
    }
}
