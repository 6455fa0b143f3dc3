//! Parts of requests and of answers as they are written: whether nodes take them, by the code that nodes read them with
//! ([`mesh_l7`]), and whether they can ever be what they are compared with. What cannot is refused: in a rule that denies
//! it would deny nothing.

use mesh_l7::{
    host::HostMatch,
    matching::{MAX_VALUE, PathMatch, Pattern},
};

/// The longest path; the Gateway API has the same bound.
const PATH_LIMIT: usize = 1024;

/// A path in the normal form in which requests' paths are compared.
///
/// # Errors
/// Says why no path of a request can be this one.
pub(super) fn normal_path(path: &str) -> Result<String, String> {
    let fault = if path.is_empty() || path.len() > PATH_LIMIT {
        return Err(format!("must have 1 to {PATH_LIMIT} bytes, it has {}", path.len()));
    } else if !path.starts_with('/') {
        "it begins with `/`"
    } else if path.contains("//") {
        "it has no empty segment (`//`)"
    } else if path.split('/').any(|segment| segment == "." || segment == "..") {
        "it has no segment `.` or `..`"
    } else {
        return match PathMatch::exact(path) {
            Ok(PathMatch::Exact(normal)) => Ok(normal.as_str().to_owned()),
            Ok(_) => Ok(path.to_owned()),
            Err(error) => Err(error.to_string()),
        };
    };
    Err(format!("`{path}` is no path that a request can have once it is normalised: {fault}"))
}

/// What is wrong with a regular expression, if anything.
pub(super) fn expression_problem(expression: &str) -> Option<String> {
    if expression.is_empty() {
        return Some("must not be empty".to_owned());
    }
    Pattern::new(expression).err().map(|error| error.to_string())
}

/// A prefix by segments says the same with and without a slash at its end.
pub(super) fn without_trailing_slash(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}

/// What is wrong with a method, if anything.
pub(super) fn method_problem(method: &str) -> Option<String> {
    let valid = (1..=32).contains(&method.len())
        && method.bytes().all(|byte| byte.is_ascii_uppercase() || b"-_".contains(&byte))
        && method.starts_with(|first: char| first.is_ascii_uppercase());
    (!valid).then(|| {
        format!("`{method}` is no method; methods are compared with case, write GET, POST and so on")
    })
}

/// What is wrong with the name of a header, if anything (RFC 9110 section 5.6.2).
pub(super) fn header_name_problem(name: &str) -> Option<String> {
    let valid = (1..=256).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    (!valid).then(|| format!("`{name}` is no name of a header"))
}

/// What is wrong with the value of a header, if anything: one that is sent has no control characters,
/// and neither spaces nor tabs around it (RFC 9110 section 5.5).
pub(super) fn header_value_problem(value: &str) -> Option<String> {
    let fault = if value.is_empty() || value.len() > MAX_VALUE {
        return Some(format!("must have 1 to {MAX_VALUE} bytes, it has {}", value.len()));
    } else if value.bytes().any(|byte| byte != b'\t' && (byte < b' ' || byte == 0x7f)) {
        "control characters"
    } else if value.starts_with([' ', '\t']) || value.ends_with([' ', '\t']) {
        "spaces around it"
    } else {
        return None;
    };
    Some(format!("`{}` is no value of a header: it has {fault}", value.escape_debug()))
}

/// What is wrong with a host, if anything: a name in lower case, perhaps below `*.`.
pub(super) fn host_problem(host: &str) -> Option<String> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let valid = host.len() <= 253 && name.split('.').all(label) && HostMatch::parse(host).is_ok();
    (!valid)
        .then(|| format!("`{host}` is no host; write a name in lower case without port, or `*.` and a name"))
}

/// What is wrong with the full name of a gRPC service, if anything.
pub(super) fn grpc_service_problem(service: &str) -> Option<String> {
    let valid = service.len() <= 512 && service.split('.').all(is_identifier);
    (!valid).then(|| format!("`{service}` is no full name of a gRPC service, such as package.Service"))
}

/// What is wrong with the name of a gRPC method, if anything.
pub(super) fn grpc_method_problem(method: &str) -> Option<String> {
    let valid = method.len() <= 256 && is_identifier(method);
    (!valid).then(|| format!("`{method}` is no name of a gRPC method"))
}

/// An identifier of protocol buffers.
fn is_identifier(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

#[cfg(test)]
mod tests {
    use super::{
        expression_problem, grpc_method_problem, grpc_service_problem, header_name_problem,
        header_value_problem, host_problem, method_problem, normal_path, without_trailing_slash,
    };

    #[test]
    fn only_paths_that_a_request_can_have_are_taken() {
        for (path, normal) in [
            ("/", "/"),
            ("/a/", "/a/"),
            ("/a/b%20c", "/a/b%20c"),
            ("/%41%7e%c3%2f", "/A~%C3%2F"),
            ("/a;v=1/@b", "/a;v=1/@b"),
            ("/.well-known/a..b", "/.well-known/a..b"),
        ] {
            assert_eq!(normal_path(path).as_deref(), Ok(normal));
        }
        for bad in [
            "", "a", "//", "/a//b", "/./a", "/a/..", "/a?b", "/a#b", "/a b", "/%4", "/%zz", "/%00", "/..;x",
            "/a\\b",
        ] {
            assert!(normal_path(bad).is_err(), "{bad}");
        }
        assert_eq!(["/", "/a", "/a/"].map(without_trailing_slash), ["/", "/a", "/a"]);
    }

    #[test]
    fn expressions_are_those_that_nodes_take() {
        for good in ["/v[0-9]+/.*", "(?i)abc", "a|b", r"\d{1,3}"] {
            assert_eq!(expression_problem(good), None, "{good}");
        }
        for (bad, told) in [
            ("", "must not be empty"),
            ("(", "unclosed group"),
            ("a)(b", "unopened group"),
            (r"(a)\1", "backreferences are not supported"),
            ("(?=a)", "look-around"),
            (r"(\w{500}){500}", "no regular expression that can be used"),
        ] {
            let problem = expression_problem(bad).unwrap();
            assert!(problem.contains(told), "{bad}: {problem}");
        }
        assert!(expression_problem(&"a".repeat(4097)).is_some());
    }

    #[test]
    fn names_and_values_have_their_forms() {
        assert_eq!(method_problem("GET"), None);
        assert_eq!(method_problem("VERSION-CONTROL"), None);
        for bad in ["", "get", "GET ", "-"] {
            assert!(method_problem(bad).is_some(), "{bad}");
        }
        assert_eq!(header_name_problem("X-a.b"), None);
        for bad in ["", ":path", "a b", "ü"] {
            assert!(header_name_problem(bad).is_some(), "{bad}");
        }
        assert_eq!(header_value_problem("a b\tc"), None);
        for bad in ["", " a", "a\r\nb", "a\0"] {
            assert!(header_value_problem(bad).is_some(), "{bad}");
        }
        for good in ["a", "a.b-c", "*.a", "10.0.0.1"] {
            assert_eq!(host_problem(good), None, "{good}");
        }
        for bad in ["", "*", "A", "a.", "-a", "a:80", "a.*", "*.*.a", "127.1"] {
            assert!(host_problem(bad).is_some(), "{bad}");
        }
        assert_eq!(grpc_service_problem("a.b_c.D"), None);
        assert_eq!(grpc_method_problem("Get1"), None);
        for bad in ["", "1", "a/b", "a..b"] {
            assert!(grpc_service_problem(bad).is_some() && grpc_method_problem(bad).is_some(), "{bad}");
        }
    }
}
