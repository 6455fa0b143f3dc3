//! What the two applications see of each other.

use crate::demo::{
    Error,
    evidence::Evidence,
    stage::{FAMILIES, Stage, TELLER},
};

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    let pod = stage.pod(TELLER)?;
    for (option, family) in FAMILIES {
        evidence.did(format_args!("{family}: {TELLER} calls vault.bank:9100 and asks who is calling"));
        let vip = stage.vip("bank", "vault", option)?;
        let address = pod.address(option);
        let answer = stage.call(TELLER, "vault.bank:9100", option)?.answered()?;
        let dialled = answer.client_peer;
        evidence.check(
            dialled.ip() == vip && dialled.port() == 9100,
            format_args!("client's getpeername {dialled}, the Service's address and port"),
        );
        evidence.check(
            Some(answer.server_peer.ip()) == address && answer.server_peer == answer.client,
            format_args!("server's accept       {}, the pod's own address and port", answer.server_peer),
        );
    }
    evidence.did(format_args!("UDP: {TELLER} asks ledger.bank:9000"));
    let output = stage.run(TELLER, &["mesh-echo", "client", "-4", "udp", "ledger.bank:9000"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let vip = stage.vip("bank", "ledger", "-4")?;
    let seen =
        |prefix: &str| text.lines().find(|line| line.starts_with(prefix)).unwrap_or(text.trim()).to_owned();
    evidence.check(seen("udp:").contains(&format!("-> {vip}:9000")), seen("udp:"));
    let own = pod.address("-4").map(|address| format!("peer={address}:")).unwrap_or_default();
    evidence.check(!own.is_empty() && seen("answer:").contains(&own), seen("answer:"));
    Ok(())
}
