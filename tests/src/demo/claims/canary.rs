//! A canary: requests are split by weight, and shifted while they go on.

use super::storefront::{Storefront, VERSIONS, through_the_engine};
use crate::{
    demo::{
        Error,
        evidence::Evidence,
        stage::{FAMILIES, Stage},
    },
    http::order::Version,
};

/// Requests of each version and family while the weights stay.
const REQUESTS: usize = 250;
/// What a fair split of 90 to 10 gives the canary: 25 of 250, and five standard deviations of 4.7 either way.
const FAIR: std::ops::RangeInclusive<usize> = 2..=48;

fn route(old: u32, new: u32) -> String {
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: front, namespace: shop}}
spec:
  parentRefs: [{{group: \"\", kind: Service, name: front, port: 80}}]
  rules:
  - name: canary
    backendRefs: [{{name: front-v1, port: 80, weight: {old}}}, {{name: front-v2, port: 80, weight: {new}}}]
"
    )
}

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    evidence.did(
        "HTTPRoute shop/front sends 90 of 100 requests to front-v1 and 10 to front-v2, on the other node",
    );
    stage.bed.apply(&route(90, 10))?;
    for (option, family) in FAMILIES {
        let front = Storefront::open(stage, "front", option)?;
        front.wait("the route to hold", &front.get("/"), |answer| {
            answer.seen().is_some_and(|seen| through_the_engine(&seen))
        })?;
        for (version, called) in VERSIONS {
            let mut new = 0;
            for _ in 0..REQUESTS {
                let (_, seen) = front.served(&front.get("/").version(version).over(called))?;
                new += usize::from(seen.pod == "front-v2");
            }
            evidence.check(
                FAIR.contains(&new),
                format_args!(
                    "{family}, {called}: {new} of {REQUESTS} requests on one connection went to front-v2"
                ),
            );
        }
    }

    evidence.did("under traffic the weights are changed to 0 and 100");
    let front = Storefront::open(stage, "front", "-4")?;
    let ask = front.get("/").version(Version::Http1).over("kept");
    let (mut asked, mut since) = (0, 0);
    for _ in 0..200 {
        front.served(&ask)?;
        asked += 1;
    }
    stage.bed.apply(&route(0, 100))?;
    let start = std::time::Instant::now();
    let mut shifted = start;
    // Until for a while nothing has gone to the old one.
    while since < 500 && start.elapsed() < std::time::Duration::from_secs(60) {
        let (_, seen) = front.served(&ask)?;
        asked += 1;
        since += 1;
        if seen.pod != "front-v2" {
            since = 0;
            shifted = std::time::Instant::now();
        }
    }
    let took = shifted.duration_since(start).as_secs_f64() * 1000.0;
    evidence.check(
        since >= 500,
        format_args!("{asked} requests on one connection, none failed; the last to front-v1 {took:.0} ms after the change"),
    );
    Ok(())
}
