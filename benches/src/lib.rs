//! What the mesh costs between two pods of a node: the same manifests brought up twice, once with the mesh and once
//! without, both up at once, and measured in turn by the same program.
//!
//! | room | what happens there |
//! |---|---|
//! | [`traffic`] | the program in the pods: bulk, request/response and connects, and the server for them |
//! | [`arms`] | the two testbeds, and one measurement in either |
//! | [`schedule`] | in which order the arms are measured |
//! | [`statistics`] | paired ratios, their median and its bootstrap interval |
//! | [`verdict`] | what the intervals show, and what they do not |
//! | [`report`] | the table, and the same as JSON |

pub mod arms;
pub mod machine;
pub mod report;
pub mod schedule;
pub mod statistics;
pub mod traffic;
pub mod verdict;
