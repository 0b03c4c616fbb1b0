//! The operators' page: one HTML document without a figure in it; what it shows it asks
//! of the other routes, with the token that a person types into it.
//!
//! Nothing of it may come from elsewhere or be made of data: the policy names its own
//! style and script by their digests, and forbids markup out of text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::runtime::answer::Answer;

const FRAME: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// One module, in this order: later parts use earlier ones.
const SCRIPT: &str = concat!(
    include_str!("page/dom.js"),
    include_str!("page/plots.js"),
    include_str!("page/tables.js"),
    include_str!("page/checklist.js"),
    include_str!("page/cleanup.js"),
    include_str!("page/page.js"),
);

pub fn page() -> Answer {
    let headers = vec![
        ("content-type", "text/html; charset=utf-8".to_owned()),
        ("content-security-policy", policy()),
        ("cache-control", "no-store".to_owned()),
        ("referrer-policy", "no-referrer".to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
        ("x-frame-options", "DENY".to_owned()),
        ("cross-origin-opener-policy", "same-origin".to_owned()),
    ];
    Answer {
        status: 200,
        headers,
        body: FRAME
            .replacen("/*style*/", STYLE, 1)
            .replacen("/*script*/", SCRIPT, 1),
    }
}

/// The icon is an empty one in the page, so that Logto is not asked for one.
fn policy() -> String {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        source(SCRIPT),
        source(STYLE),
    )
}

/// As a policy names inline text.
fn source(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}
