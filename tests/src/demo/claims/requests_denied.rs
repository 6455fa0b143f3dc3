//! A policy about requests: who may call the Service may still not ask everything of it.

use super::storefront::{Storefront, VERSIONS};
use crate::demo::{
    Error,
    evidence::Evidence,
    stage::{FAMILIES, OTHER_NODE, Stage},
};

const POLICY: &str = "\
apiVersion: mesh.internal/v1alpha1
kind: AccessPolicy
metadata: {name: front, namespace: shop}
spec:
  selector: {matchLabels: {app: front}}
  ingress:
  - name: readers
    from: [{serviceAccounts: [clerk]}]
    ports: [{port: http}]
    http: [{methods: [GET], paths: [{prefix: /}]}]
  - name: no-ledgers
    action: Deny
    ports: [{port: http}]
    http: [{paths: [{prefix: /ledgers}]}]
";

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    evidence.did(
        "AccessPolicy shop/front lets clerks GET everything of the storefront but what is below /ledgers",
    );
    stage.bed.apply(POLICY)?;
    for (option, family) in FAMILIES {
        for service in ["front-v1", "front-v2"] {
            let front = Storefront::open(stage, service, option)?;
            front.wait("the policy to hold", &front.get("/").method("DELETE"), |answer| {
                answer.status() == 403
            })?;
            for (version, called) in VERSIONS {
                let on = format_args!("{family}, {called}, {service}").to_string();
                let get = |path: &str| front.get(path).version(version).over(called);
                let (allowed, seen) = front.served(&get("/items"))?;
                evidence.check(
                    allowed.status() == 200,
                    format_args!("{on}: GET /items is answered {} by {}", allowed.status(), seen.pod),
                );
                for (ask, said) in [
                    (get("/items").method("DELETE"), "AccessPolicy/shop/front (no rule allows)"),
                    (get("/ledgers/1"), "AccessPolicy/shop/front no-ledgers"),
                    (get("/items/..//ledgers/%31"), "AccessPolicy/shop/front no-ledgers"),
                ] {
                    let denied = front.ask(&ask)?;
                    let by = denied.header("x-mesh-denied-by");
                    evidence.check(
                        (denied.status(), by) == (403, said),
                        format_args!("{on}: {} is answered {}, denied by {by}", ask.told(), denied.status()),
                    );
                }
            }
        }
    }
    let mark = stage.log_mark_of(OTHER_NODE)?;
    let front = Storefront::open(stage, "front-v2", "-4")?;
    front.ask(&front.get("/ledgers/2"))?;
    let line = mark.wait("the denial on the other node", |line| {
        line.field("/verdict") == "denied" && line.field("/path") == "/ledgers/2"
    })?;
    evidence.check(line.field("/rule") == "no-ledgers", format_args!("log: {}", line.text));
    stage.bed.delete("AccessPolicy", "shop", "front")
}
