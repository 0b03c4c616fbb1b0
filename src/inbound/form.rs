//! A query or a form, read in one way or not at all: a parameter that is said twice, or is
//! no text, could mean one thing here and another elsewhere.
//!
//! Not for what Logto reads too, as the interaction's `app_id`: that is read as Logto does.

use form_urlencoded::parse;
use percent_encoding::percent_decode_str;

/// `application/x-www-form-urlencoded`: names and values, decoded, in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Form(pub Vec<(String, String)>);

impl Form {
    pub fn parse(text: &str) -> Option<Self> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            if pairs.iter().any(|(known, _)| *known == name) {
                return None;
            }
            pairs.push((name, decode(value)?));
        }
        Some(Self(pairs))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Unlike `form_urlencoded`, which puts a sign in place of what is no UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// The first of that name, whatever else there is, as servers commonly read a query.
pub fn first_of(query: &str, name: &str) -> Option<String> {
    let mut pairs = parse(query.as_bytes());
    let found = pairs.find(|(known, _)| known == name);
    found.map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_decoded_and_keeps_its_order() {
        let form = Form::parse("&a=1+2%203&&b&c=%C3%BC%2B=").unwrap();
        let pairs: Vec<_> = form
            .0
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(pairs, [("a", "1 2 3"), ("b", ""), ("c", "\u{fc}+=")]);
        assert_eq!((form.get("b"), form.get("d")), (Some(""), None));
        assert_eq!(Form::parse(""), Some(Form::default()));
    }

    #[test]
    fn what_reads_in_two_ways_is_not_read() {
        for text in ["a=1&a=1", "a=1&%61=2", "a=%ff", "%ff=a"] {
            assert_eq!(Form::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_first_of_a_name_is_found_in_any_query() {
        assert_eq!(first_of("x=%ff&%61=1&a=2", "a").as_deref(), Some("1"));
        assert_eq!(first_of("a", "a").as_deref(), Some(""));
        assert_eq!(first_of("b=1", "a"), None);
    }
}
