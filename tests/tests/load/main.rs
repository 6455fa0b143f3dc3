//! Numbers: many connections at once, and a listener that cannot keep up.

mod backlog;
mod crowd;
