//! Proven identities that are no pod's of the address they come from.
//!
//! A name that mTLS proves is a service account's; which labels its bearer has is known only where
//! the tunnel's address is that of a pod with that account. So who comes from elsewhere (through
//! a gateway, or before discovery knows the pod) is in a group of its identity alone, and only
//! entries that name nothing but identities list that group (SEMANTICS 2.5).

use std::collections::BTreeSet;

use mesh_api::GroupId;

use super::{entry::Matcher, resolve::World};

/// The groups of the identities that an entry means by name. `own` is the policy's namespace.
pub(super) fn proven_alone(matcher: &Matcher, own: Option<&str>, world: &World<'_>) -> Vec<u64> {
    if matcher.pods.is_some() || matcher.namespace_selector.is_some() {
        return Vec::new();
    }
    let known = world.service_accounts.iter().map(|name| (name.namespace.as_str(), name.name.as_str()));
    let named = exactly_named(matcher, own, world.trust_domain);
    let meant: BTreeSet<(&str, &str)> = known
        .chain(named)
        .filter(|(namespace, account)| matcher.means_identity(namespace, account, own, world.trust_domain))
        .collect();
    meant.into_iter().map(|(namespace, account)| GroupId::of_identity(namespace, account).get()).collect()
}

/// The identities that an entry writes in full: nobody else needs to have named them yet.
fn exactly_named<'a>(
    matcher: &'a Matcher,
    own: Option<&'a str>,
    trust_domain: &'a str,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let listed = matcher.namespaces.iter().flatten().map(String::as_str);
    let namespaces = listed.chain(own.filter(|_| matcher.namespaces.is_none()));
    let accounts = matcher.service_accounts.iter().flatten();
    let pairs = namespaces
        .flat_map(move |namespace| accounts.clone().map(move |account| (namespace, account.as_str())));
    let patterns = matcher.spiffe.iter().flatten();
    pairs.chain(patterns.filter_map(move |pattern| pattern.exact(trust_domain)))
}

impl Matcher {
    /// Whether the parts that name identities mean this one.
    fn means_identity(&self, namespace: &str, account: &str, own: Option<&str>, trust_domain: &str) -> bool {
        let listed = |list: &Option<Vec<String>>, value: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|item| item == value))
        };
        let own_only = self.namespaces.is_none() && self.service_accounts.is_some();
        (!own_only || own.is_none_or(|own| own == namespace))
            && listed(&self.service_accounts, account)
            && listed(&self.namespaces, namespace)
            && self.spiffe.as_ref().is_none_or(|patterns| {
                patterns.iter().any(|pattern| pattern.matches(trust_domain, namespace, account))
            })
    }
}
