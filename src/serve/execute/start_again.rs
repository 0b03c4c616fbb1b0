//! "Start again", in the language of the interaction, as Logto's pages show an error: a
//! `code` that they do not know, and the `message` that they then show as it is.
//!
//! The language: what the application asked for (`ui_locales`, which Logto keeps in the
//! cookie `_logto` for its own page), else the browser's own, else English.

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::auth::pin::cookies_named;
use crate::inbound::classify::Refusal;
use crate::runtime::answer::Answer;

pub(super) const CODE: &str = "proxy.start_again";

/// Tag and sentence; of two with the same language the first is for any other region.
const SENTENCES: &[(&str, &str)] = &[
    (
        "en",
        "Accounts have moved. Please go back to the application and start again.",
    ),
    (
        "ar",
        "تم نقل الحسابات. يرجى العودة إلى التطبيق والبدء من جديد.",
    ),
    (
        "cs",
        "Účty byly přesunuty. Vraťte se prosím do aplikace a začněte znovu.",
    ),
    (
        "de",
        "Die Konten sind umgezogen. Bitte gehen Sie zurück zur Anwendung und beginnen Sie von vorn.",
    ),
    (
        "es",
        "Las cuentas se han trasladado. Vuelva a la aplicación y empiece de nuevo.",
    ),
    (
        "fr",
        "Les comptes ont été déplacés. Veuillez retourner à l’application et recommencer.",
    ),
    (
        "it",
        "Gli account sono stati spostati. Torna all’applicazione e ricomincia.",
    ),
    (
        "ja",
        "アカウントは移行されました。アプリケーションに戻って、最初からやり直してください。",
    ),
    (
        "ko",
        "계정이 이전되었습니다. 애플리케이션으로 돌아가 다시 시작해 주세요.",
    ),
    (
        "pl",
        "Konta zostały przeniesione. Wróć do aplikacji i zacznij od nowa.",
    ),
    (
        "pt",
        "As contas foram transferidas. Volte à aplicação e comece de novo.",
    ),
    (
        "ru",
        "Учётные записи перенесены. Вернитесь в приложение и начните заново.",
    ),
    ("th", "บัญชีถูกย้ายแล้ว โปรดกลับไปที่แอปพลิเคชันแล้วเริ่มใหม่อีกครั้ง"),
    (
        "tr",
        "Hesaplar taşındı. Lütfen uygulamaya dönüp yeniden başlayın.",
    ),
    (
        "uk",
        "Облікові записи перенесено. Поверніться до застосунку та почніть спочатку.",
    ),
    ("zh", "账户已迁移。请返回应用并重新开始。"),
    ("zh-tw", "帳戶已遷移。請返回應用程式並重新開始。"),
    ("zh-hk", "帳戶已遷移。請返回應用程式並重新開始。"),
    ("zh-hant", "帳戶已遷移。請返回應用程式並重新開始。"),
];

/// A tag of the table above.
pub(super) fn language(cookies: &str, accept_language: &str) -> &'static str {
    let asked = asked_of_logto(cookies);
    let asked = asked.split_whitespace().map(str::to_owned);
    let accepted = accepted(accept_language);
    asked
        .chain(accepted)
        .find_map(|tag| known(&tag))
        .unwrap_or("en")
}

pub(super) fn answer(language: &'static str, request_id: &str) -> Answer {
    let sentence = SENTENCES.iter().find(|(tag, _)| *tag == language);
    let message = sentence.map_or("", |(_, sentence)| *sentence);
    let body = json!({ "code": CODE, "message": message, "request_id": request_id });
    Answer {
        status: Refusal::StartAgain.status(),
        headers: vec![
            ("content-type", "application/json; charset=utf-8".to_owned()),
            ("content-language", language.to_owned()),
            ("cache-control", "no-store".to_owned()),
            ("vary", "Accept-Language, Cookie".to_owned()),
        ],
        body: body.to_string(),
    }
}

/// `_logto={"appId":…,"uiLocales":"fr de"}`, percent-encoded by some releases.
fn asked_of_logto(cookies: &str) -> String {
    let found = cookies_named(cookies, "_logto").find_map(|value| {
        let value = percent_decode_str(value).decode_utf8().ok()?;
        let value: Value = serde_json::from_str(&value).ok()?;
        Some(value.get("uiLocales")?.as_str()?.to_owned())
    });
    found.unwrap_or_default()
}

/// RFC 9110 12.5.4: by weight, and as listed where that is the same.
fn accepted(header: &str) -> Vec<String> {
    let mut ranges: Vec<(u16, String)> = header
        .split(',')
        .take(16)
        .filter_map(|range| {
            let (tag, weight) = range.split_once(';').unwrap_or((range, "q=1"));
            let weight: f32 = weight.trim().strip_prefix("q=")?.parse().ok()?;
            let thousandths = (weight.clamp(0.0, 1.0) * 1_000.0) as u16;
            (thousandths > 0).then(|| (1_000 - thousandths, tag.trim().to_owned()))
        })
        .collect();
    ranges.sort_by_key(|(behind, _)| *behind);
    ranges.into_iter().map(|(_, tag)| tag).collect()
}

/// The tag, or what is left of it without its last parts.
fn known(tag: &str) -> Option<&'static str> {
    let mut rest = tag.to_ascii_lowercase();
    loop {
        if let Some((known, _)) = SENTENCES.iter().find(|(known, _)| *known == rest) {
            return Some(known);
        }
        rest.truncate(rest.rfind('-')?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_application_is_asked_before_the_browser() {
        let cookie =
            |locales: &str| format!(r#"a=b; _logto={{"appId":"spa","uiLocales":"{locales}"}}"#);
        for (cookies, accept, expected) in [
            (cookie("fr de"), "ja", "fr"),
            (cookie("xx de-AT"), "ja", "de"),
            (cookie("xx"), "ja", "ja"),
            (cookie(""), "", "en"),
            (
                "_logto=%7B%22uiLocales%22%3A%22uk-UA%22%7D".to_owned(),
                "ja",
                "uk",
            ),
            ("_logto={".to_owned(), "pt-BR,pt;q=0.9,en;q=0.8", "pt"),
            (String::new(), "xx, de;q=0.3, ru;q=0.7", "ru"),
            (String::new(), "zh-Hant-HK", "zh-hant"),
            (String::new(), "zh-CN", "zh"),
            (String::new(), "zh-TW", "zh-tw"),
            (String::new(), "de;q=0, *;q=0.5", "en"),
            (String::new(), "\u{fffd};;q=,,-", "en"),
        ] {
            assert_eq!(language(&cookies, accept), expected, "{cookies} {accept}");
        }
    }

    #[test]
    fn each_sentence_is_one_and_the_body_is_as_logtos() {
        for (tag, sentence) in SENTENCES {
            let answer = answer(tag, "r1");
            let body: Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(body["code"], CODE);
            assert_eq!(body["message"], *sentence);
            assert!(!sentence.is_empty() && known(tag) == Some(*tag));
        }
        assert_eq!(CODE, Refusal::StartAgain.code());
    }
}
