//! `JSON.parse`, with the very words of its errors: Logto shows them to whoever sends what is no
//! JSON. They are V8's (12.4, of Node 22, on which Logto 1.41 runs); positions count UTF-16 units.

use super::{Object, Value};

/// A body that is nested deeper is not translated.
const MAX_BODY_DEPTH: usize = 100;

/// A user may hold what was written by others, and one body's depth within another's; far below
/// what the stack of a Worker takes.
const MAX_VIEW_DEPTH: usize = 500;

/// V8 shows this much of the text on each side of a token that it did not expect.
const CONTEXT: usize = 10;

#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub value: Value,
    /// A text in it holds half a surrogate pair, which no UTF-8 can; here it reads U+FFFD.
    pub has_lone_surrogate: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unparsed {
    /// V8's message, as UTF-16, because it may cut a surrogate pair in two.
    Message(Vec<u16>),
    TooDeep,
}

/// The body of a request.
///
/// # Errors
/// When it is no JSON, or deeper than can be translated.
pub fn parse(text: &str) -> Result<Parsed, Unparsed> {
    parse_within(text, MAX_BODY_DEPTH)
}

/// A user in Logto's form; `None`: it is none that can be taken apart and put together again.
pub fn parse_view(text: &str) -> Option<Object> {
    match parse_within(text, MAX_VIEW_DEPTH) {
        Ok(Parsed {
            value: Value::Object(object),
            has_lone_surrogate: false,
        }) => Some(object),
        Ok(_) | Err(_) => None,
    }
}

fn parse_within(text: &str, max_depth: usize) -> Result<Parsed, Unparsed> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let mut parser = Parser {
        units: &units,
        at: 0,
        max_depth,
        has_lone_surrogate: false,
    };
    parser.skip_space();
    let value = parser.value(0)?;
    parser.skip_space();
    if parser.at < units.len() {
        return Err(parser.positioned("Unexpected non-whitespace character after JSON"));
    }
    Ok(Parsed {
        value,
        has_lone_surrogate: parser.has_lone_surrogate,
    })
}

