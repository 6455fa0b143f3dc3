//! `baggage`: who the source says it is (W3C Baggage), for the destination's telemetry. It is
//! never read for a decision: the certificate says who it is.

use http::HeaderValue;

/// The source as it names itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub pod: &'a str,
    /// The workload it belongs to.
    pub service: &'a str,
}

/// Writes the header, with the keys that Istio ambient uses (OpenTelemetry's resource attributes).
#[must_use]
pub(crate) fn format(source: Source<'_>) -> HeaderValue {
    let mut text = String::with_capacity(128);
    let members = [
        ("k8s.namespace.name", source.namespace),
        ("k8s.pod.name", source.pod),
        ("service.name", source.service),
    ];
    for (key, value) in members.into_iter().filter(|(_, value)| !value.is_empty()) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(key);
        text.push('=');
        value.bytes().for_each(|byte| encode(byte, &mut text));
    }
    HeaderValue::try_from(text).expect("every octet was encoded that a header cannot hold")
}

/// `baggage-octet` as it is, anything else percent-encoded.
fn encode(byte: u8, to: &mut String) {
    let plain = matches!(byte, 0x21 | 0x23..=0x24 | 0x26..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
    if plain {
        to.push(char::from(byte));
    } else {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        to.push('%');
        to.push(char::from(DIGITS[usize::from(byte >> 4)]));
        to.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use super::{Source, format};
    use proptest::prelude::*;

    #[test]
    fn names_the_source() {
        let header = format(Source { namespace: "bank", pod: "teller-0", service: "tell, er" });
        assert_eq!(header, "k8s.namespace.name=bank,k8s.pod.name=teller-0,service.name=tell%2C%20er");
        assert_eq!(format(Source { namespace: "bank", pod: "", service: "" }), "k8s.namespace.name=bank");
    }

    proptest! {
        #[test]
        fn nothing_escapes_its_member(service in ".{0,30}") {
            let header = format(Source { namespace: "a", pod: "b", service: &service });
            let text = header.to_str().unwrap();
            prop_assert_eq!(text.matches(',').count(), if service.is_empty() { 1 } else { 2 });
        }
    }
}
