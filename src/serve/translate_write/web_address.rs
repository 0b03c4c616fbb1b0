//! Whether a text is a URL, as Logto's runtime reads it (`new URL` of Node 22), and where that cannot
//! be said: its reader and the one used here differ on some international host names and on odd
//! authorities of schemes of one's own.

use url::{ParseError, Url};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Address,
    NoAddress,
    Unclear,
}

pub fn read(text: &str) -> Reading {
    match Url::parse(text) {
        Ok(url) if is_odd(&url, text) => Reading::Unclear,
        Ok(_) => Reading::Address,
        Err(ParseError::IdnaError) if is_international(text) => Reading::Unclear,
        Err(_) => Reading::NoAddress,
    }
}

fn is_odd(url: &Url, text: &str) -> bool {
    let authority = text.split_once("//").map_or("", |(_, rest)| {
        rest.split(['/', '?', '#']).next().unwrap_or_default()
    });
    let is_odd_authority = !url.is_special() && authority.contains(['@', '\\']);
    // DNS has no longer label; only one of the two readers minds.
    let has_long_label = is_international(text)
        && url
            .host_str()
            .is_some_and(|host| host.split('.').any(|label| label.len() > 63));
    is_odd_authority || has_long_label
}

fn is_international(text: &str) -> bool {
    !text.is_ascii() || text.contains('%') || text.to_ascii_lowercase().contains("xn--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_whatwg() {
        let readings = [
            ("https://cdn.example.test/a.png", Reading::Address),
            ("HTTP:a", Reading::Address),
            ("mailto:a", Reading::Address),
            ("https://[::1]:8080/", Reading::Address),
            ("https://例え.テスト/é", Reading::Address),
            ("/a.png", Reading::NoAddress),
            ("https://", Reading::NoAddress),
            ("https://a b/", Reading::NoAddress),
            ("https://256.1.1.1/", Reading::NoAddress),
            ("https://a:65536/", Reading::NoAddress),
            ("https://xn--/", Reading::Unclear),
            ("https://\u{661}/", Reading::Unclear),
            ("foo://@", Reading::Unclear),
            ("foo://a/b@2x.png", Reading::Address),
        ];
        for (text, expected) in readings {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
