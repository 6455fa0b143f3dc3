//! The state machine of one type, without a network.

use std::sync::Arc;

use mesh_api::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Status};

use super::super::{
    store::Store,
    subscription::{Event, Subscription},
};
use crate::build::{Changes, Encoded, ResourceKey, ResourceKind, Scope};

fn put(store: &Store, name: &str, version: &str) {
    let encoded = Encoded {
        version: version.to_owned(),
        resource: prost_types::Any { type_url: String::new(), value: vec![0; 100] },
        origins: [].into(),
        addresses: [].into(),
    };
    let updated = vec![(Scope::Shared, key(name), Arc::new(encoded))];
    store.apply(&Changes { updated, ..Changes::default() });
}

fn remove(store: &Store, name: &str) {
    store.apply(&Changes { removed: vec![(Scope::Shared, key(name))], ..Changes::default() });
}

fn key(name: &str) -> ResourceKey {
    ResourceKey::new(ResourceKind::Service, name)
}

fn subscription(store: &Store) -> Subscription {
    Subscription::new(ResourceKind::Service, &DeltaDiscoveryRequest::default(), &store.view("n")).unwrap()
}

fn next(subscription: &mut Subscription, store: &Store) -> Option<DeltaDiscoveryResponse> {
    let view = store.view("n");
    subscription.mark_all(&view);
    subscription.next_response(&view, |_, _, _| false)
}

fn names(response: Option<DeltaDiscoveryResponse>) -> (Vec<String>, Vec<String>, String) {
    let response = response.expect("a response");
    let updated =
        response.resources.into_iter().map(|resource| format!("{}@{}", resource.name, resource.version));
    (updated.collect(), response.removed_resources, response.nonce)
}

fn answer(subscription: &mut Subscription, store: &Store, nonce: &str, error: Option<&str>) -> Vec<Event> {
    let request = DeltaDiscoveryRequest {
        response_nonce: nonce.to_owned(),
        error_detail: error.map(|message| Status { code: 3, message: message.to_owned() }),
        ..DeltaDiscoveryRequest::default()
    };
    subscription.on_request(&request, &store.view("n")).unwrap()
}

#[test]
fn one_response_is_under_way_and_what_follows_is_gathered() {
    let store = Store::default();
    put(&store, "a/x", "1");
    let mut subscription = subscription(&store);
    let (updated, _, nonce) = names(next(&mut subscription, &store));
    assert_eq!(updated, ["a/x@1"]);
    for version in ["2", "3", "4"] {
        put(&store, "a/x", version);
        assert!(next(&mut subscription, &store).is_none());
    }
    assert!(answer(&mut subscription, &store, "stale", None).is_empty());
    answer(&mut subscription, &store, &nonce, None);
    assert_eq!(names(next(&mut subscription, &store)).0, ["a/x@4"]);
}

#[test]
fn a_refusal_that_names_no_resource_is_narrowed_down_to_one() {
    let store = Store::default();
    for name in ["a/x", "a/y", "a/z"] {
        put(&store, name, "1");
    }
    let mut subscription = subscription(&store);
    let mut refused = Vec::new();
    let mut rounds = 0;
    while let Some(response) = next(&mut subscription, &store) {
        rounds += 1;
        assert!(rounds < 10);
        let bad = response.resources.iter().any(|resource| resource.name == "a/y");
        let nonce = response.nonce;
        for event in answer(&mut subscription, &store, &nonce, bad.then_some("no")) {
            if let Event::Nacked(key, ..) = event {
                refused.push(key.name.to_string());
            }
        }
    }
    assert_eq!(refused, ["a/y"]);
    put(&store, "a/y", "2");
    assert_eq!(names(next(&mut subscription, &store)).0, ["a/y@2"]);
}

#[test]
fn a_refused_resource_is_taken_back_when_it_is_no_more() {
    let store = Store::default();
    put(&store, "a/x", "1");
    let mut subscription = subscription(&store);
    let (_, _, nonce) = names(next(&mut subscription, &store));
    answer(&mut subscription, &store, &nonce, None);
    put(&store, "a/x", "2");
    let (_, _, nonce) = names(next(&mut subscription, &store));
    answer(&mut subscription, &store, &nonce, Some("a/x: no"));
    assert!(next(&mut subscription, &store).is_none());
    // The agent still has version 1.
    remove(&store, "a/x");
    assert_eq!(names(next(&mut subscription, &store)).1, ["a/x"]);
}

#[test]
fn the_longest_name_in_the_error_is_the_one_meant() {
    let store = Store::default();
    put(&store, "a/x", "1");
    put(&store, "a/x/external", "1");
    let mut subscription = subscription(&store);
    let (_, _, nonce) = names(next(&mut subscription, &store));
    let events = answer(&mut subscription, &store, &nonce, Some("Service a/x/external: no"));
    assert!(matches!(&events[..], [Event::Nacked(key, ..)] if &*key.name == "a/x/external"));
}

#[test]
fn many_changes_behind_everything_is_compared() {
    let store = Store::default();
    put(&store, "a/x", "1");
    let seen = store.view("n").sequence();
    put(&store, "a/x", "2");
    assert!(
        matches!(store.view("n").dirty_since(seen), super::super::store::Dirty::Keys(keys) if keys.len() == 1)
    );
    for version in 0..300 {
        put(&store, "a/x", &version.to_string());
    }
    assert_eq!(store.view("n").dirty_since(seen), super::super::store::Dirty::All);
}

#[test]
fn what_is_held_back_waits_and_the_first_answer_with_it() {
    let store = Store::default();
    put(&store, "a/x", "1");
    put(&store, "a/y", "1");
    let mut subscription = subscription(&store);
    let next = |subscription: &mut Subscription, held: &[&str]| {
        subscription.next_response(&store.view("n"), |name, _, _| held.contains(&name))
    };
    // An empty answer would say that there is nothing.
    assert!(next(&mut subscription, &["a/x", "a/y"]).is_none());
    let (updated, _, nonce) = names(next(&mut subscription, &["a/x"]));
    assert_eq!(updated, ["a/y@1"]);
    answer(&mut subscription, &store, &nonce, None);
    assert!(next(&mut subscription, &["a/x"]).is_none());
    assert_eq!(names(next(&mut subscription, &[])).0, ["a/x@1"]);
}

#[test]
fn what_is_not_answered_counts_from_its_first_change() {
    let store = Store::default();
    put(&store, "a/x", "1");
    let mut subscription = subscription(&store);
    let first = store.view("n").sequence();
    assert_eq!(subscription.unsettled_since(), Some(first));
    let (_, _, nonce) = names(next(&mut subscription, &store));
    put(&store, "a/x", "2");
    assert!(next(&mut subscription, &store).is_none(), "one is under way");
    assert_eq!(subscription.unsettled_since(), Some(first));
    answer(&mut subscription, &store, &nonce, None);
    assert_eq!(subscription.unsettled_since(), Some(first + 1));
    // What is refused and to be sent again is as old as before.
    put(&store, "a/y", "1");
    let (_, _, nonce) = names(next(&mut subscription, &store));
    answer(&mut subscription, &store, &nonce, Some("no"));
    assert_eq!(subscription.unsettled_since(), Some(first + 1));
}
