//! What is wrong with objects of ours that is theirs alone, one problem at a time: conditions join them.

use super::{
    fields::Problem,
    policy::{read_access_policy, read_cluster_access_policy},
    routes, settings,
};
use crate::objects::{Custom, ObjectName, ObjectRef, Objects};

/// A problem of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Whose.
    pub(crate) object: ObjectRef,
    /// One word for programs.
    pub(crate) reason: &'static str,
    /// Field, value, and what to do.
    pub(crate) message: String,
}

/// Every problem of every object.
pub(crate) fn judge(objects: &Objects) -> Vec<Judged> {
    let config = |config: &Custom| {
        if config.name.name == settings::SINGLETON {
            settings::read(config).1
        } else {
            vec![settings::not_the_singleton(&config.name.name)]
        }
    };
    let mut all = Vec::new();
    let mut add = |kind: &str, name: &ObjectName, problems: Vec<Problem>| {
        all.extend(problems.into_iter().map(|Problem { reason, message }| Judged {
            object: ObjectRef::mesh(kind, name.clone()),
            reason,
            message,
        }));
    };
    for (name, object) in &objects.mesh_configs {
        add("MeshConfig", name, config(object));
    }
    for (name, object) in &objects.access_policies {
        add("AccessPolicy", name, read_access_policy(object).problems);
    }
    for (name, object) in &objects.cluster_access_policies {
        add("ClusterAccessPolicy", name, read_cluster_access_policy(object).problems);
    }
    for (name, route) in &objects.routes {
        let problems = routes::problems(name.kind, route);
        all.extend(problems.into_iter().map(|Problem { reason, message }| Judged {
            object: route.reference.clone(),
            reason,
            message,
        }));
    }
    all
}
