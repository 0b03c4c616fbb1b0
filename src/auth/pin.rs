//! What the proxy leaves in a browser, sealed: the pin of the sign-in link, the mark of a
//! ready user, and the request of a sign-out that is at mgPass for a moment.
//!
//! Each goes by its path to the proxy's own route and to no backend. The seal is an HMAC
//! over its purpose and the value, so that none of them can stand for another. It keeps a
//! browser from choosing its bucket; nothing that is worth anything hangs on it, and a
//! value copied from another browser draws what that browser would have drawn.
//!
//! RFC 6265; RFC 2104.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::inbound::request::Secret;

/// Half of the HMAC: 128 bits.
const SEAL_BYTES: usize = 16;
/// Browsers keep no cookie longer.
const PIN_SECONDS: i64 = 400 * 86_400;
/// What the mark says.
const READY: &str = "1";
const STAYS: &str = "0";
/// A user's factors may change: after so long the mark is worth nothing.
const READY_SECONDS: i64 = 90 * 86_400;
/// A page of mgPass's lies between.
const SIGN_OUT_SECONDS: i64 = 600;
/// What a browser keeps in one cookie is 4,096 bytes, name and attributes included.
const MAX_KEPT_BYTES: usize = 3_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One random bucket.
    Pin,
    /// The last sign-in at Logto was by a ready user, or by one whom mgPass cannot take
    /// over; apart from the pin, which never reaches the route that knows.
    Ready,
    SignOut,
}

impl Kind {
    pub fn cookie(self) -> &'static str {
        match self {
            Self::Pin => "__Secure-dwp_pin",
            Self::Ready => "__Secure-dwp_ready",
            Self::SignOut => "__Secure-dwp_sign_out",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Pin | Self::Ready => "/_proxy/sign-in",
            Self::SignOut => "/_proxy/signed-out",
        }
    }

    fn seconds(self) -> i64 {
        match self {
            Self::Pin => PIN_SECONDS,
            Self::Ready => READY_SECONDS,
            Self::SignOut => SIGN_OUT_SECONDS,
        }
    }
}

/// The request of a sign-out, for its second half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignOut {
    #[serde(rename = "a")]
    pub application: String,
    #[serde(rename = "u", skip_serializing_if = "Option::is_none", default)]
    pub return_to: Option<String>,
    #[serde(rename = "s", skip_serializing_if = "Option::is_none", default)]
    pub state: Option<String>,
}

/// The `Set-Cookie` line.
pub fn bucket_cookie(secret: &Secret<String>, bucket: u16, now_s: i64) -> String {
    cookie(secret, Kind::Pin, &bucket.to_string(), now_s)
}

pub fn ready_cookie(secret: &Secret<String>, now_s: i64) -> String {
    cookie(secret, Kind::Ready, READY, now_s)
}

/// Of a user whom mgPass cannot take over.
pub fn stays_cookie(secret: &Secret<String>, now_s: i64) -> String {
    cookie(secret, Kind::Ready, STAYS, now_s)
}

/// `None`: too long to be kept.
pub fn sign_out_cookie(secret: &Secret<String>, request: &SignOut, now_s: i64) -> Option<String> {
    let text = serde_json::to_string(request).ok()?;
    let value = URL_SAFE_NO_PAD.encode(text);
    (value.len() <= MAX_KEPT_BYTES).then(|| cookie(secret, Kind::SignOut, &value, now_s))
}

/// Takes it out of the browser.
pub fn no_cookie(kind: Kind) -> String {
    line(kind, "", 0)
}

pub fn bucket(secret: &Secret<String>, cookies: &str, now_s: i64) -> Option<u16> {
    let value = value(secret, Kind::Pin, cookies, now_s)?;
    value.parse().ok().filter(|bucket| *bucket < 10_000)
}

pub fn is_ready(secret: &Secret<String>, cookies: &str, now_s: i64) -> bool {
    value(secret, Kind::Ready, cookies, now_s).as_deref() == Some(READY)
}

pub fn stays(secret: &Secret<String>, cookies: &str, now_s: i64) -> bool {
    value(secret, Kind::Ready, cookies, now_s).as_deref() == Some(STAYS)
}

pub fn sign_out(secret: &Secret<String>, cookies: &str, now_s: i64) -> Option<SignOut> {
    let value = value(secret, Kind::SignOut, cookies, now_s)?;
    let text = URL_SAFE_NO_PAD.decode(value).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Every value of that name in a `Cookie` header.
pub fn cookies_named<'c>(header: &'c str, name: &str) -> impl Iterator<Item = &'c str> {
    header.split(';').filter_map(move |pair| {
        let (found, value) = pair.trim().split_once('=')?;
        (found == name).then_some(value)
    })
}

/// `<value>.<issued>.<seal>`
fn cookie(secret: &Secret<String>, kind: Kind, value: &str, now_s: i64) -> String {
    let sealed = format!("{value}.{now_s}");
    let seal = seal(secret, kind, &sealed).map_or(String::new(), |mac| {
        let seal = mac.finalize().into_bytes();
        hex::encode(seal.get(..SEAL_BYTES).unwrap_or_default())
    });
    line(kind, &format!("{sealed}.{seal}"), kind.seconds())
}

fn line(kind: Kind, value: &str, seconds: i64) -> String {
    let (name, path) = (kind.cookie(), kind.path());
    format!("{name}={value}; Path={path}; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax")
}

