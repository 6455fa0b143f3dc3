//! What the mesh costs: the same manifests brought up with the mesh and without, both up at once, and measured in turn
//! by the same program; and what it takes, or bears, where there is nothing to compare with.
//!
//! | room | what happens there |
//! |---|---|
//! | [`compare`] | the mesh against no mesh, within a node and between two |
//! | [`fairness`] | a fast client beside slow readers, through the same tunnel |
//! | [`abuse`] | every kind of bad peer at once |
//! | [`memory`] | the agent's memory on an idle node |
//! | [`traffic`] | the program in the pods: bulk, request/response, connects, slow readers, and the server for them |
//! | [`arms`] | a testbed of client and server, and one measurement in it |
//! | [`setting`] | where the pods are, and what is to be shown there |
//! | [`schedule`] | in which order the arms are measured |
//! | [`statistics`] | paired ratios, their median and its bootstrap interval |
//! | [`verdict`], [`goal`] | what the figures show, and what they do not |
//! | [`report`] | the table, and the same as JSON |
//! | [`process`], [`maps`] | what a process takes, by `/proc`, and what the kernel keeps for it |

pub mod abuse;
pub mod arms;
pub mod compare;
pub mod fairness;
pub mod goal;
pub mod machine;
pub mod maps;
pub mod memory;
pub mod process;
pub mod report;
pub mod schedule;
pub mod setting;
pub mod statistics;
pub mod traffic;
pub mod verdict;
