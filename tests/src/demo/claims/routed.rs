//! What a route does with a request besides choosing where it goes.

use super::storefront::{Storefront, VERSIONS};
use crate::{
    demo::{
        Error,
        evidence::Evidence,
        stage::{FAMILIES, Stage},
    },
    http::steer,
};

const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front, namespace: shop}
spec:
  parentRefs: [{group: \"\", kind: Service, name: front, port: 80}]
  rules:
  - name: preview
    matches: [{headers: [{name: x-preview, value: \"yes\"}]}]
    backendRefs: [{name: front-v2, port: 80}]
  - name: old-api
    matches: [{path: {type: PathPrefix, value: /api/v1}}]
    filters:
    - type: URLRewrite
      urlRewrite: {hostname: api.shop, path: {type: ReplacePrefixMatch, replacePrefixMatch: /api}}
    backendRefs: [{name: front-v1, port: 80}]
  - name: moved
    matches: [{path: {type: Exact, value: /moved}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {scheme: https, hostname: shop.example, path: {type: ReplaceFullPath, replaceFullPath: /here}, port: 8443, statusCode: 301}
  - name: copied
    matches: [{path: {type: Exact, value: /copied}}]
    filters:
    - type: RequestMirror
      requestMirror: {backendRef: {name: front-v2, port: 80}}
    backendRefs: [{name: front-v1, port: 80}]
  - name: shaky
    matches: [{path: {type: Exact, value: /shaky}}]
    retry: {codes: [503], attempts: 3, backoff: 1ms}
    backendRefs: [{name: front-shaky, port: 80}]
  - name: rest
    backendRefs: [{name: front-v1, port: 80}]
";

/// Requests to where one of two endpoints is broken.
const SHAKY: usize = 100;

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    evidence.did("HTTPRoute shop/front is replaced by one with a rule for each of these");
    stage.bed.apply(ROUTE)?;
    for (option, family) in FAMILIES {
        let front = Storefront::open(stage, "front", option)?;
        front.wait("the route to hold", &front.get("/moved"), |answer| answer.status() == 301)?;
        for (version, called) in VERSIONS {
            let on = format_args!("{family}, {called}").to_string();
            let get = |path: &str| front.get(path).version(version).over(called);

            let (_, plain) = front.served(&get("/"))?;
            let (_, preview) = front.served(&get("/").header("x-preview", "yes"))?;
            evidence.check(
                (plain.pod.as_str(), preview.pod.as_str()) == ("front-v1", "front-v2"),
                format_args!("{on}: with x-preview: yes {} answers, without {}", preview.pod, plain.pod),
            );

            let (_, rewritten) = front.served(&get("/api/v1/items?page=2"))?;
            evidence.check(
                (rewritten.target.as_str(), rewritten.authority.as_str())
                    == ("/api/items?page=2", "api.shop"),
                format_args!(
                    "{on}: /api/v1/items?page=2 arrives as {}{}",
                    rewritten.authority, rewritten.target
                ),
            );

            let moved = front.ask(&get("/moved"))?;
            let location = moved.header("location");
            evidence.check(
                (moved.status(), location) == (301, "https://shop.example:8443/here"),
                format_args!("{on}: /moved is answered {} location: {location}", moved.status()),
            );

            mirrored(&front, evidence, &on, version, called)?;
        }
    }
    shaky(stage, evidence)
}

/// Asks the copy's receiver itself how many requests of this key it has had.
fn mirrored(
    front: &Storefront,
    evidence: &mut Evidence,
    on: &str,
    version: crate::http::order::Version,
    called: &str,
) -> Result<(), Error> {
    let key = format!("{on} copied");
    let ask = front.get("/copied").version(version).over(called).header(steer::KEY, &key);
    let (_, seen) = front.served(&ask)?;
    let count = front.get("/").header("x-preview", "yes").header(steer::KEY, &key);
    let mut copies = String::new();
    // The copy goes its own way, and a count counts itself.
    for asked in 0..50 {
        let (answer, _) = front.served(&count)?;
        let before: u32 = answer.header(steer::COUNT).parse().unwrap_or_default();
        copies = before.saturating_sub(asked).to_string();
        if copies == "1" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    evidence.check(
        seen.pod == "front-v1" && copies == "1",
        format_args!("{on}: /copied is answered by {}, and front-v2 has had {copies} copy", seen.pod),
    );
    Ok(())
}

fn shaky(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    evidence.did("front-shaky has two endpoints, of which one answers 503 always; its rule tries 503 again");
    let front = Storefront::open(stage, "front", "-4")?;
    let mark = stage.log_mark()?;
    let mut good = 0;
    for _ in 0..SHAKY {
        good += usize::from(front.ask(&front.get("/shaky").over("shaky"))?.status() == 200);
    }
    evidence.check(good == SHAKY, format_args!("{good} of {SHAKY} requests were answered 200"));
    let line = mark.wait("a request that was tried again", |line| {
        line.field("/path") == "/shaky" && line.text.contains("\"attempts\":2")
    })?;
    evidence.check(true, format_args!("log: {}", line.text));
    Ok(())
}
