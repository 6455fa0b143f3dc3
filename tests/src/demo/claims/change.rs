//! A policy change reaches connections that are open already.

use std::time::{Duration, Instant};

use crate::demo::{
    Error,
    bed::wait_for,
    evidence::Evidence,
    stage::{FAMILIES, Stage, TELLER},
};

/// The vault's policy, with tellers locked out.
const LOCKED: &str = "\
apiVersion: mesh.internal/v1alpha1
kind: AccessPolicy
metadata: {name: vault, namespace: bank}
spec:
  selector: {matchLabels: {app: vault}}
  ingress:
  - name: nobody
    action: Deny
    from: [{serviceAccounts: [teller]}]
";

/// How long connections go on that a policy denies which was taken. An idle machine needs a tenth of it.
const LIMIT: Duration = Duration::from_secs(3);

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    let original = stage.manifest("AccessPolicy", "bank", "vault")?;
    let mut denied = Vec::new();
    for (option, family) in FAMILIES {
        denied.push((family, stage.hold(TELLER, "vault.bank:9100", option)?));
    }
    let mut other = stage.hold(TELLER, "ledger.bank:9000", "-4")?;
    evidence.did(format_args!("{TELLER} holds connections to vault.bank:9100 and one to ledger.bank:9000"));
    evidence.did("AccessPolicy bank/vault is replaced by one that denies tellers");
    stage.bed.apply(LOCKED)?;
    let start = Instant::now();
    for (family, held) in &mut denied {
        let (ended, words) = held.wait_end(Duration::from_secs(60))?;
        let after = ended.saturating_duration_since(start);
        let milliseconds = after.as_secs_f64() * 1000.0;
        evidence.check(
            after < LIMIT,
            format_args!("{family}: closed {milliseconds:.0} ms after it was applied ({words})"),
        );
    }
    let failure = stage.call(TELLER, "vault.bank:9100", "-4")?.failed()?;
    evidence.check(failure.errno == "ECONNREFUSED", format_args!("a new one: {failure}"));
    evidence.check(other.is_open(), "the connection to ledger.bank:9000, which stays allowed, is still open");
    let scrape =
        stage.scrape_until("the closed connections to be counted", |scrape| closed(scrape) >= 2.0)?;
    evidence.check(
        true,
        format_args!("mesh_tcp_connections_closed_total{{how=\"PolicyChanged\"}} {}", closed(&scrape)),
    );

    evidence.did("the policy is put back");
    let start = Instant::now();
    stage.bed.apply(&original)?;
    wait_for("the vault to open again", Duration::from_secs(60), || {
        let call = stage.call(TELLER, "vault.bank:9100", "-4").and_then(super::super::call::Call::answered);
        call.map_err(|error| error.to_string())
    })?;
    evidence.check(
        true,
        format_args!("{TELLER} is answered again {:.0} ms later", start.elapsed().as_secs_f64() * 1000.0),
    );
    Ok(())
}

fn closed(scrape: &super::super::scrape::Scrape) -> f64 {
    scrape.sum("mesh_tcp_connections_closed_total", &["how=\"PolicyChanged\""])
}
