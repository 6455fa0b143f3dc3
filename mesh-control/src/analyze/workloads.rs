//! A pod of a workload's template, so that selectors and named ports have something to find. The kubelet's part of a
//! directory source does the same for what it runs.

use serde_json::{Value, json};

/// One pod of the workload; nothing where the object is none. It is called as its workload, which no pod of it ever is.
pub(super) fn pod(object: &Value) -> Option<Value> {
    let template = match (object["apiVersion"].as_str()?, object["kind"].as_str()?) {
        ("apps/v1", "Deployment" | "DaemonSet" | "ReplicaSet" | "StatefulSet") | ("batch/v1", "Job") => {
            &object["spec"]["template"]
        }
        ("batch/v1", "CronJob") => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => return None,
    };
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]});
    let name = object["metadata"]["name"].as_str()?;
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    let labels = template["metadata"].get("labels").cloned().unwrap_or(json!({}));
    pod["metadata"] =
        json!({"name": name, "namespace": namespace, "uid": format!("{namespace}/{name}"), "labels": labels});
    // Somewhere it will run.
    pod["spec"]["nodeName"] = json!("any");
    Some(pod)
}