struct Parser<'a> {
    units: &'a [u16],
    at: usize,
    max_depth: usize,
    has_lone_surrogate: bool,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        let unit = *self.units.get(self.at)?;
        // Half a pair is no character; it is none that any rule asks for either.
        Some(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Unparsed> {
        if depth > self.max_depth {
            return Err(Unparsed::TooDeep);
        }
        match self.peek() {
            Some('{') => self.object(depth),
            Some('[') => self.list(depth),
            Some('"') => self.string().map(Value::Text),
            Some('-' | '0'..='9') => self.number(),
            Some('t') => self.literal("true", Value::Bool(true)),
            Some('f') => self.literal("false", Value::Bool(false)),
            Some('n') => self.literal("null", Value::Null),
            Some(_) | None => Err(self.unexpected()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Unparsed> {
        self.at += 1;
        self.skip_space();
        let mut members = Vec::new();
        if self.peek() == Some('}') {
            self.at += 1;
            return Ok(Value::Object(Object::default()));
        }
        let mut expected = "Expected property name or '}'";
        loop {
            if self.peek() != Some('"') {
                return Err(self.positioned(&format!("{expected} in JSON")));
            }
            let name = self.string()?;
            self.skip_space();
            if self.peek() != Some(':') {
                return Err(self.positioned("Expected ':' after property name in JSON"));
            }
            self.at += 1;
            self.skip_space();
            members.push((name, self.value(depth + 1)?));
            self.skip_space();
            match self.peek() {
                Some(',') => self.at += 1,
                Some('}') => {
                    self.at += 1;
                    return Ok(Value::Object(Object::from_members(members)));
                }
                Some(_) | None => {
                    return Err(self.positioned("Expected ',' or '}' after property value in JSON"));
                }
            }
            self.skip_space();
            expected = "Expected double-quoted property name";
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Unparsed> {
        self.at += 1;
        self.skip_space();
        let mut items = Vec::new();
        if self.peek() == Some(']') {
            self.at += 1;
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_space();
            match self.peek() {
                Some(',') => self.at += 1,
                Some(']') => {
                    self.at += 1;
                    return Ok(Value::List(items));
                }
                Some(_) | None => {
                    return Err(self.positioned("Expected ',' or ']' after array element in JSON"));
                }
            }
            self.skip_space();
        }
    }

    fn literal(&mut self, literal: &str, value: Value) -> Result<Value, Unparsed> {
        for expected in literal.chars() {
            if self.peek() != Some(expected) {
                return Err(self.unexpected());
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, Unparsed> {
        let start = self.at;
        if self.peek() == Some('-') {
            self.at += 1;
        }
        match self.peek() {
            Some('0') => {
                self.at += 1;
                if self.is_at_digit() {
                    return Err(self.positioned("Unexpected number in JSON"));
                }
            }
            Some('1'..='9') => self.skip_digits(),
            Some(_) | None => return Err(self.positioned("No number after minus sign in JSON")),
        }
        if self.peek() == Some('.') {
            self.at += 1;
            if !self.is_at_digit() {
                return Err(self.positioned("Unterminated fractional number in JSON"));
            }
            self.skip_digits();
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            self.at += 1;
            if matches!(self.peek(), Some('+' | '-')) {
                self.at += 1;
            }
            if !self.is_at_digit() {
                return Err(self.positioned("Exponent part is missing a number in JSON"));
            }
            self.skip_digits();
        }
        let text = String::from_utf16_lossy(self.units.get(start..self.at).unwrap_or_default());
        // JSON's numbers are a part of Rust's.
        Ok(Value::Number(text.parse().unwrap_or(f64::NAN)))
    }

    fn is_at_digit(&self) -> bool {
        matches!(self.peek(), Some('0'..='9'))
    }

    fn skip_digits(&mut self) {
        while self.is_at_digit() {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Result<String, Unparsed> {
        self.at += 1;
        let mut units = Vec::new();
        loop {
            let Some(&unit) = self.units.get(self.at) else {
                return Err(self.positioned("Unterminated string in JSON"));
            };
            match unit {
                0x22 => {
                    self.at += 1;
                    return Ok(self.well_formed(&units));
                }
                0x5c => {
                    self.at += 1;
                    units.push(self.escaped()?);
                }
                0..0x20 => {
                    return Err(self.positioned("Bad control character in string literal in JSON"));
                }
                _ => {
                    self.at += 1;
                    units.push(unit);
                }
            }
        }
    }

    fn escaped(&mut self) -> Result<u16, Unparsed> {
        let unit = match self.peek() {
            Some(plain @ ('"' | '\\' | '/')) => plain as u16,
            Some('b') => 0x08,
            Some('f') => 0x0c,
            Some('n') => 0x0a,
            Some('r') => 0x0d,
            Some('t') => 0x09,
            Some('u') => return self.escaped_unit(),
            // V8 looks an escape up among the first 256 characters.
            Some('\0'..='\u{ff}') => {
                return Err(self.positioned("Bad escaped character in JSON"));
            }
            Some(_) | None => return Err(self.unexpected()),
        };
        self.at += 1;
        Ok(unit)
    }

    fn escaped_unit(&mut self) -> Result<u16, Unparsed> {
        self.at += 1;
        let mut unit: u16 = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|character| character.to_digit(16)) else {
                return Err(self.positioned("Bad Unicode escape in JSON"));
            };
            // Four digits of four bits each.
            unit = (unit << 4) | digit as u16;
            self.at += 1;
        }
        Ok(unit)
    }

    fn well_formed(&mut self, units: &[u16]) -> String {
        String::from_utf16(units).unwrap_or_else(|_| {
            self.has_lone_surrogate = true;
            String::from_utf16_lossy(units)
        })
    }

    /// A message that says where.
    fn positioned(&self, message: &str) -> Unparsed {
        let before = self.units.get(..self.at).unwrap_or_default();
        let mut line = 1;
        let mut line_start = 0;
        for (index, unit) in before.iter().enumerate() {
            let is_crlf = *unit == 0x0d && before.get(index + 1) == Some(&0x0a);
            if matches!(unit, 0x0a | 0x0d) && !is_crlf {
                line += 1;
                line_start = index + 1;
            }
        }
        let column = self.at - line_start + 1;
        let message = format!(
            "{message} at position {} (line {line} column {column})",
            self.at
        );
        Unparsed::Message(message.encode_utf16().collect())
    }

    /// A token that no rule has a message for.
    fn unexpected(&self) -> Unparsed {
        let Some(unit) = self.units.get(self.at) else {
            let message = "Unexpected end of JSON input";
            return Unparsed::Message(message.encode_utf16().collect());
        };
        match self.peek() {
            Some('"') => return self.positioned("Unexpected string in JSON"),
            Some('-' | '0'..='9') => return self.positioned("Unexpected number in JSON"),
            Some(_) | None => {}
        }
        let mut message = Vec::new();
        let say = |message: &mut Vec<u16>, text: &str| message.extend(text.encode_utf16());
        // What JavaScript makes of an object that somebody forgot to stringify.
        if self
            .units
            .iter()
            .copied()
            .eq("[object Object]".encode_utf16())
        {
            say(&mut message, "\"[object Object]\" is not valid JSON");
            return Unparsed::Message(message);
        }
        say(&mut message, "Unexpected token '");
        message.push(*unit);
        say(&mut message, "', ");
        let n_units = self.units.len();
        let is_short = n_units <= 2 * CONTEXT;
        let start = if is_short {
            0
        } else {
            self.at.saturating_sub(CONTEXT)
        };
        let end = if is_short {
            n_units
        } else {
            n_units.min(self.at + CONTEXT)
        };
        // V8 marks a start that is cut off only where it cuts, and an end likewise.
        if !is_short && self.at >= CONTEXT {
            say(&mut message, "...");
        }
        say(&mut message, "\"");
        message.extend(self.units.get(start..end).unwrap_or_default());
        say(&mut message, "\"");
        let cuts_end = self.at < CONTEXT || self.at < n_units.saturating_sub(CONTEXT);
        if !is_short && cuts_end {
            say(&mut message, "...");
        }
        say(&mut message, " is not valid JSON");
        Unparsed::Message(message)
    }
}

#[cfg(test)]
mod tests;
