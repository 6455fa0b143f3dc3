//! The normal form against a naive one, the list of bypass attempts, and what the most lenient
//! server could make of what is let through.

use proptest::prelude::*;
use proptest::sample::select;

use super::{MAX_LENGTH, Path, PathError};

fn normal(raw: &str) -> Result<String, PathError> {
    Path::parse(raw.as_bytes()).map(|path| path.as_str().to_owned())
}

#[test]
fn one_resource_has_one_path() {
    for (raw, expected) in [
        ("", "/"),
        ("*", "*"),
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        // RFC 3986, 6.2.2.1 and 6.2.2.2.
        ("/%7Euser/%61%2D%5f%2e", "/~user/a-_."),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/café", "/caf%C3%A9"),
        ("/{id}|\"x\"", "/%7Bid%7D%7C%22x%22"),
        ("/a b".replace(' ', "%20").as_str(), "/a%20b"),
        // 5.2.4, with both examples there.
        ("/a/b/c/./../../g", "/a/g"),
        ("/mid/content=5/../6", "/mid/6"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/..", "/"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("/...", "/..."),
        ("/.hidden/..x/x..", "/.hidden/..x/x.."),
        ("//a///b//", "/a/b/"),
        ("/a//../b", "/b"),
        // Reserved characters and their escapes differ.
        ("/a%3Bb;c", "/a%3Bb;c"),
        ("/a%3Fb%23c%25d", "/a%3Fb%23c%25d"),
        ("/a%5Bb%5D[c]", "/a%5Bb%5D%5Bc%5D"),
        ("/api/queues/%2f/name", "/api/queues/%2F/name"),
        ("/@scope%2fname", "/@scope%2Fname"),
    ] {
        assert_eq!(normal(raw).as_deref(), Ok(expected), "{raw}");
    }
}

/// Attempts to reach `/admin` past rules for `/admin` or by way of `/public`. What is let through
/// has to look like `/admin` to the rules, or be no way there.
#[test]
fn bypasses_are_no_way_round() {
    for straight in [
        "/admin",
        "//admin",
        "///admin",
        "/./admin",
        "/%2e/admin",
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/%2E./admin",
        "/public/.%2e/admin",
        "/public//../admin",
        "/public/x/../../admin",
        "/../admin",
        "/%61dmin",
        "/%61%64%6d%69%6e",
        "/a/../%61dmin",
    ] {
        assert_eq!(normal(straight).as_deref(), Ok("/admin"), "{straight}");
    }
    for below in ["/admin/", "/admin/.", "/admin//", "/admin/x/..", "/admin/./", "/x/../admin/%2e"] {
        assert_eq!(normal(below).as_deref(), Ok("/admin/"), "{below}");
    }
    for (refused, error) in [
        ("/public/..%2fadmin", PathError::HiddenDotSegment),
        ("/public%2f..%2fadmin", PathError::HiddenDotSegment),
        ("/public/x%2F..%2F..%2Fadmin", PathError::HiddenDotSegment),
        ("/public/..%5cadmin", PathError::HiddenDotSegment),
        ("/public%5c..%5cadmin", PathError::HiddenDotSegment),
        ("/public/%2e%2e%2fadmin", PathError::HiddenDotSegment),
        ("/public/%2e%2e%5Cadmin", PathError::HiddenDotSegment),
        ("/public/x%2f.%2fy", PathError::HiddenDotSegment),
        ("/public/x%2F..;y%2Fadmin", PathError::HiddenDotSegment),
        ("/public/..;/admin", PathError::DotParameter),
        ("/public/..;a=b/admin", PathError::DotParameter),
        ("/public/%2e%2e;/admin", PathError::DotParameter),
        ("/public/..%3b/admin", PathError::DotParameter),
        ("/public/.;/admin", PathError::DotParameter),
        ("/public\\..\\admin", PathError::Backslash(7)),
        ("/\\admin", PathError::Backslash(1)),
        ("/admin%00", PathError::Nul(6)),
        ("/public%00/../admin", PathError::Nul(7)),
        ("/admin%", PathError::Escape(6)),
        ("/admin%2", PathError::Escape(6)),
        ("/%zzadmin", PathError::Escape(1)),
        ("/%+1admin", PathError::Escape(1)),
        ("/%u0061dmin", PathError::Escape(1)),
        ("/admin x", PathError::Character { at: 6, byte: b' ' }),
        ("/admin\tx", PathError::Character { at: 6, byte: b'\t' }),
        ("/admin\r\nx", PathError::Character { at: 6, byte: b'\r' }),
        ("/admin\u{7f}", PathError::Character { at: 6, byte: 0x7f }),
        ("/admin#x", PathError::Character { at: 6, byte: b'#' }),
        ("/admin?x", PathError::Character { at: 6, byte: b'?' }),
        ("admin", PathError::NotAbsolute),
        ("\\admin", PathError::NotAbsolute),
        ("http:/admin", PathError::NotAbsolute),
        ("*/admin", PathError::NotAbsolute),
        ("**", PathError::NotAbsolute),
    ] {
        assert_eq!(normal(refused), Err(error), "{refused}");
        assert_eq!(error.status(), 400, "{refused}");
    }
    // Kept: each is another resource by RFC 3986, and named here so that nobody changes it unseen.
    for (kept, expected) in [
        ("/admin;x", "/admin;x"),
        ("/admin%3Bx", "/admin%3Bx"),
        ("/ADMIN", "/ADMIN"),
        ("/%2561dmin", "/%2561dmin"),
        ("/public/%252e%252e/admin", "/public/%252e%252e/admin"),
        ("/public/%c0%ae%c0%ae/admin", "/public/%C0%AE%C0%AE/admin"),
        ("/public/%ef%bc%8fadmin", "/public/%EF%BC%8Fadmin"),
        ("/admin%20", "/admin%20"),
        ("/admin%09", "/admin%09"),
        ("/admin.", "/admin."),
    ] {
        assert_eq!(normal(kept).as_deref(), Ok(expected), "{kept}");
    }
}

#[test]
fn escaped_separators_and_parameters_have_other_readings() {
    let readings = |raw: &str| -> Vec<String> {
        Path::parse(raw.as_bytes()).unwrap().readings().map(str::to_owned).collect()
    };
    assert_eq!(readings("/admin/x"), ["/admin/x"]);
    assert_eq!(readings("/admin%2fx"), ["/admin%2Fx", "/admin/x"]);
    assert_eq!(readings("/admin%5Cx"), ["/admin%5Cx", "/admin/x"]);
    assert_eq!(readings("/%2Fadmin"), ["/%2Fadmin", "/admin"]);
    assert_eq!(readings("/api/queues/%2f/name"), ["/api/queues/%2F/name", "/api/queues/name"]);
    // `%252F` is the text `%2F`.
    assert_eq!(readings("/admin%252Fx"), ["/admin%252Fx"]);
    // What is resolved away leaves no reading behind.
    assert_eq!(readings("/a%2Fb/../c"), ["/c"]);
    // Parameters, which some servers cut off.
    assert_eq!(readings("/admin;v=1/x;y"), ["/admin;v=1/x;y", "/admin/x"]);
    assert_eq!(readings("/;x/admin"), ["/;x/admin", "/admin"]);
    assert_eq!(readings("/admin%3bx"), ["/admin%3Bx", "/admin"]);
    assert_eq!(readings("/a;x%2Fb"), ["/a;x%2Fb", "/a;x/b", "/a", "/a/b"]);
}

#[test]
fn a_path_has_a_bound() {
    let longest = format!("/{}", "a".repeat(MAX_LENGTH - 1));
    assert_eq!(normal(&longest), Ok(longest.clone()));
    let error = PathError::TooLong(MAX_LENGTH + 1);
    assert_eq!(normal(&format!("{longest}a")), Err(error));
    assert_eq!(error.status(), 414);
}

/// By rewriting the text until nothing changes.
fn naive(raw: &str) -> Result<String, PathError> {
    let mut text = String::new();
    let mut rest = raw.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'%' {
            text.push(char::from(*first));
            continue;
        }
        let digits = std::str::from_utf8(more.get(..2).ok_or(PathError::Escape(0))?).unwrap();
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(PathError::Escape(0));
        }
        rest = &more[2..];
        let octet = u8::from_str_radix(digits, 16).unwrap();
        if octet.is_ascii_alphanumeric() || "-._~".contains(char::from(octet)) {
            text.push(char::from(octet));
        } else {
            text.push_str(&format!("%{octet:02X}"));
        }
    }
    collapse(&mut text);
    Ok(text)
}

