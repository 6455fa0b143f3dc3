//! Publishes whom to believe: ConfigMap `mesh-roots`, which agents have before they can ask.

use std::{sync::Arc, time::Duration};

use kube::{
    Client,
    core::{
        params::{Patch, PatchParams},
        request::Request,
    },
};
use mesh_api::resources::TrustBundle;
use pem::{EncodeConfig, LineEnding, Pem};
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use crate::{
    ca::Trust,
    source::{random, told, wait},
};

/// The ConfigMap's name.
const NAME: &str = "mesh-roots";
/// Who the API server is told writes it.
const FIELD_MANAGER: &str = "mesh-control";
/// It is written this often though nothing changed, in case somebody else changed it.
const AGAIN: Duration = Duration::from_secs(300);

/// Keeps the ConfigMap as the authority says, while this replica is the one that writes. Returns when
/// the authority is gone.
pub(super) async fn publish(
    client: Client,
    namespace: String,
    mut trust: watch::Receiver<Option<Arc<Trust>>>,
    mut leads: watch::Receiver<bool>,
) {
    let mut failures = 0;
    let mut written = None;
    loop {
        if leads.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        let wanted = trust.borrow_and_update().as_ref().map(|trust| data(trust.bundle()));
        let mut pause = AGAIN;
        if let Some(data) = wanted.filter(|wanted| written.as_ref() != Some(wanted)) {
            match write(&client, &namespace, &data).await {
                Ok(()) => {
                    failures = 0;
                    written = Some(data);
                }
                Err(error) => {
                    failures += 1;
                    pause = wait(failures, random());
                    tracing::warn!(%error, configmap = NAME, %namespace, "the roots are not published; agents cannot join");
                }
            }
        }
        tokio::select! {
            changed = trust.changed() => if changed.is_err() { return },
            changed = leads.changed() => if changed.is_err() { return },
            () = sleep(pause) => if failures == 0 { written = None },
        }
    }
}

async fn write(client: &Client, namespace: &str, data: &Value) -> Result<(), String> {
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": namespace},
        "data": data,
    });
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let request = Request::new(path).patch(NAME, &parameters, &Patch::Apply(object));
    let request = request.map_err(|error| error.to_string())?;
    client.request::<Value>(request).await.map(drop).map_err(|error| told(&error))
}

/// What it holds: the roots, and the domain that they are of.
fn data(bundle: &TrustBundle) -> Value {
    let unix = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let pem = |root: &Vec<u8>| pem::encode_config(&Pem::new("CERTIFICATE", root.clone()), unix);
    let roots: String = bundle.roots.iter().map(pem).collect();
    json!({"ca.crt": roots, "trust-domain": bundle.trust_domain})
}

#[cfg(test)]
mod tests {
    use mesh_api::resources::TrustBundle;

    use super::data;

    #[test]
    fn every_root_is_there() {
        let bundle = TrustBundle {
            trust_domain: "cluster.local".to_owned(),
            roots: vec![vec![1, 2], vec![3]],
            ..TrustBundle::default()
        };
        let data = data(&bundle);
        assert_eq!(data["trust-domain"], "cluster.local");
        let text = data["ca.crt"].as_str().unwrap();
        assert_eq!(text.matches("-----BEGIN CERTIFICATE-----\n").count(), 2);
        assert!(text.contains("\nAQI=\n") && text.ends_with("-----END CERTIFICATE-----\n"), "{text}");
    }
}
