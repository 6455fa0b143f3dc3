//! A Service without routes is the kernel's again.

use std::time::{Duration, Instant};

use super::storefront::{Storefront, through_the_engine};
use crate::demo::{
    Error,
    evidence::Evidence,
    stage::{FAMILIES, NODE, Stage},
};

/// Connections to a port that nobody routes any more.
const CONNECTIONS: usize = 200;

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    let front = Storefront::open(stage, "front", "-4")?;
    let (_, seen) = front.served(&front.get("/"))?;
    evidence.check(through_the_engine(&seen), "requests to shop/front go through relay's engine");
    evidence.did("HTTPRoute shop/front, the only one, is deleted");
    stage.bed.delete("HTTPRoute", "shop", "front")?;
    let start = Instant::now();
    let took = loop {
        let (answer, seen) = front.served(&front.get("/"))?;
        // The client's own socket is the server's peer: nothing is between them.
        if answer.head.local == seen.peer && !through_the_engine(&seen) {
            break start.elapsed();
        }
        if start.elapsed() > Duration::from_secs(60) {
            break start.elapsed();
        }
    };
    let limit = stage.bed.change_within();
    evidence.check(
        took < limit,
        format_args!(
            "{:.0} ms later a new connection is joined directly to front-v1's socket",
            took.as_secs_f64() * 1000.0
        ),
    );
    let octets = |stage: &Stage| -> Result<f64, Error> {
        Ok(stage.scrape_of(NODE)?.sum("mesh_engine_bytes_total", &[]))
    };
    let before = octets(stage)?;
    for (option, family) in FAMILIES {
        let front = Storefront::open(stage, "front", option)?;
        let mut direct = 0;
        for _ in 0..CONNECTIONS {
            let (answer, seen) = front.served(&front.get("/"))?;
            direct += usize::from(answer.head.local == seen.peer);
        }
        evidence.check(
            direct == CONNECTIONS,
            format_args!("{family}: {direct} of {CONNECTIONS} connections since are direct"),
        );
    }
    let since = octets(stage)? - before;
    evidence.check(since == 0.0, format_args!("mesh_engine_bytes_total has grown by {since} since"));
    Ok(())
}