/// Of the first cookie of that name whose seal holds and whose time is not over.
fn value(secret: &Secret<String>, kind: Kind, cookies: &str, now_s: i64) -> Option<String> {
    cookies_named(cookies, kind.cookie()).find_map(|text| {
        let (sealed, given) = text.rsplit_once('.')?;
        let given = hex::decode(given)
            .ok()
            .filter(|seal| seal.len() == SEAL_BYTES)?;
        // Compared in a time that tells nothing.
        seal(secret, kind, sealed)?
            .verify_truncated_left(&given)
            .ok()?;
        let (value, issued) = sealed.rsplit_once('.')?;
        let age_s = now_s - issued.parse::<i64>().ok()?;
        // Clocks of two places differ a little.
        (-60..=kind.seconds())
            .contains(&age_s)
            .then(|| value.to_owned())
    })
}

fn seal(secret: &Secret<String>, kind: Kind, sealed: &str) -> Option<Hmac<Sha256>> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.0.as_bytes()).ok()?;
    Some(
        mac.chain_update(kind.cookie())
            .chain_update([0])
            .chain_update(sealed),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn secret() -> Secret<String> {
        Secret("pin-s3cret".to_owned())
    }

    /// As a browser sends it back.
    fn kept(line: &str) -> String {
        line.split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_pin_comes_back_as_it_was_set() {
        let line = bucket_cookie(&secret(), 4_321, NOW);
        for part in [
            "__Secure-dwp_pin=",
            "Path=/_proxy/sign-in",
            "Secure",
            "HttpOnly",
            "SameSite=Lax",
            "Max-Age=34560000",
        ] {
            assert!(line.contains(part), "{line}");
        }
        let cookies = format!("a=1; {}; b=2", kept(&line));
        assert_eq!(bucket(&secret(), &cookies, NOW), Some(4_321));
        assert_eq!(bucket(&secret(), &cookies, NOW + PIN_SECONDS), Some(4_321));
        assert_eq!(bucket(&secret(), &cookies, NOW + PIN_SECONDS + 1), None);
        assert_eq!(bucket(&secret(), &cookies, NOW - 61), None);
        assert_eq!(
            bucket(&Secret("other".to_owned()), &cookies, NOW),
            None,
            "a secret of its own"
        );
    }

    #[test]
    fn a_forged_pin_is_none() {
        let good = kept(&bucket_cookie(&secret(), 42, NOW));
        let (_, value) = good.split_once('=').unwrap();
        let mut parts = value.splitn(3, '.');
        let (bucket_text, issued, seal) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        );
        let flipped = seal.replace(&seal[..1], if seal.starts_with('0') { "1" } else { "0" });
        for forged in [
            format!("0.{issued}.{seal}"),
            format!("{bucket_text}.{}.{seal}", NOW + 1),
            format!("{bucket_text}.{issued}.{}", &seal[..30]),
            format!("{bucket_text}.{issued}.{flipped}"),
            format!("{bucket_text}.{issued}."),
            format!("{bucket_text}.{issued}"),
            String::new(),
            "....".to_owned(),
        ] {
            let cookies = format!("__Secure-dwp_pin={forged}");
            assert_eq!(bucket(&secret(), &cookies, NOW), None, "{forged}");
            // A good one beside it counts.
            let both = format!("{cookies}; {good}");
            assert_eq!(bucket(&secret(), &both, NOW), Some(42));
        }
        let beyond = kept(&cookie(&secret(), Kind::Pin, "10000", NOW));
        assert_eq!(bucket(&secret(), &beyond, NOW), None);
    }

    #[test]
    fn one_kind_does_not_stand_for_another() {
        let pin = kept(&bucket_cookie(&secret(), 1, NOW));
        let as_mark = pin.replace("dwp_pin", "dwp_ready");
        assert!(!is_ready(&secret(), &as_mark, NOW));
        let mark = kept(&ready_cookie(&secret(), NOW));
        assert!(is_ready(&secret(), &mark, NOW));
        assert!(!is_ready(&secret(), &mark, NOW + READY_SECONDS + 1));
        assert_eq!(
            bucket(&secret(), &mark.replace("dwp_ready", "dwp_pin"), NOW),
            None
        );
    }

    #[test]
    fn a_sign_out_is_kept_for_ten_minutes_and_not_at_any_length() {
        let request = SignOut {
            application: "news".to_owned(),
            return_to: Some("https://news.example/bye?x=\u{e9}".to_owned()),
            state: Some("a.b=c; d".to_owned()),
        };
        let line = sign_out_cookie(&secret(), &request, NOW).unwrap();
        assert!(line.contains("Path=/_proxy/signed-out; Max-Age=600;"));
        let cookies = kept(&line);
        assert_eq!(
            sign_out(&secret(), &cookies, NOW + 600).as_ref(),
            Some(&request)
        );
        assert_eq!(sign_out(&secret(), &cookies, NOW + 601), None);
        let long = SignOut {
            state: Some("x".repeat(3_000)),
            ..request
        };
        assert_eq!(sign_out_cookie(&secret(), &long, NOW), None);
        assert!(no_cookie(Kind::SignOut).contains("=; Path=/_proxy/signed-out; Max-Age=0;"));
    }
}
