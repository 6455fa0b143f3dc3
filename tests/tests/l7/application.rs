//! Before anything else: what server and client do where the mesh looks at no request.

use mesh_tests::http::{
    caller::Ask,
    order::{Content, field},
    steer,
};

use super::scene::{cluster, seen_directly, settles, ways_to};

/// Services without routes: the application sees each request as it was sent, trailers and all.
#[test]
fn without_routes_requests_arrive_as_they_were_sent() {
    let ways = ways_to(&cluster().service("shop/one", 80));
    settles("the Service has endpoints", &ways, |way| way.try_ask(&way.get("/")).map(drop));
    for way in ways {
        let target = "//a/%2e%2e/b;x?q=1";
        let ask = way.get(target).method("PUT").header("x-own", "7").header("te", "trailers");
        let ask = ask.content(Content::Text("hello".to_owned())).trailer("x-sum", "5");
        let ask = ask.header("trailer", "x-sum").header(steer::TRAILER, "x-back=6");
        let answer = way.ask(&ask.authority("some.where"));
        let seen = seen_directly(&way, &answer);
        assert_eq!(answer.status(), 200, "{way}");
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("PUT", target), "{way}");
        assert_eq!((seen.authority.as_str(), seen.text.as_str()), ("some.where", "hello"), "{way}");
        assert_eq!(field(&seen.headers, "x-own"), "7", "{way}");
        assert_eq!(field(&seen.trailers, "x-sum"), "5", "{way}: {seen:?}");
        assert_eq!(field(&answer.trailers, "x-back"), "6", "{way}: {answer:?}");
        assert_eq!((seen.pod.as_str(), seen.version), ("one", way.version), "{way}");
        let call = way.ask(&Ask::call(way.to, "/shop.Cart/Add", "three"));
        assert_eq!((call.grpc_status(), call.messages.len()), ("0", 1), "{way}: {call:?}");
    }
}
