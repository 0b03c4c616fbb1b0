//! What a request means, from its method, target and headers alone.

pub mod classify;
pub mod form;
pub mod request;

use percent_encoding::percent_decode_str;

use self::classify::{Classified, Kind, Operation, classify};
use self::request::{Method, UserId};

/// Every route of the proxy's own begins so.
const OWN_PREFIX: &str = "/_proxy/";

/// One request, parsed and classified once; whatever handles it is handed this.
#[derive(Clone, Debug)]
pub struct Inbound {
    pub method: Method,
    pub addressee: Addressee,
    pub operation: Operation,
    /// The `:user` of the path.
    pub user: Option<UserId>,
    /// The `:item` of the path: what is asked for below the user.
    pub item: Option<String>,
    url: String,
    parts: Parts,
}

/// For whom a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressee {
    Logto,
    /// The proxy itself, below `/_proxy/`.
    Proxy,
    /// Another spelling of that. None of ours, and nobody's at Logto; whoever wrote it may
    /// have sent the admin token along, so it is not forwarded.
    Lookalike,
    /// The request has no absolute URL.
    Nobody,
}

impl Inbound {
    /// A client's URL comes as it was written. Rules must look at what Logto will be sent,
    /// so `resolve` is asked for the URL without dot segments and backslashes, where it
    /// has any.
    pub fn read(
        method: Method,
        mut url: String,
        resolve: impl FnOnce(&str) -> Option<String>,
    ) -> Self {
        let mut parts = Parts::of(&url).unwrap_or_default();
        if !is_resolved(&url, parts.path(&url))
            && let Some(resolved) = resolve(&url)
        {
            parts = Parts::of(&resolved).unwrap_or_default();
            url = resolved;
        }
        let path = parts.path(&url);
        let addressee = match parts == Parts::default() {
            true => Addressee::Nobody,
            false => addressee(path),
        };
        let classified = match addressee {
            Addressee::Logto => classify(method, path),
            Addressee::Proxy => Classified::of(own_operation(path)),
            Addressee::Lookalike | Addressee::Nobody => Classified::of(Operation::PassThrough),
        };
        Self {
            method,
            addressee,
            operation: classified.operation,
            user: classified.user,
            item: classified.item,
            url,
            parts,
        }
    }

    pub fn scheme(&self) -> &str {
        self.url.get(..self.parts.scheme_end).unwrap_or_default()
    }

    pub fn host(&self) -> &str {
        let host = self.parts.host_start..self.parts.path_start;
        self.url.get(host).unwrap_or_default()
    }

    pub fn path(&self) -> &str {
        self.parts.path(&self.url)
    }

    pub fn query(&self) -> Option<&str> {
        let after = self.url.get(self.parts.path_end..self.parts.end)?;
        after.strip_prefix('?')
    }

    /// To be appended to a backend's origin byte for byte.
    pub fn path_and_query(&self) -> &str {
        let both = self.parts.path_start..self.parts.end;
        self.url.get(both).unwrap_or_default()
    }

    /// What follows `/_proxy/`.
    pub fn own_route(&self) -> &str {
        self.path().strip_prefix(OWN_PREFIX).unwrap_or_default()
    }

    /// A client that hangs up must not cut it off: a write from what follows its answer, an
    /// exchange of tokens from its end, since what was exchanged is used up.
    pub fn outlives_its_client(&self) -> bool {
        matches!(self.operation.kind(), Kind::Write(_)) || self.operation.is_of_a_client()
    }
}

/// Where the parts of an absolute URL end, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parts {
    scheme_end: usize,
    host_start: usize,
    path_start: usize,
    path_end: usize,
    /// Of the query; a fragment is sent to nobody.
    end: usize,
}

impl Parts {
    fn of(url: &str) -> Option<Self> {
        let scheme_end = url.find("://")?;
        let host_start = scheme_end + "://".len();
        let after = |start: usize, what: &[char]| {
            let rest = url.get(start..).unwrap_or_default();
            rest.find(what).map_or(url.len(), |found| start + found)
        };
        let path_start = after(host_start, &['/', '?']);
        let end = after(path_start, &['#']);
        Some(Self {
            scheme_end,
            host_start,
            path_start,
            path_end: after(path_start, &['?']).min(end),
            end,
        })
    }

    fn path(self, url: &str) -> &str {
        url.get(self.path_start..self.path_end).unwrap_or_default()
    }
}

/// Whether a path is what Logto will be sent. The platform hands a client's URL over as it
/// came, and resolves `.`, `..` and backslashes when it makes a request of it.
fn is_resolved(url: &str, path: &str) -> bool {
    let is_dots = |segment: &str| {
        segment.len() <= "%2e%2e".len()
            && segment.starts_with(['.', '%'])
            && matches!(
                &*percent_decode_str(segment).decode_utf8_lossy(),
                "." | ".."
            )
    };
    !url.contains('\\') && !path.split('/').any(is_dots)
}

fn addressee(path: &str) -> Addressee {
    if path.starts_with(OWN_PREFIX) {
        return Addressee::Proxy;
    }
    let path = path.trim_start_matches('/');
    // Most of all paths begin otherwise.
    if !path.starts_with(['_', '%']) {
        return Addressee::Logto;
    }
    let first = path.split('/').next().unwrap_or_default();
    let first = percent_decode_str(first).decode_utf8_lossy();
    let first = first.trim_start_matches(SLASHES).split(SLASHES).next();
    match first {
        Some(first) if first.eq_ignore_ascii_case("_proxy") => Addressee::Lookalike,
        _ => Addressee::Logto,
    }
}

