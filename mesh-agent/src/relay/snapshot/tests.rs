use proptest::prelude::*;

use super::file::{decode, encode, read, write};
use crate::relay::resource::Kind;

fn bytes() -> Vec<u8> {
    encode("n1", [(Kind::Service, "bank/vault", "7", &b"body"[..])].into_iter())
}

#[test]
fn a_snapshot_is_read_as_it_was_written() {
    let records = decode(&bytes(), "n1").unwrap();
    let record = &records[0];
    assert_eq!((record.kind, &*record.name, &*record.version), (Kind::Service, "bank/vault", "7"));
    assert_eq!(record.body, b"body");
}

#[test]
fn another_version_and_another_node_are_refused_by_name() {
    let mut other = bytes();
    other[8] = 9;
    assert_eq!(decode(&other, "n1").unwrap_err(), "it has version 9; this agent knows 1");
    assert_eq!(decode(&bytes(), "n2").unwrap_err(), "it is of node `n1`");
    assert_eq!(decode(b"", "n1").unwrap_err(), "it is no snapshot");
}

#[test]
fn a_write_takes_the_place_of_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    assert!(read(&path, "n1").unwrap().is_none());
    // What a run that was killed left.
    std::fs::write(path.with_extension("new"), b"half").unwrap();
    write(&path, &encode("n1", std::iter::empty())).unwrap();
    write(&path, &bytes()).unwrap();
    assert_eq!(read(&path, "n1").unwrap().unwrap().0.len(), 1);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

proptest! {
    #[test]
    fn no_damage_goes_unnoticed(at in 0..bytes().len(), flip in 1..=255_u8, cut in 0..bytes().len()) {
        let mut damaged = bytes();
        damaged[at] ^= flip;
        prop_assert!(decode(&damaged, "n1").is_err());
        prop_assert!(decode(&bytes()[..cut], "n1").is_err());
    }
}
