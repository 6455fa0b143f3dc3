//! The identifiers by which a request is found again: `x-request-id`, and those of traces.
//!
//! Trace headers are passed on as they came. The mesh makes no spans yet, and a participant that
//! makes none forwards the context unchanged (W3C Trace Context, 3.4 "Mutating the traceparent
//! Field"; B3 has the same rule), so their only reader here is the access log.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The identifier of a request, kept from hop to hop.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");

/// The longest request identifier that is kept, in bytes.
const LONGEST: usize = 128;

/// The identifier of a request: its own where it has one that a log can hold, else a random one that
/// is added to it (a UUID of version 4, RFC 9562, 5.4). Of several the first is kept, alone.
pub fn request_id(headers: &mut HeaderMap, random: u128) -> HeaderValue {
    let mut lines = headers.get_all(&REQUEST_ID).iter();
    let own = lines.next().filter(|value| {
        (1..=LONGEST).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    if let Some(own) = own
        && lines.next().is_none()
    {
        return own.clone();
    }
    let id = match own {
        Some(own) => own.clone(),
        None => HeaderValue::try_from(uuid(random)).expect("digits and dashes are a value"),
    };
    headers.insert(REQUEST_ID, id.clone());
    id
}

fn uuid(random: u128) -> String {
    let versioned = random & !(0xf << 76) & !(0x3 << 62) | (4 << 76) | (2 << 62);
    let digits = format!("{versioned:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// The trace that a request is part of: 32 lower-case hexadecimal digits, or 16 where B3 has 64 bits.
/// From `traceparent`, else `b3`, else `x-b3-traceid`; `None` where none of them is valid.
#[must_use]
pub fn trace_id(headers: &HeaderMap) -> Option<String> {
    // Of several lines none can be told to be the one (Trace Context, 3.2).
    let only = |name: &HeaderName| {
        let mut lines = headers.get_all(name).iter();
        lines.next().filter(|_| lines.next().is_none()).and_then(|value| value.to_str().ok())
    };
    let traceparent = only(&TRACEPARENT).and_then(w3c);
    let found = traceparent.or_else(|| only(&B3).and_then(b3)).or_else(|| only(&B3_TRACE).and_then(b3_trace));
    found.map(str::to_ascii_lowercase)
}

/// `version-trace-parent-flags`; of a version after 00 only these first parts are known (Trace
/// Context, 3.2.2 and 4).
fn w3c(value: &str) -> Option<&str> {
    let mut parts = value.splitn(5, '-');
    let [version, trace, parent, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let lower = |part: &str, length| {
        is_hexadecimal(part, &[length]) && !part.bytes().any(|digit| digit.is_ascii_uppercase())
    };
    let valid = lower(version, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none())
        && lower(trace, 32)
        && !is_zero(trace)
        && lower(parent, 16)
        && !is_zero(parent)
        && lower(flags, 2);
    valid.then_some(trace)
}

/// `trace-span[-sampled[-parent]]`; a lone `0` has no trace (B3, "Single Header").
fn b3(value: &str) -> Option<&str> {
    let (trace, rest) = value.split_once('-')?;
    let span = rest.split('-').next()?;
    b3_trace(trace).filter(|_| is_hexadecimal(span, &[16]))
}

fn b3_trace(trace: &str) -> Option<&str> {
    (is_hexadecimal(trace, &[16, 32]) && !is_zero(trace)).then_some(trace)
}

fn is_hexadecimal(part: &str, lengths: &[usize]) -> bool {
    lengths.contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn is_zero(part: &str) -> bool {
    part.bytes().all(|digit| digit == b'0')
}

#[cfg(test)]
mod tests {
    use super::{REQUEST_ID, request_id, trace_id};
    use http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_request_keeps_its_identifier() {
        let mut headers = map(&[("x-request-id", "abc-123")]);
        assert_eq!(request_id(&mut headers, 7), "abc-123");
        assert_eq!(headers.len(), 1);
        let mut headers = map(&[("x-request-id", "abc"), ("x-request-id", "def")]);
        assert_eq!(request_id(&mut headers, 7), "abc");
        assert_eq!(headers.get_all(REQUEST_ID).iter().count(), 1);
        for unfit in ["", "a b", &"a".repeat(129)] {
            let mut headers = map(&[("x-request-id", unfit)]);
            assert_eq!(request_id(&mut headers, 0), "00000000-0000-4000-8000-000000000000");
            assert_eq!(headers[REQUEST_ID], "00000000-0000-4000-8000-000000000000");
        }
    }

    proptest! {
        #[test]
        fn a_new_identifier_is_a_uuid(random: u128) {
            let id = request_id(&mut HeaderMap::new(), random);
            let text = id.to_str().unwrap();
            prop_assert_eq!(text.len(), 36);
            prop_assert_eq!(&text[14..15], "4");
            prop_assert!("89ab".contains(&text[19..20]));
            prop_assert!([8, 13, 18, 23].into_iter().all(|dash| &text[dash..=dash] == "-"));
        }

        #[test]
        fn nothing_breaks_it(value in "[0-9a-fA-F-]{0,60}") {
            let headers = map(&[("traceparent", &value), ("b3", &value), ("x-b3-traceid", &value)]);
            if let Some(trace) = trace_id(&headers) {
                prop_assert!(trace.len() == 32 || trace.len() == 16);
            }
        }
    }

    #[test]
    fn traces_are_read() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        const SPAN: &str = "00f067aa0ba902b7";
        let parent = |version: &str, rest: &str| format!("{version}-{TRACE}-{SPAN}-01{rest}");
        for (headers, expected) in [
            (map(&[("traceparent", &parent("00", ""))]), Some(TRACE)),
            (map(&[("traceparent", &parent("01", "-more"))]), Some(TRACE)),
            (map(&[("traceparent", &parent("00", "-more"))]), None),
            (map(&[("traceparent", &parent("ff", ""))]), None),
            (map(&[("traceparent", &parent("00", "").to_uppercase())]), None),
            (map(&[("traceparent", &format!("00-{}-{SPAN}-01", "0".repeat(32)))]), None),
            (map(&[("traceparent", &parent("00", "")), ("traceparent", &parent("00", ""))]), None),
            (map(&[("traceparent", "x"), ("b3", &format!("{TRACE}-{SPAN}-1"))]), Some(TRACE)),
            (map(&[("b3", &format!("{SPAN}-{SPAN}"))]), Some(SPAN)),
            (map(&[("b3", &format!("{}-{SPAN}-d-{SPAN}", TRACE.to_uppercase()))]), Some(TRACE)),
            (map(&[("b3", "0")]), None),
            (map(&[("b3", TRACE)]), None),
            (map(&[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)]), Some(TRACE)),
            (map(&[("x-b3-traceid", "463ac35c9f6413ad")]), Some("463ac35c9f6413ad")),
            (map(&[("x-b3-traceid", "463ac35c9f6413")]), None),
            (HeaderMap::new(), None),
        ] {
            assert_eq!(trace_id(&headers).as_deref(), expected, "{headers:?}");
        }
    }
}
