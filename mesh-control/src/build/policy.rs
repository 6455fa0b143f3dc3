//! From policy objects to the rules of each pod.
//!
//! [`read`] judges an object on its own and gives a [`Draft`]: valid rules, and for invalid ones
//! what fails closed ([`rule`], [`entry`], [`requests`]). [`peers`] and [`mod@resolve`] turn the drafts' selectors into groups, endpoints
//! and ports with the objects around them, [`references`] reports names that lead nowhere. [`order`] puts the rules of one pod in the order in
//! which the first match decides, [`assemble`] makes a pod's resource of them, [`classes`] once for all pods of
//! a class. [`conflict`] finds policies of equal rank that contradict each other, [`shadow`] such as never
//! decide, by comparing rules ([`cover`]).

mod assemble;
mod classes;
mod conflict;
mod cover;
mod dns;
mod entry;
mod identities;
mod order;
mod peers;
mod read;
mod references;
mod requests;
mod resolve;
mod rule;
mod shadow;
mod spiffe;

pub(super) use assemble::{Class, Directions, directions};
pub(super) use classes::Classes;
pub(super) use conflict::conflicts;
pub(super) use dns::{DnsRule, dns_rule};
pub(super) use read::{Draft, read_access_policy, read_cluster_access_policy};
pub(super) use resolve::{Policy, World, resolve};
pub(super) use shadow::{Shades, shades, shadowed};
