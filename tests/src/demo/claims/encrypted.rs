//! What somebody sees who listens between the nodes.

use std::{fs::File, io::Read as _, time::Duration};

use crate::{
    capture::{Captured, server_hellos},
    demo::{
        Error,
        bed::wait_for,
        evidence::Evidence,
        stage::{CLERK, FAMILIES, Stage},
    },
};

const TO: &str = "warehouse.shop:9400";

/// Times a marker of 32 bytes, 1 MB.
const TIMES: usize = 32 * 1024;

/// Bytes of a capture: some times what is sent, since a frame is seen at both ends of the bridge.
const LIMIT: usize = 64 << 20;

/// `supported_versions` of a ServerHello of TLS 1.3 (RFC 8446, 4.2.1).
const TLS_1_3: u16 = 0x0304;

const TUNNEL_PORT: u16 = 15_008;

/// The clerk asks for plaintext.
const OFF: &str = "\
apiVersion: mesh.internal/v1alpha1
kind: AccessPolicy
metadata: {name: clerk-in-the-clear, namespace: shop}
spec:
  selector: {matchLabels: {app: clerk}}
  egress:
  - name: warehouse
    to: [{services: [{name: warehouse}]}]
    mtls: \"Off\"
";

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    for (option, family) in FAMILIES {
        evidence.did(format_args!(
            "{family}: {CLERK} sends 32 random bytes over and over, 1 MB, to {TO} on the other node, which sends them back"
        ));
        let (seen, captured) = send(stage, evidence, option)?;
        evidence.check(
            !seen && captured.left_out == 0,
            format_args!(
                "the 32 bytes are {} the {:.1} MB of {} frames captured on the bridge, none left out",
                if seen { "in" } else { "not in" },
                megabytes(&captured),
                captured.frames.len()
            ),
        );
        let hellos: Vec<Option<u16>> = server_hellos(&captured)
            .into_iter()
            .filter(|hello| hello.port == TUNNEL_PORT)
            .map(|hello| hello.version)
            .collect();
        let shown: Vec<String> = hellos
            .iter()
            .map(|hello| hello.map_or("none".to_owned(), |hello| format!("{hello:#06x}")))
            .collect();
        evidence.check(
            !hellos.is_empty() && hellos.iter().all(|version| *version == Some(TLS_1_3)),
            format_args!("ServerHello of port {TUNNEL_PORT}: supported_versions {}", shown.join(" ")),
        );
    }

    evidence.did(format_args!("the same with an egress rule of {CLERK} that says mtls: Off"));
    stage.bed.apply(OFF)?;
    let outcome = in_the_clear(stage, evidence);
    stage.bed.delete("AccessPolicy", "shop", "clerk-in-the-clear")?;
    outcome?;
    wait_transport(stage, "tunnel")
}

fn in_the_clear(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    wait_transport(stage, "plaintext")?;
    for (option, family) in FAMILIES {
        let (seen, captured) = send(stage, evidence, option)?;
        evidence.check(
            seen,
            format_args!(
                "{family}: the 32 bytes are {} the {:.1} MB captured: what is there is found",
                if seen { "in" } else { "not in" },
                megabytes(&captured)
            ),
        );
    }
    Ok(())
}

/// Sends a new marker both ways while the bridge is captured; says whether it was seen there.
fn send(stage: &Stage, evidence: &mut Evidence, option: &str) -> Result<(bool, Captured), Error> {
    let mut marker = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut marker))
        .map_err(Error::io("read /dev/urandom"))?;
    let hexadecimal: String = marker.iter().map(|byte| format!("{byte:02x}")).collect();
    let capture = stage.bed.capture(LIMIT)?;
    let (marker_option, times) = (format!("--marker={hexadecimal}"), format!("--times={TIMES}"));
    let output = stage.run(CLERK, &["mesh-demo", "marker", option, &marker_option, &times, TO]);
    let captured = capture.end()?;
    let output = output?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let bytes = TIMES * marker.len();
    let all = format!("sent={bytes} received={bytes}");
    evidence.check(output.status.success() && said == all, format_args!("{hexadecimal}: {said}"));
    Ok((captured.contains(&marker), captured))
}

/// Waits until `meshctl can` says that the clerk's bytes take this way.
fn wait_transport(stage: &Stage, transport: &str) -> Result<(), Error> {
    let what = format!("{CLERK} to reach {TO} by {transport}");
    wait_for(&what, Duration::from_secs(60), || {
        let (answer, _) = stage
            .meshctl(&["can", &CLERK.to_string(), "svc/shop/warehouse:9400"])
            .map_err(|error| error.to_string())?;
        let now = answer["endpoints"][0]["transport"].as_str().unwrap_or_default().to_owned();
        if now == transport { Ok(()) } else { Err(now) }
    })?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "for people; a capture fits in memory")]
fn megabytes(captured: &Captured) -> f64 {
    captured.bytes() as f64 / 1e6
}
