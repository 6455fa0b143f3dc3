//! Where a message's body ends (RFC 9112, 6).
//!
//! Two parties that read this differently are what request smuggling lives on, so whatever leaves
//! room for two readings is refused, also where the RFC lets a recipient repair it: a length beside
//! `Transfer-Encoding` (6.1), more than one length (6.3, item 5), codings other than `chunked`.

use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, Method, StatusCode, Version};
use mesh_l7::head::BadHead;
use mesh_l7::head::framing::{encoding, length};

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// There is none.
    None,
    /// By a number of octets.
    Exact(u64),
    /// By chunks.
    Chunked,
    /// By the connection's end.
    UntilClose,
}

/// Of a request (RFC 9112, 6.3).
///
/// # Errors
/// When its end is ambiguous, or a coding is asked for that is not `chunked`.
pub(crate) fn of_request(version: Version, headers: &HeaderMap) -> Result<Length, BadHead> {
    Ok(named(version, headers)?.unwrap_or(Length::None))
}

/// Of a response to a request with `method`.
///
/// # Errors
/// As [`of_request`].
pub(crate) fn of_response(
    method: &Method,
    status: StatusCode,
    version: Version,
    headers: &HeaderMap,
) -> Result<Length, BadHead> {
    if !has_body(method, status) {
        return Ok(Length::None);
    }
    Ok(named(version, headers)?.unwrap_or(Length::UntilClose))
}

/// What the fields say.
fn named(version: Version, headers: &HeaderMap) -> Result<Option<Length>, BadHead> {
    encoding(version, headers)?;
    Ok(match length(headers)? {
        Some(0) => Some(Length::None),
        Some(octets) => Some(Length::Exact(octets)),
        None => headers.contains_key(TRANSFER_ENCODING).then_some(Length::Chunked),
    })
}

/// Whether a response may have content (RFC 9110, 6.4.1).
pub(crate) fn has_body(method: &Method, status: StatusCode) -> bool {
    method != Method::HEAD
        && !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::NOT_MODIFIED
}

#[cfg(test)]
mod tests {
    use super::{Length, of_request, of_response};
    use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(pair).collect()
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        const CL: &str = "content-length";
        const TE: &str = "transfer-encoding";
        for bad in [
            &[(CL, "5"), (TE, "chunked")][..],
            &[(CL, "5"), (CL, "5")],
            &[(CL, "5"), (CL, "6")],
            &[(CL, "5, 5")],
            &[(CL, "+5")],
            &[(CL, "-0")],
            &[(CL, "0x5")],
            &[(CL, "5 ")],
            &[(CL, "")],
            &[(CL, "18446744073709551616")],
            &[(TE, "chunked"), (TE, "chunked")],
            &[(TE, "chunked, chunked")],
            &[(TE, "gzip, chunked")],
            &[(TE, "identity")],
            &[(TE, "xchunked")],
        ] {
            assert!(of_request(Version::HTTP_11, &fields(bad)).is_err(), "{bad:?}");
            let answer = of_response(&Method::GET, StatusCode::OK, Version::HTTP_11, &fields(bad));
            assert!(answer.is_err(), "{bad:?}");
        }
        let chunked = fields(&[(TE, "Chunked")]);
        assert_eq!(of_request(Version::HTTP_11, &chunked), Ok(Length::Chunked));
        assert!(of_request(Version::HTTP_10, &chunked).is_err());
        assert_eq!(of_request(Version::HTTP_11, &fields(&[(CL, "7")])), Ok(Length::Exact(7)));
        assert_eq!(of_request(Version::HTTP_11, &fields(&[(CL, "0")])), Ok(Length::None));
        assert_eq!(of_request(Version::HTTP_11, &fields(&[])), Ok(Length::None));
    }

    #[test]
    fn some_responses_have_no_body_whatever_they_say() {
        let length = fields(&[("content-length", "5")]);
        let of = |method: &Method, status: u16, headers: &HeaderMap| {
            of_response(method, StatusCode::from_u16(status).unwrap(), Version::HTTP_11, headers).unwrap()
        };
        assert_eq!(of(&Method::HEAD, 200, &length), Length::None);
        assert_eq!(of(&Method::GET, 204, &length), Length::None);
        assert_eq!(of(&Method::GET, 304, &length), Length::None);
        assert_eq!(of(&Method::GET, 103, &length), Length::None);
        assert_eq!(of(&Method::GET, 200, &length), Length::Exact(5));
        assert_eq!(of(&Method::GET, 200, &fields(&[])), Length::UntilClose);
    }
}
