//! Bodies that parsers read differently, on the create whose parent the sidecar takes from the body:
//! it must be the one that the service made the row for.

use std::io::Write;

use fastrand::Rng;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::case::{BODY, Case, ENCODINGS};

/// The case with that number of the run with that seed.
pub(crate) fn case(seed: u64, number: usize) -> Case {
    let mut rng = Rng::with_seed(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ number as u64);
    let name = format!("b{seed:x}n{number}");
    let mut text = object(&mut rng);
    for _ in 0..[0, 0, 0, 1, 2][rng.usize(..5)] {
        mutate(&mut rng, &mut text);
    }
    let body = written(&mut rng, &text);
    let (body, coding) = coded(&mut rng, body);
    let head = format!(
        "POST /agent_api_keys/webhook-trigger HTTP/1.1\r\nhost: keys\r\nx-user-id: alice\r\n\
         x-case: {name}\r\naccept-encoding: {ENCODINGS}\r\n{coding}{}content-length: {}\r\n\r\n",
        content_type(&mut rng),
        body.len()
    );
    Case::body(name, [head.into_bytes(), body.clone()].concat(), body)
}

/// An object that names an agent, or two, or none.
fn object(rng: &mut Rng) -> String {
    let members = [
        r#""agent_name":"a1""#,
        r#""agent_name":"b2""#,
        r#""agent_name" : "b2""#,
        r#""agent\u005fname":"b2""#,
        r#""\u0061gent_name":"c3""#,
        r#""Agent_name":"b2""#,
        r#""agent_name\u0000":"b2""#,
        r#""agent_name":null"#,
        r#""agent_name":1"#,
        r#""agent_name":["b2"]"#,
        r#""agent_name":"a1\u0000""#,
        r#""agent_name":"a/1""#,
        r#""agent_name":"..""#,
        r#""agent_name":"a1%2F""#,
        r#""agent_name":"\ud83d\ude00""#,
        r#""agent_name":"\ud800""#,
        r#""agent_name":"é""#,
        r#""agent_name":"a1?agent_name=b2""#,
        r#""x":{"agent_name":"b2"}"#,
        r#""x":[[[{"agent_name":"b2","agent_name":"c3"}]]]"#,
        r#""x":NaN"#,
        r#""x":-Infinity"#,
        r#""x":1e999"#,
        r#""x":123456789012345678901234567890"#,
        r#""x":01"#,
        r#""x":"a	b""#,
        r#""x":'a'"#,
        r#""":1,"":2"#,
        r#""__proto__":{"agent_name":"b2"}"#,
    ];
    let more: Vec<_> = (0..rng.usize(..3)).map(|_| members[rng.usize(..members.len())]).collect();
    let mut all = vec![r#""name":"n","source":"slack","forward_path":"/f""#];
    all.extend(more);
    if rng.u8(..6) != 0 {
        all.push(members[rng.usize(..2)]);
    }
    rng.shuffle(&mut all);
    let object = format!("{{{}}}", all.join(","));
    match rng.u8(..24) {
        0 => format!("[{object}]"),
        1 => format!("[{BODY},{object}]"),
        2 => format!("{object}{BODY}"),
        3 => format!("{object}\u{0}"),
        4 => format!("{object},"),
        5 => format!("/**/{object}"),
        6 => format!("{}{object}{}", "[".repeat(2000), "]".repeat(2000)),
        7 => format!(
            "{}\"x\":{}1{},{}",
            "{",
            "[".repeat(rng.usize(90..130)),
            "]".repeat(110),
            &object[1..]
        ),
        8 => object.chars().take(rng.usize(1..object.len() / 2)).collect(),
        9 => format!(" \r\n\t{object}\u{a0}"),
        _ => object,
    }
}

fn mutate(rng: &mut Rng, text: &mut String) {
    let what = ["\"", "\\", "{", "}", ",", ":", "\u{0}", " ", "\\u0022", "\u{2028}", "a1", "\n"];
    let place = rng.usize(..=text.len());
    let place = (0..=place).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    if rng.bool() || place == text.len() {
        text.insert_str(place, what[rng.usize(..what.len())]);
    } else {
        text.remove(place);
    }
}

/// The text as bytes, mostly UTF-8.
fn written(rng: &mut Rng, text: &str) -> Vec<u8> {
    let wide = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<_>>();
    match rng.u8(..24) {
        0 => [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        1 => wide(u16::to_le_bytes),
        2 => wide(u16::to_be_bytes),
        3 => [vec![0xff, 0xfe], wide(u16::to_le_bytes)].concat(),
        4 => text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect(),
        5 => text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect(),
        6 => [text.as_bytes(), b"\xff"].concat(),
        _ => text.as_bytes().to_vec(),
    }
}

/// The body as it is sent, and the header that says how, truly or not.
fn coded(rng: &mut Rng, body: Vec<u8>) -> (Vec<u8>, String) {
    let names =
        ["gzip", "deflate", "x-gzip", "identity", "br", "zstd", "gzip, gzip", "GZIP", "x", ""];
    if rng.u8(..6) != 0 {
        return (body, String::new());
    }
    let name = names[rng.usize(..names.len())];
    let header = format!("content-encoding: {name}\r\n");
    let packed = match rng.u8(..3) {
        0 => body,
        1 => {
            let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(&body).expect("into memory");
            packer.finish().expect("into memory")
        }
        _ => {
            let mut packer = ZlibEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(&body).expect("into memory");
            packer.finish().expect("into memory")
        }
    };
    (packed, header)
}

fn content_type(rng: &mut Rng) -> String {
    let types = [
        "application/json; charset=utf-16",
        "application/vnd.keys+json",
        "APPLICATION/JSON",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json, text/plain",
        "",
        "json",
        "application/+json",
    ];
    match rng.u8(..10) {
        0 => String::new(),
        1..=3 => format!("content-type: {}\r\n", types[rng.usize(..types.len())]),
        _ => "content-type: application/json\r\n".into(),
    }
}
