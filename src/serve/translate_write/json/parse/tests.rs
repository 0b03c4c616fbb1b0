//! Each message is what Node 22 says to the text.

use super::*;

fn message(text: &str) -> String {
    match parse(text) {
        Ok(parsed) => format!("{:?}", parsed.value),
        Err(Unparsed::TooDeep) => "too deep".to_owned(),
        // Half a pair at the edge of what is shown is not shown by a test either.
        Err(Unparsed::Message(units)) => String::from_utf16_lossy(&units),
    }
}

#[rustfmt::skip]
#[test]
fn errors_are_worded_as_v8_words_them() {
    for (text, expected) in [
        ("{", "Expected property name or '}' in JSON at position 1 (line 1 column 2)"),
        ("{\"a\"", "Expected ':' after property name in JSON at position 4 (line 1 column 5)"),
        ("{\"a\":", "Unexpected end of JSON input"),
        ("{\"a\":1", "Expected ',' or '}' after property value in JSON at position 6 (line 1 column 7)"),
        ("{\"a\":1,", "Expected double-quoted property name in JSON at position 7 (line 1 column 8)"),
        ("{\"a\":1,}", "Expected double-quoted property name in JSON at position 7 (line 1 column 8)"),
        ("{a:1}", "Expected property name or '}' in JSON at position 1 (line 1 column 2)"),
        ("{\"a\" 1}", "Expected ':' after property name in JSON at position 5 (line 1 column 6)"),
        ("[1,]", "Unexpected token ']', \"[1,]\" is not valid JSON"),
        ("[1 2]", "Expected ',' or ']' after array element in JSON at position 3 (line 1 column 4)"),
        ("[", "Unexpected end of JSON input"),
        ("[\"", "Unterminated string in JSON at position 2 (line 1 column 3)"),
        ("[\"\\x\"]", "Bad escaped character in JSON at position 3 (line 1 column 4)"),
        ("[\"\\é\"]", "Bad escaped character in JSON at position 3 (line 1 column 4)"),
        ("[\"\\ж\"]", "Unexpected token 'ж', \"[\"\\ж\"]\" is not valid JSON"),
        ("[\"\\u12\"]", "Bad Unicode escape in JSON at position 6 (line 1 column 7)"),
        ("[\"\\u12g4\"]", "Bad Unicode escape in JSON at position 6 (line 1 column 7)"),
        ("[\"a\nb\"]", "Bad control character in string literal in JSON at position 3 (line 1 column 4)"),
        ("[01]", "Unexpected number in JSON at position 2 (line 1 column 3)"),
        ("[-]", "No number after minus sign in JSON at position 2 (line 1 column 3)"),
        ("[1.]", "Unterminated fractional number in JSON at position 3 (line 1 column 4)"),
        ("[1e+]", "Exponent part is missing a number in JSON at position 4 (line 1 column 5)"),
        ("[tru]", "Unexpected token ']', \"[tru]\" is not valid JSON"),
        ("[truex]", "Expected ',' or ']' after array element in JSON at position 5 (line 1 column 6)"),
        ("[nul", "Unexpected end of JSON input"),
        ("[undefined]", "Unexpected token 'u', \"[undefined]\" is not valid JSON"),
        ("{}x", "Unexpected non-whitespace character after JSON at position 2 (line 1 column 3)"),
        ("{} {}", "Unexpected non-whitespace character after JSON at position 3 (line 1 column 4)"),
        ("[.5]", "Unexpected token '.', \"[.5]\" is not valid JSON"),
        ("{\"a\":1 \"b\":2}", "Expected ',' or '}' after property value in JSON at position 7 (line 1 column 8)"),
        ("{\"a\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,x,21,22,23,24,25,26,27,28,29,30]}", "Unexpected token 'x', ...\",18,19,20,x,21,22,23\"... is not valid JSON"),
        ("[x,\"and so on and so on\"]", "Unexpected token 'x', \"[x,\"and so \"... is not valid JSON"),
        ("{\"and so on and so on\":x}", "Unexpected token 'x', ...\"nd so on\":x}\" is not valid JSON"),
        ("{\n \"a\": x}\n", "Unexpected token 'x', \"{\n \"a\": x}\n\" is not valid JSON"),
        ("{\r\n\"a\":1\r\n\"b\":2}", "Expected ',' or '}' after property value in JSON at position 10 (line 3 column 1)"),
        ("[\"abc\\", "Unexpected end of JSON input"),
        ("[\"a\\u1", "Bad Unicode escape in JSON at position 6 (line 1 column 7)"),
        ("{\"b\":1} ", "Unexpected non-whitespace character after JSON at position 7 (line 1 column 8)"),
        ("[+1]", "Unexpected token '+', \"[+1]\" is not valid JSON"),
        ("[t1]", "Unexpected number in JSON at position 2 (line 1 column 3)"),
        ("[t\"]", "Unexpected string in JSON at position 2 (line 1 column 3)"),
        ("[-01]", "Unexpected number in JSON at position 3 (line 1 column 4)"),
        ("{,}", "Expected property name or '}' in JSON at position 1 (line 1 column 2)"),
        ("[object Object]", "\"[object Object]\" is not valid JSON"),
        ("{\"😀😀😀😀😀😀\":😀😀😀😀😀😀}", "Unexpected token '�', ...\"😀😀😀😀\":😀😀😀😀😀\"... is not valid JSON"),
        ("[tru", "Unexpected end of JSON input"),
        ("[f alse]", "Unexpected token ' ', \"[f alse]\" is not valid JSON"),
        ("[\"12345678901234567\",x]", "Unexpected token 'x', ...\"01234567\",x]\" is not valid JSON"),
        ("[x,\"1234567890123456\"]", "Unexpected token 'x', \"[x,\"1234567\"... is not valid JSON"),
        ("[x,\"12345678901234567\"]", "Unexpected token 'x', \"[x,\"1234567\"... is not valid JSON"),
        ("[\"1234567\",x,\"12345678\"]", "Unexpected token 'x', ...\"\"1234567\",x,\"1234567\"... is not valid JSON"),
        ("[\"123456\",x,\"1234567\"]", "Unexpected token 'x', ...\"[\"123456\",x,\"1234567\"... is not valid JSON"),
        ("[\"123456\",x,\"12345678\"]", "Unexpected token 'x', ...\"[\"123456\",x,\"1234567\"... is not valid JSON"),
    ] {
        assert_eq!(message(text), expected, "{text}");
    }
}

#[test]
fn a_body_may_not_be_as_deep_as_a_user() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(&nested(MAX_BODY_DEPTH)).is_ok());
    assert_eq!(message(&nested(MAX_BODY_DEPTH + 2)), "too deep");
    let view = |depth: usize| format!("{{\"a\":{}}}", nested(depth));
    assert!(parse_view(&view(MAX_VIEW_DEPTH - 1)).is_some());
    assert!(parse_view(&view(MAX_VIEW_DEPTH + 1)).is_none());
    assert!(parse_view(r#"{"a":"\ud800"}"#).is_none());
}

#[test]
fn half_a_surrogate_pair_is_told_of() {
    let parsed = parse(r#"["\ud83e\udd8a","\ud800x"]"#).unwrap();
    assert!(parsed.has_lone_surrogate);
    assert_eq!(parsed.value.to_json(), "[\"🦊\",\"\u{fffd}x\"]");
    assert!(!parse(r#"["\ud83e\udd8a"]"#).unwrap().has_lone_surrogate);
}
