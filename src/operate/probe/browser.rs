//! What a browser keeps and works out between two requests: cookies of one origin, and
//! where a reference leads.

use crate::inbound::request::Secret;

/// Cookies of the one origin that is visited; all others are never sent or kept.
#[derive(Debug, Default)]
pub struct Cookies(Vec<(String, Secret<String>)>);

impl Cookies {
    /// One `Set-Cookie` line (RFC 6265 5.2). An expired one goes.
    pub fn take(&mut self, line: &Secret<String>) {
        let mut parts = line.0.split(';');
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        let is_over = parts.any(|part| {
            let part = part.trim().to_ascii_lowercase();
            part.strip_prefix("max-age=")
                .and_then(|age| age.parse::<i64>().ok())
                .is_some_and(|age| age <= 0)
        });
        self.0.retain(|(held, _)| *held != name);
        if !is_over && !name.is_empty() {
            self.0.push((name, Secret(value)));
        }
    }

    /// The `Cookie` header; `None`: there is nothing to send.
    pub fn header(&self) -> Option<Secret<String>> {
        let pairs: Vec<_> = self
            .0
            .iter()
            .map(|(name, value)| format!("{name}={}", value.0))
            .collect();
        (!pairs.is_empty()).then(|| Secret(pairs.join("; ")))
    }
}

/// `https://host:port` of an address.
pub fn origin(url: &str) -> Option<&str> {
    let behind = url.find("://")? + 3;
    let rest = url.get(behind..)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    url.get(..behind + end)
}

/// Where a reference on the page at `base` leads (RFC 3986 5.2; dot segments are the
/// platform's to resolve). `None`: nowhere that can be visited.
pub fn resolve(base: &str, reference: &str) -> Option<String> {
    let reference = reference.trim();
    let reference = reference.split('#').next().unwrap_or_default();
    let (scheme, _) = base.split_once("://")?;
    let has_scheme = reference
        .split(['/', '?'])
        .next()
        .is_some_and(|first| first.contains(':'));
    if has_scheme {
        let is_web = reference.starts_with("https://") || reference.starts_with("http://");
        return is_web.then(|| reference.to_owned());
    }
    if reference.starts_with("//") {
        return Some(format!("{scheme}:{reference}"));
    }
    let base = base.split('#').next().unwrap_or_default();
    if reference.is_empty() {
        return Some(base.to_owned());
    }
    let origin = origin(base)?;
    if reference.starts_with('/') {
        return Some(format!("{origin}{reference}"));
    }
    let path = base.split('?').next().unwrap_or_default();
    if reference.starts_with('?') {
        return Some(format!("{path}{reference}"));
    }
    let folder = match path.get(origin.len()..).and_then(|path| path.rfind('/')) {
        Some(end) => path.get(..origin.len() + end)?,
        None => origin,
    };
    Some(format!("{folder}/{reference}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lead_where_a_browser_would_go() {
        let base = "https://a.example:8/x/y?q=1#f";
        for (reference, expected) in [
            ("", Some("https://a.example:8/x/y?q=1")),
            ("#g", Some("https://a.example:8/x/y?q=1")),
            ("?r=2", Some("https://a.example:8/x/y?r=2")),
            ("z", Some("https://a.example:8/x/z")),
            ("/z?s=https://b", Some("https://a.example:8/z?s=https://b")),
            ("//b.example/z", Some("https://b.example/z")),
            ("http://b.example/z", Some("http://b.example/z")),
            ("javascript:alert(1)", None),
            ("mailto:a@b.example", None),
        ] {
            assert_eq!(resolve(base, reference).as_deref(), expected, "{reference}");
        }
        assert_eq!(
            resolve("https://a.example", "z").as_deref(),
            Some("https://a.example/z")
        );
        assert_eq!(origin("https://a.example:8?x"), Some("https://a.example:8"));
        assert_eq!(origin("a.example/x"), None);
    }

    #[test]
    fn cookies_are_kept_replaced_and_dropped() {
        let mut cookies = Cookies::default();
        let mut take = |line: &str| {
            cookies.take(&Secret(line.to_owned()));
            cookies.header().map(|header| header.0)
        };
        assert_eq!(take("a=1; Path=/; HttpOnly").as_deref(), Some("a=1"));
        assert_eq!(take("b=x=y; Max-Age=60").as_deref(), Some("a=1; b=x=y"));
        assert_eq!(take("a=2").as_deref(), Some("b=x=y; a=2"));
        assert_eq!(take("b=; Max-Age=0").as_deref(), Some("a=2"));
        assert_eq!(take("nonsense").as_deref(), Some("a=2"));
    }
}
