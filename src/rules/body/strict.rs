//! JSON that everybody reads in the same way.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{BodyError, MAX_DEPTH};

/// Parses `bytes`, refusing what another parser might read otherwise.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, BodyError> {
    // RFC 4627 §3: NUL among the first octets tells UTF-16 and UTF-32, which Python detects.
    let wide = bytes.iter().take(4).any(|byte| *byte == 0);
    let marked = [&b"\xef\xbb\xbf"[..], b"\xfe\xff", b"\xff\xfe"];
    if wide || marked.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(BodyError::Ambiguous);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| BodyError::Ambiguous)?;
    let refused = Cell::new(None);
    let mut json = serde_json::Deserializer::from_str(text);
    let seed = Strict { depth: 0, refused: &refused };
    let parsed = seed.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    parsed.map_err(|error| refused.get().unwrap_or_else(|| classify(text, &error)))
}

/// Whether Python's parser, which takes more than JSON, may have read what ours refused.
fn classify(text: &str, error: &serde_json::Error) -> BodyError {
    let lenient = ["NaN", "Infinity", "\\ud", "\\uD"];
    let beyond = error.to_string().starts_with("number out of range");
    if beyond || lenient.iter().any(|part| text.contains(part)) {
        BodyError::Ambiguous
    } else {
        BodyError::Syntax
    }
}

#[derive(Clone, Copy)]
struct Strict<'r> {
    depth: usize,
    refused: &'r Cell<Option<BodyError>>,
}

impl Strict<'_> {
    fn refuse<E: de::Error>(self, error: BodyError) -> E {
        self.refused.set(Some(error));
        E::custom(error)
    }

    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        match self.depth {
            MAX_DEPTH => Err(self.refuse(BodyError::Ambiguous)),
            depth => Ok(Self { depth: depth + 1, ..self }),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(self.refuse(BodyError::Duplicate));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_is_read_as_serde_json_reads_it() {
        for text in [r#"{"a": [1, -2, 1.5, true, null, {"b": "\u00e9\ud83d\ude00"}]}"#, "7", " [] "]
        {
            assert_eq!(parse(text.as_bytes()), Ok(serde_json::from_str(text).unwrap()));
        }
    }

    #[test]
    fn p5_duplicate_members_are_refused_in_every_spelling() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":1}"#, r#"[{"x":{"a":1,"a":2}}]"#] {
            assert_eq!(parse(text.as_bytes()), Err(BodyError::Duplicate), "{text}");
        }
    }

    #[test]
    fn p5_what_python_reads_and_others_do_not_is_refused() {
        let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
        let wide: Vec<u8> = r#"{"a":1}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let ambiguous: [&[u8]; 11] = [
            b"\xef\xbb\xbf{}",
            b"\xff\xfe{\0}\0",
            &wide,
            b"\0\0\0{",
            b"{\"a\": NaN}",
            b"[-Infinity]",
            br#"["\ud800"]"#,
            br#"["\uDC00x"]"#,
            b"[1e999]",
            deep.as_bytes(),
            b"[\"\xff\"]",
        ];
        for text in ambiguous {
            assert_eq!(parse(text), Err(BodyError::Ambiguous), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_nobody_reads_is_no_json() {
        for text in ["", " ", "{", "{a:1}", "{'a':1}", "[1,]", "01", "nul", "{} {}", "\"\n\""] {
            assert_eq!(parse(text.as_bytes()), Err(BodyError::Syntax), "{text}");
        }
        assert!(parse(format!("{}{}", "[".repeat(100), "]".repeat(100)).as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&bytes);
        }
    }
}
