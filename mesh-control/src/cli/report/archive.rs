//! An archive in the `ustar` form of POSIX.1: plain files, their time and owner left out.

use std::io::{self, Write};

/// Everything comes in pieces of this many bytes.
const BLOCK: usize = 512;
/// The longest name that the form has room for here.
const NAME: usize = 100;

/// An archive that is being written.
pub(super) struct Archive<W: Write> {
    to: W,
}

impl<W: Write> Archive<W> {
    pub(super) const fn new(to: W) -> Self {
        Self { to }
    }

    /// Adds a file. A name that is too long is cut at its front, where folders are.
    pub(super) fn add(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.to.write_all(&header(name, content.len())?)?;
        self.to.write_all(content)?;
        let rest = content.len().next_multiple_of(BLOCK) - content.len();
        self.to.write_all(&[0; BLOCK][..rest])
    }

    /// Writes the end.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.to.write_all(&[0; 2 * BLOCK])?;
        self.to.flush()
    }
}

fn header(name: &str, length: usize) -> io::Result<[u8; BLOCK]> {
    // Eleven octal digits.
    if length >= 1 << 33 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{name} has {length} bytes")));
    }
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    let mut short = name.as_bytes();
    if short.len() > NAME {
        short = &short[short.len() - NAME..];
    }
    put(0, short);
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{length:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    // The sum is made with blanks in its own place.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::Archive;

    #[test]
    fn tar_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let mut archive = Archive::new(std::fs::File::create(&path).unwrap());
        archive.add("report/one.json", b"{}\n").unwrap();
        archive.add("report/full.log", &[b'x'; 1024]).unwrap();
        archive.add("report/empty", b"").unwrap();
        archive.add(&format!("{}/end.log", "n".repeat(200)), b"long").unwrap();
        archive.finish().unwrap();
        let told = Command::new("tar").arg("-xvf").arg(&path).arg("-C").arg(folder.path()).output().unwrap();
        assert!(told.status.success(), "{told:?}");
        let read = |name: &str| std::fs::read(folder.path().join("report").join(name)).unwrap();
        assert_eq!(
            (read("one.json").as_slice(), read("full.log").len(), read("empty").len()),
            (&b"{}\n"[..], 1024, 0)
        );
        assert!(String::from_utf8_lossy(&told.stdout).contains("nnn/end.log"));
    }
}
