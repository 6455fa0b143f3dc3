//! Lists, watches and what comes between, against what a reader of the API server would see.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{super::event::see, Kind, State, Want};
use crate::{
    objects::{ObjectName, ObjectRef, RouteKind},
    source::Snapshot,
};

fn object(kind: Kind, name: &str, more: Value) -> super::Seen {
    let mut object = json!({"metadata": {"name": name, "namespace": "shop", "generation": 1}});
    if matches!(kind, Kind::Definition | Kind::Namespace | Kind::Node | Kind::MeshConfig) {
        object["metadata"].as_object_mut().unwrap().remove("namespace");
    }
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    see(kind, object.as_object().unwrap().clone()).unwrap()
}

fn labelled(kind: Kind, name: &str, label: &str) -> super::Seen {
    let metadata = json!({"name": name, "namespace": "shop", "labels": {"l": label}});
    object(kind, name, json!({"metadata": metadata}))
}

fn definition(kind: Kind) -> super::Seen {
    object(Kind::Definition, &kind.definition().unwrap(), json!({}))
}

/// Every kind listed and empty, our definitions there.
fn listed() -> State {
    let mut state = State::default();
    state.begin(Kind::Definition);
    for kind in [Kind::MeshConfig, Kind::AccessPolicy, Kind::ClusterAccessPolicy] {
        state.there(Kind::Definition, definition(kind));
    }
    Kind::ALL.into_iter().for_each(|kind| {
        if kind != Kind::Definition {
            state.begin(kind);
        }
        state.complete(kind);
    });
    state
}

fn take(state: &mut State) -> Snapshot {
    state.take().unwrap().expect("news")
}

#[test]
fn nothing_is_handed_over_before_every_kind_was_listed() {
    let mut state = State::default();
    let (last, others) = Kind::ALL.split_last().unwrap();
    for kind in others {
        state.nothing(*kind);
        assert!(state.take().unwrap().is_none(), "{kind:?}");
    }
    state.nothing(*last);
    assert!(take(&mut state).objects.slices_complete);
    assert!(state.take().unwrap().is_none(), "once");
}

#[test]
fn while_a_kind_is_listed_again_its_objects_stay() {
    let mut state = listed();
    state.there(Kind::Pod, labelled(Kind::Pod, "a", "1"));
    state.there(Kind::Pod, labelled(Kind::Pod, "b", "1"));
    let before = take(&mut state).objects.pods;
    state.begin(Kind::Pod);
    state.there(Kind::Pod, labelled(Kind::Pod, "b", "1"));
    assert!(state.take().unwrap().is_none());
    // Begun once more, as after a break in the middle.
    state.begin(Kind::Pod);
    state.there(Kind::Pod, labelled(Kind::Pod, "b", "1"));
    state.complete(Kind::Pod);
    let after = take(&mut state).objects.pods;
    assert_eq!(after.keys().map(ToString::to_string).collect::<Vec<_>>(), ["shop/b"]);
    let name = ObjectName::new("shop", "b");
    assert!(Arc::ptr_eq(&before[&name], &after[&name]), "an equal object is the same");
    state.begin(Kind::Pod);
    state.there(Kind::Pod, labelled(Kind::Pod, "b", "1"));
    state.complete(Kind::Pod);
    assert!(state.take().unwrap().is_none(), "a list that brings nothing new changes nothing");
}

#[test]
fn one_kind_that_fails_holds_up_no_other_and_is_told() {
    let mut state = listed();
    take(&mut state);
    for kind in [Kind::Pod, Kind::Node] {
        state.failing(kind, "connection refused".to_owned());
    }
    let error = state.take().unwrap_err().to_string();
    assert!(error.contains("Node, Pod: connection refused"), "{error}");
    state.there(Kind::Service, labelled(Kind::Service, "web", "1"));
    let snapshot = take(&mut state);
    assert_eq!(snapshot.objects.services.len(), 1);
    assert!(snapshot.trouble.unwrap().contains("connection refused"));
    state.well(Kind::Pod);
    state.well(Kind::Node);
    assert!(state.take().unwrap().is_none());
}

