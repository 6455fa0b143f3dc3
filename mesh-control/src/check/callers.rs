//! Callers that cannot prove who they are, and the pods that ask for proof: the API server, which calls
//! webhooks and served parts of its API from the node's network, and scrapers outside the mesh.

use k8s_openapi::api::core::v1::Pod;
use mesh_api::crd::LabelSelector;
use serde_json::Value;

use super::enrolled::Enrolment;
use super::seen::{Known, Seen, name_of};
use super::{Checked, Verdict};

/// What scrapers' images are called, in part.
const IMAGES: [&str; 8] = [
    "prometheus/prometheus",
    "prometheus:",
    "vmagent",
    "victoria-metrics",
    "opentelemetry-collector",
    "grafana/alloy",
    "grafana/agent",
    "telegraf",
];
/// What scrapers are labelled with as `app.kubernetes.io/name` or `app`.
const NAMES: [&str; 5] = ["prometheus", "vmagent", "victoria-metrics", "opentelemetry-collector", "alloy"];

/// A part of the API server's work that a Service does.
struct Called {
    what: String,
    namespace: String,
    service: String,
}

/// MESH-C016.
pub(super) fn api_server(seen: &Seen) -> Checked {
    let enrolment = Enrolment::of(seen)?;
    let called = called(seen)?;
    let mut verdict = Verdict::ok(format!("{} Services that the API server calls", called.len()));
    for call in called {
        let pods = enrolment.behind(&call.namespace, &call.service);
        if let Some(pod) = pods.into_iter().find(|pod| enrolment.requires_proof(pod)) {
            verdict.fail(
                format!(
                    "{} is served by pod {}, which refuses whom it has no proof of: the API server cannot call it",
                    call.what,
                    name_of(&pod.metadata)
                ),
                format!(
                    "keep those pods out of the mesh (label mesh.internal/mode: disabled in their template), or list namespace {} in the MeshConfig's spec.namespaces with mtls: Preferred",
                    call.namespace
                ),
            );
        }
    }
    Ok(verdict)
}

fn called(seen: &Seen) -> Known<Vec<Called>> {
    let mut all = Vec::new();
    let mut note = |what: String, namespace: Option<&str>, service: Option<&str>| {
        if let (Some(namespace), Some(service)) = (namespace, service) {
            all.push(Called { what, namespace: namespace.to_owned(), service: service.to_owned() });
        }
    };
    for configuration in seen.validating.as_deref()? {
        for webhook in configuration.webhooks.iter().flatten() {
            if let Some(service) = &webhook.client_config.service {
                let what = format!("validating webhook {}", webhook.name);
                note(what, Some(&service.namespace), Some(&service.name));
            }
        }
    }
    for configuration in seen.mutating.as_deref()? {
        for webhook in configuration.webhooks.iter().flatten() {
            if let Some(service) = &webhook.client_config.service {
                let what = format!("mutating webhook {}", webhook.name);
                note(what, Some(&service.namespace), Some(&service.name));
            }
        }
    }
    for part in seen.api_services.as_deref()? {
        let service = part.spec.as_ref().and_then(|spec| spec.service.as_ref());
        if let Some(service) = service {
            let what = format!("APIService {}", name_of(&part.metadata));
            note(what, service.namespace.as_deref(), service.name.as_deref());
        }
    }
    for definition in seen.definitions.as_deref()? {
        let webhook = definition.spec.conversion.as_ref().and_then(|conversion| conversion.webhook.as_ref());
        let service = webhook.and_then(|webhook| webhook.client_config.as_ref()?.service.as_ref());
        if let Some(service) = service {
            let what = format!("conversion of {}", name_of(&definition.metadata));
            note(what, Some(&service.namespace), Some(&service.name));
        }
    }
    Ok(all)
}

/// MESH-C017.
pub(super) fn scrapers(seen: &Seen) -> Checked {
    let enrolment = Enrolment::of(seen)?;
    let monitors = seen.monitors.as_deref()?;
    let live = seen
        .pods
        .as_deref()?
        .iter()
        .filter(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running"));
    let strangers: Vec<&Pod> = live.filter(|pod| is_scraper(pod) && !enrolment.is_enrolled(pod)).collect();
    let scraped: Vec<&Pod> = enrolment
        .pods()
        .filter(|pod| is_scraped(pod, monitors, &enrolment) && enrolment.requires_proof(pod))
        .collect();
    let mut verdict = Verdict::ok(format!(
        "{} scrapers outside the mesh, {} pods that are scraped and ask for proof",
        strangers.len(),
        scraped.len()
    ));
    if scraped.is_empty() {
        return Ok(verdict);
    }
    for stranger in strangers {
        let some: Vec<String> = scraped.iter().map(|pod| name_of(&pod.metadata)).collect();
        let namespace = stranger.metadata.namespace.as_deref().unwrap_or_default();
        verdict.warn(
            format!(
                "pod {} looks like a scraper and is not in the mesh; refused by: {}",
                name_of(&stranger.metadata),
                super::shortened(some).join(", ")
            ),
            format!("meshctl enroll {namespace} (or the scraper's pods alone: label mesh.internal/mode: enabled in their template)"),
        );
    }
    Ok(verdict)
}

fn is_scraper(pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let named = ["app.kubernetes.io/name", "app"]
        .iter()
        .filter_map(|key| labels?.get(*key))
        .any(|name| NAMES.contains(&name.as_str()));
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut images = containers.filter_map(|container| container.image.as_deref());
    named || images.any(|image| IMAGES.iter().any(|part| image.contains(part)))
}

fn is_scraped(pod: &Pod, monitors: &[Value], enrolment: &Enrolment<'_>) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    let asks = annotations.and_then(|annotations| annotations.get("prometheus.io/scrape"));
    asks.is_some_and(|asks| asks == "true") || monitors.iter().any(|monitor| watches(monitor, pod, enrolment))
}

/// Whether a PodMonitor selects the pod, or a ServiceMonitor a Service before it.
fn watches(monitor: &Value, pod: &Pod, enrolment: &Enrolment<'_>) -> bool {
    let own = monitor["metadata"]["namespace"].as_str().unwrap_or_default();
    let of_pod = pod.metadata.namespace.as_deref().unwrap_or_default();
    let selected = &monitor["spec"]["namespaceSelector"];
    let in_namespace = match selected["matchNames"].as_array() {
        _ if selected["any"] == true => true,
        Some(names) if !names.is_empty() => names.iter().any(|name| name == of_pod),
        _ => own == of_pod,
    };
    let selector = serde_json::from_value::<LabelSelector>(monitor["spec"]["selector"].clone());
    let Ok(selector) = selector else { return false };
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    in_namespace
        && match monitor["kind"].as_str() {
            Some("ServiceMonitor") => enrolment.services_of(pod).any(|labels| selector.matches(labels)),
            _ => selector.matches(&labels),
        }
}
