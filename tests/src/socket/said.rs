//! `mesh-socket` as tests call it: run in a pod, its lines taken apart.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _},
    ops::Index,
    process::{Child, ChildStdout, Stdio},
    time::SystemTime,
};

use crate::{exposition::Scrape, trial::Trial};

/// What a run of `mesh-socket` said.
#[derive(Debug, Clone)]
pub struct Said {
    text: String,
    values: BTreeMap<String, Vec<String>>,
    /// When it was started.
    began: SystemTime,
}

impl Said {
    /// Takes the output of a program apart that was started then.
    #[must_use]
    pub fn parse(text: &str, began: SystemTime) -> Self {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            values.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        Self { text: text.to_owned(), values, began }
    }

    /// When the program was started: whatever it did came later.
    #[must_use]
    pub fn began(&self) -> SystemTime {
        self.began
    }

    /// Every value of a key, in order.
    #[must_use]
    pub fn all(&self, key: &str) -> &[String] {
        self.values.get(key).map_or(&[], Vec::as_slice)
    }

    /// The value of a key, if it was said once or more; the last.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.all(key).last().map(String::as_str)
    }

    /// Every key with this beginning, without it: each errno of `failed.ERRNO`.
    #[must_use]
    pub fn after(&self, beginning: &str) -> Vec<&str> {
        self.values.keys().filter_map(|key| key.strip_prefix(beginning)).collect()
    }

    /// A number.
    ///
    /// # Panics
    /// If the key was not said or is no number.
    #[must_use]
    pub fn number(&self, key: &str) -> u64 {
        self[key].parse().unwrap_or_else(|_| panic!("{key} is no number in:\n{}", self.text))
    }

    /// Everything.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Index<&str> for Said {
    type Output = str;

    /// The value of a key.
    ///
    /// # Panics
    /// If it was not said.
    fn index(&self, key: &str) -> &str {
        self.get(key).unwrap_or_else(|| panic!("{key} was not said in:\n{}", self.text))
    }
}

/// A run of `mesh-socket` that goes on until its standard input ends.
#[derive(Debug)]
pub struct Standing {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What it has said so far.
    pub said: Said,
}

impl Standing {
    /// Lets it come to its end; gives everything that it said.
    ///
    /// # Panics
    /// If it failed.
    #[must_use]
    pub fn finish(mut self) -> Said {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("its output is text");
        let status = self.child.wait().expect("it is our child");
        let said = Said::parse(&(self.said.text.clone() + &rest), self.said.began);
        assert!(status.success(), "mesh-socket: {status}:\n{}", said.text);
        said
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Trial {
    /// Runs `mesh-socket` in a pod (`namespace/name`) to its end.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn socket(&self, place: &str, arguments: &str) -> Said {
        let argv: Vec<&str> = ["mesh-socket"].into_iter().chain(arguments.split_whitespace()).collect();
        let began = SystemTime::now();
        let output = self.command(place, &argv).output().unwrap_or_else(|error| panic!("{place}: {error}"));
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{place}: mesh-socket {arguments}: {}\n{out}{err}", output.status);
        Said::parse(&out, began)
    }

    /// Starts `mesh-socket` in a pod and waits until it says `holding`.
    ///
    /// # Panics
    /// If it ends before that.
    #[must_use]
    pub fn standing_socket(&self, place: &str, arguments: &str) -> Standing {
        let argv: Vec<&str> = ["mesh-socket"].into_iter().chain(arguments.split_whitespace()).collect();
        let mut command = self.command(place, &argv);
        let began = SystemTime::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut standing = Standing { child, output, said: Said::parse("", began) };
        let mut text = String::new();
        while !text.ends_with("holding=true\n") {
            let read = standing.output.read_line(&mut text).expect("its output is text");
            assert!(read > 0, "{place}: mesh-socket {arguments} ended:\n{text}");
        }
        standing.said = Said::parse(&text, began);
        standing
    }

    /// A scrape of a node, as a scraper would read it.
    ///
    /// # Panics
    /// If it cannot be had or read.
    #[must_use]
    pub fn scrape(&self, node: &str) -> Scrape {
        let text = self.bed().metrics(node).unwrap_or_else(|error| panic!("metrics of {node}: {error}"));
        Scrape::parse(&text).unwrap_or_else(|error| panic!("{node}: {error}"))
    }
}