/// As a sloppy server may read a decoded one.
const SLASHES: [char; 2] = ['/', '\\'];

/// Routes for others than the operator, with any method. Below `verify` the path is the
/// gateway's client's own.
fn own_operation(path: &str) -> Operation {
    let route = path.strip_prefix(OWN_PREFIX).unwrap_or_default();
    match route.split('/').next() {
        Some("jwks") if route == "jwks" => Operation::ProxyJwks,
        Some("verify") => Operation::ProxyVerify,
        Some("sign-in") => Operation::ProxySignIn,
        Some("signed-out") if route == "signed-out" => Operation::ProxySignedOut,
        _ => Operation::PassThrough,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Inbound {
        Inbound::read(Method::Get, url.to_owned(), |_| None)
    }

    fn at(path: &str) -> Inbound {
        read(&format!("https://auth.example.com{path}"))
    }

    #[test]
    fn a_target_keeps_path_and_query_byte_for_byte() {
        let inbound = at("/api/users/a%20b?x=%2F&x=1");
        assert_eq!(
            (inbound.scheme(), inbound.host()),
            ("https", "auth.example.com")
        );
        assert_eq!(inbound.path(), "/api/users/a%20b");
        assert_eq!(inbound.query(), Some("x=%2F&x=1"));
        assert_eq!(inbound.path_and_query(), "/api/users/a%20b?x=%2F&x=1");
        let empty = read("http://h:1//api?");
        assert_eq!(
            (empty.host(), empty.path(), empty.query()),
            ("h:1", "//api", Some(""))
        );
        let bare = read("http://h?a/b#c?d");
        assert_eq!(
            (bare.host(), bare.path(), bare.query()),
            ("h", "", Some("a/b"))
        );
        let fragment = at("/a#b?c");
        assert_eq!(
            (fragment.path(), fragment.query(), fragment.path_and_query()),
            ("/a", None, "/a")
        );
        assert_eq!(read("nonsense").addressee, Addressee::Nobody);
    }

    #[test]
    fn what_a_rule_looks_at_is_what_is_sent() {
        for (path, expected) in [
            ("/", true),
            ("/oidc/.well-known/openid-configuration?x=/../", true),
            ("/api/users/...", true),
            ("/api/users/a.b/%2fx", true),
            ("/x/../api/users/u1", false),
            ("/./api/users/u1", false),
            ("/api/users/u1/.", false),
            ("/x/%2e%2E/api/users/u1", false),
            ("/x/.%2e/api/users/u1", false),
            ("/%2e/api/users/u1", false),
            ("/x\\..\\api/users/u1", false),
        ] {
            let url = format!("https://auth.example.com{path}");
            let resolve = |_: &str| Some("https://auth.example.com/api/users/u1".to_owned());
            let inbound = Inbound::read(Method::Patch, url, resolve);
            assert_eq!(inbound.path_and_query() == path, expected, "{path}");
            if !expected {
                assert_eq!(inbound.operation, Operation::UsersPatch, "{path}");
            }
        }
    }

    #[test]
    fn every_spelling_of_the_proxys_own_paths_is_kept_from_logto() {
        for (path, route) in [
            ("/_proxy/status?x=1", "status"),
            ("/_proxy/", ""),
            ("/_proxy//status", "/status"),
        ] {
            let inbound = at(path);
            assert_eq!(
                (inbound.addressee, inbound.own_route()),
                (Addressee::Proxy, route)
            );
        }
        for path in [
            "//_proxy/status",
            "///_proxy/status",
            "/_proxy",
            "/_proxy?x",
            "/_Proxy/status",
            "/_PROXY",
            "/%5Fproxy/status",
            "/%5f%70roxy/",
            "/_proxy%2Fstatus",
            "/_proxy%5cstatus",
            "/%2F_proxy/status",
            "//%2f%5fPROXY%2fstatus",
        ] {
            assert_eq!(at(path).addressee, Addressee::Lookalike, "{path}");
        }
        for path in [
            "",
            "/",
            "/_proxyable",
            "/_proxy.txt",
            "/proxy/status",
            "/api/_proxy/status",
            "/%",
            "/%ff",
            "/__proxy",
        ] {
            assert_eq!(at(path).addressee, Addressee::Logto, "{path}");
        }
    }

    #[test]
    fn the_routes_for_gateways_are_the_proxys_own_exact_or_below() {
        for (path, operation) in [
            ("/_proxy/jwks", Operation::ProxyJwks),
            ("/_proxy/jwks/", Operation::PassThrough),
            ("/_proxy/verify", Operation::ProxyVerify),
            ("/_proxy/verify/api/users/u1", Operation::ProxyVerify),
            ("/_proxy/verifyx", Operation::PassThrough),
            ("/_proxy/status", Operation::PassThrough),
            ("/_proxy/sign-in/news", Operation::ProxySignIn),
            ("/_proxy/signed-out", Operation::ProxySignedOut),
            ("/_proxy/signed-out/x", Operation::PassThrough),
            ("/_proxy/sign-inx", Operation::PassThrough),
            ("//_proxy/jwks", Operation::PassThrough),
        ] {
            assert_eq!(at(path).operation, operation, "{path}");
        }
    }
}
