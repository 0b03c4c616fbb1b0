//! The proxy's own paths: what gateways ask, and what is kept from Logto.

use std::rc::Rc;

use super::support::tokens::{LOGTO_AUDIENCE, LOGTO_KEY};
use super::support::{Request, World};

const ADMIN: &str = "operator-s3cret";

fn world() -> Rc<World> {
    World::with(
        7,
        &[("VERIFY_AUDIENCES", LOGTO_AUDIENCE), ("ADMIN_TOKEN", ADMIN)],
    )
}

#[test]
fn a_gateways_demand_is_not_lost_by_a_slash() {
    let world = world();
    let token = LOGTO_KEY.logto_token(world.now_ms());
    let verify = |path: &str| {
        let path = format!("/_proxy/verify{path}");
        world.ask(Request::new("GET", &path).token(&token)).status
    };
    for slashes in ["", "/", "//"] {
        for (query, status) in [
            ("", 200),
            ("?", 200),
            ("?scope=all", 200),
            ("?scope=admin", 403),
            ("?scope=", 400),
            ("?scopes=all", 400),
            ("?audience=elsewhere", 400),
        ] {
            let path = format!("{slashes}{query}");
            assert_eq!(verify(&path), status, "{path}");
        }
    }
    // Path and query of a gateway's client.
    for path in [
        "/for/",
        "/for/?scope=admin",
        "/for?scopes=x",
        "/orders/1?audience=",
    ] {
        assert_eq!(verify(path), 200, "{path}");
    }
}

#[test]
fn the_admin_token_goes_to_nobody_but_the_proxy() {
    let world = world();
    let before = world.logto.served.borrow().len();
    for path in [
        "//_proxy/status",
        "/_Proxy/status",
        "/_proxy",
        "/%5Fproxy/mirror/replay?all=true",
        "/_proxy/no-such-route",
    ] {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            let answer = world.ask(Request::new(method, path).token(ADMIN));
            assert_eq!(answer.status, 404, "{method} {path}");
            assert!(answer.body.contains("proxy.no_such_route"), "{path}");
        }
        // Nobody learns from the answer whether a token is right.
        let other = world.ask(Request::new("GET", path).token("guess"));
        assert!(matches!(other.status, 401 | 404), "{path}");
    }
    assert_eq!(world.logto.served.borrow().len(), before);
    let status = world.ask(Request::new("GET", "/_proxy/status").token(ADMIN));
    assert_eq!(status.status, 200);
}
