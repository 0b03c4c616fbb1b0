//! base64url as RFC 7515 2 has it: no padding, no white space, no other alphabet, and the unused
//! bits of the last character zero, so that one byte string has one spelling.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Every choice is spelt out, because a more lenient default would make tokens malleable.
const STRICT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(false),
);

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    STRICT.decode(text).ok()
}

#[cfg(test)]
pub(super) fn encode(bytes: &[u8]) -> String {
    STRICT.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[track_caller]
    fn check(text: &str, expected: Option<&[u8]>) {
        assert_eq!(decode(text).as_deref(), expected, "{text:?}");
    }

    #[test]
    fn one_spelling_per_byte_string() {
        check("", Some(b""));
        check("Zg", Some(b"f"));
        check("Zm8", Some(b"fo"));
        check("Zm9v", Some(b"foo"));
        check("-_8", Some(b"\xfb\xff"));
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for text in [
            "Zg==",
            "Zg=",
            "Zm8=",
            "Zh",
            "Zm9",
            "Z",
            "Zm9vZ",
            "+/8",
            "Zm9v\n",
            " Zm9v",
            "Zm 9v",
            "Zm\t9v",
            "Zm9v\0",
            "Ｚm9v",
            "Zm9ѵ",
            "Zm9v\u{200b}",
            "Zm9v\u{feff}",
            "Zm9v%3D",
            "Zm9v,",
        ] {
            check(text, None);
        }
    }
}
