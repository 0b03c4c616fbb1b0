//! The forms of a plain HTML page: enough of HTML for a sign-in page that a browser can
//! use without scripts, and nothing beyond. A tokenizer of its own, since those that know
//! all of HTML bring tables larger than this Worker's share for it.
//!
//! Comments and the insides of scripts, styles and the like are no tags.

/// What one form would send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    pub is_post: bool,
    /// As the page has it; empty: the page's own address.
    pub action: String,
    /// Fields that have a value of their own, and boxes that are ticked.
    pub fields: Vec<(String, String)>,
    /// The first field for a text, an address or a number.
    pub identifier: Option<String>,
    pub password: Option<String>,
    /// The first button, which is the one that Enter presses, where it has a name.
    pub button: Option<(String, String)>,
    /// There is a button at all, or something that submits.
    pub has_button: bool,
}

/// What the tags below hold is text.
const RAW: [&str; 5] = ["script", "style", "textarea", "title", "template"];

pub fn forms(html: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    let mut open: Option<Form> = None;
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = rest.get(at + 1..).unwrap_or_default();
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, rest)| rest);
            continue;
        }
        let Some((tag, behind)) = tag(rest) else {
            continue;
        };
        rest = behind;
        if RAW.contains(&tag.name.as_str()) {
            rest = behind_end_of(rest, &tag.name);
            continue;
        }
        match tag.name.as_str() {
            "form" => {
                forms.extend(open.take());
                open = Some(Form {
                    is_post: tag.is("method", "post"),
                    action: tag.value("action").unwrap_or_default(),
                    ..Form::default()
                });
            }
            "/form" => forms.extend(open.take()),
            "input" | "button" => {
                if let Some(form) = &mut open {
                    form.take(&tag);
                }
            }
            _ => {}
        }
    }
    forms.extend(open);
    forms
}

impl Form {
    fn take(&mut self, tag: &Tag) {
        let name = tag.value("name").filter(|name| !name.is_empty());
        let value = tag.value("value");
        let kind = tag.value("type").unwrap_or_default().to_ascii_lowercase();
        let is_button = tag.name == "button";
        match (is_button, kind.as_str()) {
            (true, "" | "submit") | (false, "submit" | "image") => {
                if !self.has_button {
                    self.button = name.map(|name| (name, value.unwrap_or_default()));
                }
                self.has_button = true;
            }
            (true, _) | (false, "button" | "reset" | "file") => {}
            (false, "password") => self.password = self.password.take().or(name),
            (false, "checkbox" | "radio") => {
                if let (Some(name), true) = (name, tag.has("checked")) {
                    let value = value.unwrap_or_else(|| "on".to_owned());
                    self.fields.push((name, value));
                }
            }
            (false, "hidden") => {
                self.fields
                    .extend(name.map(|name| (name, value.unwrap_or_default())));
            }
            (false, _) => match (&self.identifier, name) {
                (None, name @ Some(_)) => self.identifier = name,
                (_, name) => {
                    self.fields
                        .extend(name.map(|name| (name, value.unwrap_or_default())));
                }
            },
        }
    }
}

struct Tag {
    /// In lower case; of an end tag with its slash.
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn value(&self, name: &str) -> Option<String> {
        let found = self.attributes.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone())
    }

    fn has(&self, name: &str) -> bool {
        self.attributes.iter().any(|(key, _)| key == name)
    }

    fn is(&self, name: &str, expected: &str) -> bool {
        self.value(name)
            .is_some_and(|value| value.eq_ignore_ascii_case(expected))
    }
}

/// From behind its `<`; what follows its `>`. `None`: no tag begins here.
fn tag(text: &str) -> Option<(Tag, &str)> {
    let begins = text.strip_prefix('/').unwrap_or(text);
    begins
        .starts_with(|first: char| first.is_ascii_alphabetic())
        .then_some(())?;
    let end = text.find(|next: char| next.is_ascii_whitespace() || next == '>')?;
    let (name, mut rest) = text.split_at_checked(end)?;
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|next: char| next.is_ascii_whitespace() || next == '/');
        if let Some(behind) = rest.strip_prefix('>') {
            let name = name.trim_end_matches('/').to_ascii_lowercase();
            return Some((Tag { name, attributes }, behind));
        }
        let end =
            rest.find(|next: char| next.is_ascii_whitespace() || matches!(next, '=' | '>' | '/'))?;
        let (key, behind) = rest.split_at_checked(end.max(1))?;
        let behind = behind.trim_start();
        let (value, behind) = match behind.strip_prefix('=') {
            None => ("", behind),
            Some(value) => attribute_value(value.trim_start())?,
        };
        attributes.push((key.to_ascii_lowercase(), decoded(value)));
        rest = behind;
    }
}

