//! What was issued and has not expired: the last certificate of each identity on each node.
//!
//! It is kept in a file of lines, one appended for each certificate and all written anew when
//! there are many more lines than certificates, so that a restart forgets none. Where another
//! process may have signed in between, such a file would say little: there is none.

use std::{
    collections::BTreeMap, fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{
    files::{self, FileError},
    time::Timestamp,
};

/// The file is written anew when it has this many lines more than twice what is live.
const SLACK: usize = 1000;

/// A certificate that was issued, as it is reported too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issued {
    /// The node whose agent holds it.
    pub node: String,
    /// Its SPIFFE ID.
    pub identity: String,
    /// The pod that it was asked for; empty for the node's own.
    pub pod_uid: String,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
    /// The issuer's subject key identifier, in hexadecimal.
    pub issuer_key_id: String,
    /// Which root is above it: counts up by one with each.
    pub generation: u64,
}

/// The certificates by node and identity.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Nothing where it is kept in memory alone.
    path: Option<PathBuf>,
    live: BTreeMap<(String, String), Entry>,
    lines: usize,
}

#[derive(Debug)]
struct Entry {
    last: Issued,
    /// When the last of all that were issued to it expires.
    until: Timestamp,
}

impl Ledger {
    /// One that begins with this process and ends with it.
    pub(super) fn in_memory() -> Self {
        Self { path: None, live: BTreeMap::new(), lines: 0 }
    }

    /// Reads the file. A line that a crash cut short is passed over.
    pub(super) fn open(path: PathBuf, now: Timestamp) -> Result<Self, FileError> {
        let text = files::read(&path)?.unwrap_or_default();
        let mut ledger = Self { path: Some(path), live: BTreeMap::new(), lines: 0 };
        for issued in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            ledger.enter(issued);
        }
        ledger.forget_expired(now);
        ledger.write_anew()?;
        Ok(ledger)
    }

    /// Writes down a certificate, before anybody is given it.
    pub(super) fn record(&mut self, issued: Issued) -> Result<(), FileError> {
        let Some(path) = self.path.clone() else {
            self.enter(issued);
            return Ok(());
        };
        if self.lines > 2 * self.live.len() + SLACK {
            self.write_anew()?;
        }
        let line = line(&issued);
        let failed = |action| FileError::new(&path, action);
        let mut file =
            OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(failed("open"))?;
        // A certificate that is forgotten could not be revoked.
        if let Err(error) = file.write_all(line.as_bytes()).and_then(|()| file.sync_data()) {
            // Half a line may be there; the next time all is written anew.
            self.lines = usize::MAX;
            return Err(failed("append to")(error));
        }
        self.lines += 1;
        self.enter(issued);
        Ok(())
    }

    fn enter(&mut self, issued: Issued) {
        let key = (issued.node.clone(), issued.identity.clone());
        let last = self.live.get(&key).map(|entry| entry.until).unwrap_or_default();
        let until = last.max(issued.expires);
        self.live.insert(key, Entry { last: issued, until });
    }

    fn write_anew(&mut self) -> Result<(), FileError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut text = String::new();
        for Entry { last, until } in self.live.values() {
            if *until > last.expires {
                text += &line(&Issued { expires: *until, ..last.clone() });
            }
            text += &line(last);
        }
        files::write(path, text.as_bytes(), None)?;
        self.lines = self.live.len();
        Ok(())
    }

    /// Forgets what has expired.
    pub(super) fn forget_expired(&mut self, now: Timestamp) {
        self.live.retain(|_, entry| now <= entry.until);
    }

    /// The last certificate of each identity on each node.
    pub(super) fn live(&self) -> impl Iterator<Item = &Issued> {
        self.live.values().map(|entry| &entry.last)
    }

    /// When the last certificate of a node expires; zero where it has none.
    pub(super) fn last_expiry(&self, node: &str) -> Timestamp {
        let of_node = self.live.range((node.to_owned(), String::new())..);
        let of_node = of_node.take_while(|((of, _), _)| of == node);
        of_node.map(|(_, entry)| entry.until).max().unwrap_or_default()
    }

    /// Whether an identity has a certificate on a node.
    pub(super) fn has(&self, node: &str, identity: &str) -> bool {
        self.live.contains_key(&(node.to_owned(), identity.to_owned()))
    }

    /// Whether a node holds any.
    pub(super) fn has_any(&self, node: &str) -> bool {
        self.last_expiry(node) > Timestamp::default()
    }
}

fn line(issued: &Issued) -> String {
    // Plain fields: nothing in them can fail to be written.
    serde_json::to_string(issued).map(|line| line + "\n").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, time::Duration};

    use super::{Issued, Ledger};
    use crate::ca::Timestamp;

    fn issued(node: &str, identity: &str, expires: Timestamp) -> Issued {
        Issued {
            node: node.to_owned(),
            identity: identity.to_owned(),
            pod_uid: "u".to_owned(),
            serial: "00".to_owned(),
            issued: Timestamp::from_unix(0),
            expires,
            issuer_key_id: "ab".to_owned(),
            generation: 1,
        }
    }

    #[test]
    fn a_restart_forgets_nothing_that_is_live() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("issued");
        let now = Timestamp::from_unix(1000);
        let later = |seconds| now.after(Duration::from_secs(seconds));
        let mut ledger = Ledger::open(path.clone(), now).unwrap();
        for (node, identity, seconds) in [("a", "x", 50), ("a", "x", 20), ("a", "y", 30), ("b", "x", 5)] {
            ledger.record(issued(node, identity, later(seconds))).unwrap();
        }
        assert_eq!(ledger.last_expiry("a"), later(50), "the older one may still be in use");
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"node\":").unwrap();
        let ledger = Ledger::open(path.clone(), later(10)).unwrap();
        assert_eq!(ledger.last_expiry("a"), later(50));
        let ledger = Ledger::open(path, later(10)).unwrap();
        assert_eq!(ledger.last_expiry("a"), later(50));
        let live: Vec<_> =
            ledger.live().map(|issued| (issued.node.as_str(), issued.identity.as_str())).collect();
        assert_eq!(live, [("a", "x"), ("a", "y")]);
        assert!(!ledger.has_any("b"));
    }
}
