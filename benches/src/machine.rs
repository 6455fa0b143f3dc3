//! What the figures were measured on and with; a figure without that means nothing.

use std::{fmt, fs, thread};

use serde::Serialize;

/// Machine and build.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Release of the kernel.
    pub kernel: String,
    /// Name of the processor.
    pub processor: String,
    /// How many of them this process may use.
    pub processors: usize,
    /// Build profile of this program, which is also that of the agent beside it.
    pub profile: &'static str,
    /// Runnable processes and load over a minute when the measurement began (`/proc/loadavg`).
    pub load: String,
}

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn here() -> Self {
        let first_line = |path: &str| {
            fs::read_to_string(path)
                .ok()
                .and_then(|text| text.lines().next().map(str::to_owned))
                .unwrap_or_default()
        };
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            kernel: first_line("/proc/sys/kernel/osrelease"),
            processor: model
                .map(|(_, name)| name.trim().to_owned())
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            processors: thread::available_parallelism().map_or(1, usize::from),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
            load: first_line("/proc/loadavg"),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, processor, processors, profile, load } = self;
        write!(f, "kernel {kernel}, {processors} x {processor}, {profile} build, load at the start {load}")
    }
}