fn attribute_value(text: &str) -> Option<(&str, &str)> {
    for quote in ['"', '\''] {
        if let Some(quoted) = text.strip_prefix(quote) {
            return quoted.split_once(quote);
        }
    }
    let end = text.find(|next: char| next.is_ascii_whitespace() || next == '>')?;
    text.split_at_checked(end)
}

fn behind_end_of<'a>(text: &'a str, name: &str) -> &'a str {
    let mut rest = text;
    while let Some(at) = rest.find("</") {
        rest = rest.get(at + 2..).unwrap_or_default();
        let is_end = rest
            .get(..name.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(name));
        if is_end {
            return rest.split_once('>').map_or("", |(_, rest)| rest);
        }
    }
    ""
}

/// The references that attributes are written with; any other stays as it is.
fn decoded(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, reference)) = rest.split_once('&') {
        decoded.push_str(before);
        let found = reference
            .split_once(';')
            .and_then(|(name, behind)| Some((character(name)?, behind)));
        match found {
            Some((character, behind)) => {
                decoded.push(character);
                rest = behind;
            }
            None => {
                decoded.push('&');
                rest = reference;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_page_has_one_form_with_its_fields() {
        let html = r#"<!doctype html><html><head><title>Sign in <form></title><style>form{}</style>
            <script>document.write('<form><input type=password name=evil></form>')</script></head><body>
            <!-- <form><input type="password" name="no"></form> -->
            <FORM Method="POST" action="/authorize?a=1&amp;b=2">
              <input type=hidden name=csrf value='x&quot;y&#39;z'>
              <label>Email <input name="email" type="email" required autofocus></label>
              <label>Password <input name="password" type="password" required></label>
              <label><input name="remember" type="checkbox" value="on" checked> Remember me</label>
              <input type="checkbox" name="spam" value="on">
              <button type="button" name="show">Show</button><button>Sign in</button>
            </FORM></body></html>"#;
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            forms(html),
            [Form {
                is_post: true,
                action: "/authorize?a=1&b=2".to_owned(),
                fields: vec![pair("csrf", "x\"y'z"), pair("remember", "on")],
                identifier: Some("email".to_owned()),
                password: Some("password".to_owned()),
                button: None,
                has_button: true,
            }]
        );
    }

    #[test]
    fn a_consent_page_has_a_button_with_a_value() {
        let html = r#"<form method=post><button name="consent" value="yes">Continue</button><button name="consent" value="no">No</button></form>"#;
        let found = forms(html);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].button,
            Some(("consent".to_owned(), "yes".to_owned()))
        );
        assert!(found[0].is_post && found[0].identifier.is_none());
    }

    #[test]
    fn a_button_behind_the_first_is_not_pressed() {
        let html = r#"<form method=post><input name=email><button>Sign in</button><button name="forgot" value="on">Forgot?</button></form>"#;
        let found = forms(html);
        assert_eq!((found[0].has_button, &found[0].button), (true, &None));
    }

    #[test]
    fn nothing_breaks_on_broken_pages() {
        for html in [
            "",
            "<",
            "<form",
            "<form ",
            "<form a",
            "<form a=",
            "<form a='",
            "<form><input",
            "<!--",
            "<script>",
            "<form><input name=>",
            "a < b > c",
            "<form =x>",
            "&#xffffffff;<form action='&#xffffffff;&'>",
        ] {
            forms(html);
        }
        assert_eq!(forms("<form><input name=a>").len(), 1);
        assert_eq!(
            forms("<form action='&#xffffffff;&'>")[0].action,
            "&#xffffffff;&"
        );
    }
}