#[test]
fn an_object_that_cannot_be_read_is_told_and_stays_what_it_was() {
    let mut state = listed();
    let broken = |name| object(Kind::Pod, name, json!({"spec": {"containers": 3}}));
    state.there(Kind::Pod, labelled(Kind::Pod, "a", "1"));
    state.there(Kind::Pod, broken("a"));
    state.there(Kind::Pod, broken("b"));
    state.there(Kind::Pod, labelled(Kind::Pod, "c", "1"));
    let snapshot = take(&mut state);
    let names: Vec<_> = snapshot.objects.pods.keys().map(|name| name.name.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
    let message = |name: &str| {
        let of = |(reference, _): &(&ObjectRef, _)| reference.name.name == name;
        snapshot.problems.iter().find(of).unwrap().1[0].message.clone()
    };
    assert!(message("a").contains("spec.containers") && message("a").contains("as last read"));
    assert!(message("b").contains("no effect"));
    state.there(Kind::Pod, labelled(Kind::Pod, "a", "1"));
    state.gone(Kind::Pod, &ObjectName::new("shop", "b"));
    assert!(take(&mut state).problems.is_empty());
}

#[test]
fn a_kind_is_followed_when_its_definition_comes_and_no_longer_when_it_goes() {
    let mut state = State::default();
    assert_eq!(state.want(Kind::Definition), Want::All);
    assert_eq!(state.want(Kind::Pod), Want::Unknown);
    state.nothing(Kind::Definition);
    assert_eq!(state.want(Kind::Pod), Want::All);
    assert_eq!(state.want(Kind::AccessPolicy), Want::Nothing);
    state.there(Kind::Definition, object(Kind::Definition, "widgets.example.com", json!({})));
    state.there(Kind::Definition, definition(Kind::AccessPolicy));
    assert_eq!(state.want(Kind::AccessPolicy), Want::All);
    state.gone(Kind::Definition, &ObjectName::cluster("accesspolicies.mesh.internal"));
    assert_eq!(state.want(Kind::AccessPolicy), Want::Nothing);
}

#[test]
fn of_secrets_the_one_that_the_configuration_names_is_followed() {
    let mut state = State::default();
    state.begin(Kind::Definition);
    state.there(Kind::Definition, definition(Kind::MeshConfig));
    state.complete(Kind::Definition);
    assert_eq!(state.want(Kind::CaSecret), Want::Unknown);
    state.begin(Kind::MeshConfig);
    let spec = json!({"ca": {"secretRef": {"name": "ca", "namespace": "mesh-system"}}});
    state.there(Kind::MeshConfig, object(Kind::MeshConfig, "default", json!({"spec": spec})));
    assert_eq!(state.want(Kind::CaSecret), Want::Unknown);
    state.complete(Kind::MeshConfig);
    assert_eq!(state.want(Kind::CaSecret), Want::One(ObjectName::new("mesh-system", "ca")));
    state.gone(Kind::MeshConfig, &ObjectName::cluster("default"));
    assert_eq!(state.want(Kind::CaSecret), Want::Nothing);
}

#[test]
fn a_secret_that_may_not_be_read_does_not_hold_up_the_mesh() {
    let mut state = State::default();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::CaSecret) {
        state.nothing(kind);
        state.refused(kind);
    }
    assert!(state.take().unwrap().is_none());
    state.refused(Kind::CaSecret);
    take(&mut state);
}

#[test]
fn what_a_route_says_of_its_parents_is_no_change_of_the_model() {
    let mut state = listed();
    let kind = Kind::Route(RouteKind::Http);
    let route = |status: Value| object(kind, "r", json!({"spec": {}, "status": status}));
    state.there(kind, route(json!({})));
    assert_eq!(take(&mut state).objects.routes.len(), 1);
    state.take_news();
    state.there(kind, route(json!({"parents": [{"controllerName": "somebody.else/x"}]})));
    assert_eq!(state.take_news(), super::News { model: false, status: true });
    assert!(state.take().unwrap().is_none());
    state.gone(kind, &ObjectName::new("shop", "r"));
    assert!(take(&mut state).objects.routes.is_empty() && state.parents().is_empty());
}

#[test]
fn a_change_of_status_alone_is_no_change_of_the_model() {
    let mut state = listed();
    let policy = |more| object(Kind::AccessPolicy, "p", more);
    state.there(Kind::AccessPolicy, policy(json!({"spec": {"selector": {}}})));
    take(&mut state);
    assert_eq!(state.take_news(), super::News { model: true, status: true });
    let condition = json!({"type": "Accepted", "status": "True", "reason": "Accepted", "message": "m",
        "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = json!({"spec": {"selector": {}}, "status": {"conditions": [condition]}});
    state.there(Kind::AccessPolicy, policy(status));
    assert_eq!(state.take_news(), super::News { model: false, status: true });
    assert!(state.take().unwrap().is_none());
    assert_eq!(state.statuses().len(), 1);
    state.gone(Kind::AccessPolicy, &ObjectName::new("shop", "p"));
    assert!(state.statuses().is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Remove(u8),
    /// The watch broke and the version is gone: the kind is listed anew, with this many objects
    /// before it breaks once more.
    Relist(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..5, 0_u8..3).prop_map(|(name, label)| Step::Put(name, label)),
        (0_u8..5).prop_map(Step::Remove),
        (0_u8..5).prop_map(Step::Relist),
    ]
}

proptest! {
    /// Whatever the watch misses meanwhile, after each list the model is what the API server has.
    #[test]
    fn the_model_is_what_the_api_server_has(
        steps in prop::collection::vec((step(), any::<bool>()), 0..40)
    ) {
        let mut state = listed();
        let mut server: BTreeMap<String, String> = BTreeMap::new();
        let mut in_step = true;
        for (step, watched) in steps {
            let watched = watched && in_step;
            match step {
                Step::Put(name, label) => {
                    let (name, label) = (name.to_string(), label.to_string());
                    if watched { state.there(Kind::Pod, labelled(Kind::Pod, &name, &label)); }
                    in_step = watched;
                    server.insert(name, label);
                }
                Step::Remove(name) => {
                    let name = name.to_string();
                    if watched { state.gone(Kind::Pod, &ObjectName::new("shop", &name)); }
                    in_step = watched;
                    server.remove(&name);
                }
                Step::Relist(broken) => {
                    state.begin(Kind::Pod);
                    for (name, label) in server.iter().take(broken.into()) {
                        state.there(Kind::Pod, labelled(Kind::Pod, name, label));
                    }
                    state.begin(Kind::Pod);
                    for (name, label) in &server {
                        state.there(Kind::Pod, labelled(Kind::Pod, name, label));
                    }
                    state.complete(Kind::Pod);
                    in_step = true;
                }
            }
            if in_step {
                let have: BTreeMap<_, _> = state.objects.pods.iter().map(|(name, pod)| {
                    (name.name.clone(), pod.metadata.labels.as_ref().unwrap()["l"].clone())
                }).collect();
                prop_assert_eq!(&have, &server);
            }
        }
    }
}
