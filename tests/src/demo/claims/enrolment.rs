//! What a client outside the mesh gets, which has no identity to prove.

use crate::demo::{
    Error,
    evidence::Evidence,
    stage::{FAMILIES, MAINFRAME, Stage},
};

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    for (option, family) in FAMILIES {
        evidence.did(format_args!(
            "{family}: {MAINFRAME} calls ledger.bank:9000, which admits anyone; but namespace bank has mTLS Required"
        ));
        let mark = stage.log_mark()?;
        let failure = stage.call(MAINFRAME, "ledger.bank:9000", option)?.failed()?;
        evidence.check(failure.errno == "ECONNREFUSED", &failure);
        let line = mark.wait("the missing proof", |line| line.field("/reason") == "MtlsRequired")?;
        evidence.check(line.field("/proof") == "unproven", format_args!("log: {}", line.text));
        evidence.did(format_args!(
            "{family}: {MAINFRAME} calls catalog.shop:9200; namespace shop has mTLS Preferred"
        ));
        let answer = stage.call(MAINFRAME, "catalog.shop:9200", option)?.answered()?;
        let own = answer.server_peer.ip() == answer.client.ip();
        evidence.check(
            own,
            format_args!("{} answers {} in {:.2} ms", answer.host, answer.server_peer, answer.milliseconds),
        );
    }
    Ok(())
}