/// Merges slashes and removes dot segments, one at a time.
fn collapse(text: &mut String) {
    while text.contains("//") {
        *text = text.replace("//", "/");
    }
    for dots in ["/.", "/.."] {
        if text.ends_with(dots) {
            text.push('/');
        }
    }
    while text.contains("/./") {
        *text = text.replace("/./", "/");
    }
    while let Some(at) = text.find("/../") {
        let parent = text[..at].rfind('/').unwrap_or(0);
        text.replace_range(parent..at + 3, "");
    }
}

/// What a server sees that undoes every escape once, takes `\` for `/`, cuts parameters off, and resolves the rest.
fn most_lenient(path: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, more @ ..] = rest {
        let escaped = (*first == b'%').then(|| super::octet(&more[..2]).unwrap());
        octets.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &more[2..] } else { more };
    }
    let mut text: String = octets.into_iter().map(char::from).collect();
    text = text.replace('\\', "/");
    let cut = |segment: &str| segment.split(';').next().unwrap().to_owned();
    text = text.split('/').map(cut).collect::<Vec<_>>().join("/");
    collapse(&mut text);
    text
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "/", "/", "/", "//", ".", "..", "%2e", "%2E", "a", "b", "admin", "%61", "%2f", "%2F", "%5c", ";",
        "%3b", "%25", "%c3%a9", "~", "%7e", "=", "x%20y", "..;", "%00", "%4", "\\",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn it_is_the_naive_one(raw in pieces()) {
        match (normal(&raw), naive(&raw)) {
            (Ok(normal), naive) => prop_assert_eq!(Ok(normal), naive),
            (Err(PathError::Escape(_)), naive) => prop_assert!(matches!(naive, Err(PathError::Escape(_)))),
            (Err(_), _) => {}
        }
    }

    #[test]
    fn it_is_its_own_normal_form(raw in pieces()) {
        if let Ok(path) = Path::parse(raw.as_bytes()) {
            prop_assert_eq!(Path::parse(path.as_str().as_bytes()), Ok(path));
        }
    }

    /// The last reading is what the most lenient server sees, escapes undone: none is led elsewhere.
    #[test]
    fn no_server_reads_more_than_the_readings(raw in pieces()) {
        if let Ok(path) = Path::parse(raw.as_bytes()) {
            let last = path.readings().last().unwrap();
            let mut seen = String::new();
            for segment in last.split('/').skip(1) {
                seen.push('/');
                seen.push_str(&most_lenient(segment));
            }
            prop_assert_eq!(most_lenient(path.as_str()), seen, "{:?}", path);
        }
    }

    #[test]
    fn any_bytes_do(raw in prop::collection::vec(any::<u8>(), 0..64)) {
        crate::fuzzing::normaliser(&raw);
    }
}
