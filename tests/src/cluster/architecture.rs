//! What processors an image is for, and whether a program is for them.

use std::{path::Path, str::FromStr};

use super::Error;

/// A processor's architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// x86_64.
    Amd64,
    /// aarch64.
    Arm64,
}

impl Default for Architecture {
    /// This machine's.
    fn default() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 }
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "amd64" => Ok(Self::Amd64),
            "arm64" => Ok(Self::Arm64),
            _ => Err("amd64 and arm64 are known".to_owned()),
        }
    }
}

/// `e_machine` of the two (ELF gABI, chapter 4), and the type of the program header that names a loader.
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;
const PT_INTERP: u32 = 3;

impl Architecture {
    /// By the name that images have for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Checks that a program can run in an image: for this architecture, and, without a loader and libraries in the
    /// image, linked statically.
    ///
    /// # Errors
    /// If it is for another one, needs a loader that is not there, or is no program at all.
    pub fn admits(self, path: &Path, program: &[u8], libraries: bool) -> Result<(), Error> {
        let refuse = |problem| Error::Program { path: path.to_owned(), problem };
        let (machine, kinds) =
            headers(program).ok_or_else(|| refuse("is no 64-bit little-endian ELF program"))?;
        let wanted = match self {
            Self::Amd64 => EM_X86_64,
            Self::Arm64 => EM_AARCH64,
        };
        if machine != wanted {
            return Err(refuse("is for another architecture"));
        }
        if kinds.contains(&PT_INTERP) && !libraries {
            return Err(refuse("is linked dynamically, and the image has no libraries"));
        }
        Ok(())
    }
}

/// The machine of an ELF file, and the types of its program headers.
fn headers(file: &[u8]) -> Option<(u16, Vec<u32>)> {
    let half = |at: usize| Some(u16::from_le_bytes(file.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?));
    // 64 bits, least significant byte first.
    if file.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let offset = usize::try_from(u64::from_le_bytes(file.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
    let kinds = (0..count).map(|index| word(offset.checked_add(index * size)?)).collect::<Option<_>>()?;
    Some((half(18)?, kinds))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Architecture;

    #[test]
    fn a_program_is_static_and_of_the_right_architecture() {
        let path = Path::new("x");
        let mut program = vec![0; 64 + 56];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (program[18], program[32], program[54], program[56]) = (62, 64, 56, 1);
        Architecture::Amd64.admits(path, &program, false).unwrap();
        Architecture::Arm64.admits(path, &program, false).unwrap_err();
        program[64] = 3;
        let said = Architecture::Amd64.admits(path, &program, false).unwrap_err().to_string();
        assert!(said.contains("dynamically"), "{said}");
        Architecture::Amd64.admits(path, &program, true).unwrap();
        program.truncate(60);
        Architecture::Amd64.admits(path, &program, true).unwrap_err();
        Architecture::Amd64.admits(path, b"#!/bin/sh", true).unwrap_err();
    }
}
