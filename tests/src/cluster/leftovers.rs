//! Removing everything of the cluster, however its end came. It is found by name alone.

use std::{fs, io as std_io, path::Path, thread, time::Duration};

use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
};

use super::{Error, error::io, machine, network, place::Place};

/// How often a file system that is still in use is tried; the last processes are on their way out.
const UNMOUNT_TRIES: u32 = 100;

/// Removes all of it: processes first, then what they held, then what is mounted for them.
pub(super) fn remove(place: &Place) -> Result<(), Error> {
    machine::remove_cgroups()?;
    network::remove()?;
    let run = Place::run();
    // More than one, if one was killed at the wrong moment.
    while is_mount(&run)? {
        unmount(&run)?;
    }
    absent(fs::remove_dir_all(&run), &run)?;
    let kubeconfig = place.kubeconfig();
    absent(fs::remove_file(&kubeconfig), &kubeconfig)
}

fn unmount(path: &Path) -> Result<(), Error> {
    for _ in 0..UNMOUNT_TRIES {
        match umount2(path, MntFlags::empty()) {
            Err(Errno::EBUSY) => thread::sleep(Duration::from_millis(20)),
            outcome => return outcome.map_err(io("unmount", path)),
        }
    }
    // Somebody looks at a log, say: it goes when they do.
    umount2(path, MntFlags::MNT_DETACH).map_err(io("unmount", path))
}

fn is_mount(path: &Path) -> Result<bool, Error> {
    let table = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(table).map_err(io("read", table))?;
    Ok(text.lines().any(|line| line.split(' ').nth(4).is_some_and(|target| Path::new(target) == path)))
}

fn absent(outcome: std_io::Result<()>, path: &Path) -> Result<(), Error> {
    match outcome {
        Err(error) if error.kind() == std_io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(io("remove", path)),
    }
}
