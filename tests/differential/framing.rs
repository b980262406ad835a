//! Where one request ends and the next begins, read strictly and independently of the sidecar.
//!
//! Whatever is not beyond doubt ends the reading: no later byte may be taken for a request.

/// The `x-case` of each request, in order.
pub(crate) fn requests(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((name, rest)) = request(&mut bytes) {
        found.push(name);
        if !rest {
            break;
        }
    }
    found
}

/// One request off the front: its `x-case`, and whether another may follow.
fn request(bytes: &mut &[u8]) -> Option<(String, bool)> {
    // RFC 9112 §2.2: empty lines before a request line are ignored.
    while let Some(rest) = bytes.strip_prefix(b"\r\n").or_else(|| bytes.strip_prefix(b"\n")) {
        *bytes = rest;
    }
    let start = line(bytes)?;
    let words: Vec<_> = start.split(' ').collect();
    let [method, target, version] = words.as_slice() else { return None };
    let token = |text: &str| !text.is_empty() && text.bytes().all(is_token);
    if !token(method) || target.is_empty() || !["HTTP/1.1", "HTTP/1.0"].contains(version) {
        return None;
    }
    let head = Head::read(bytes)?;
    let closes = head.closes || (*version == "HTTP/1.0" && !head.keeps);
    let follows = match (head.chunked, head.length) {
        // RFC 9112 §6.1: such a message is faulty where it is of HTTP/1.0.
        (true, _) if *version == "HTTP/1.0" => return None,
        // RFC 9112 §6.3: with both, chunks count and the connection ends.
        (true, length) => chunks(bytes)? && length.is_none(),
        (false, length) => skip(bytes, length.unwrap_or(0)).is_some(),
    };
    // A tunnel is no request.
    (*method != "CONNECT").then_some(())?;
    Some((head.name, follows && !closes))
}

#[derive(Default)]
struct Head {
    name: String,
    length: Option<usize>,
    chunked: bool,
    closes: bool,
    keeps: bool,
}

impl Head {
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut head = Self::default();
        loop {
            let line = line(bytes)?;
            if line.is_empty() {
                return Some(head);
            }
            let (name, value) = line.split_once(':')?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return None;
            }
            let value = value.trim_matches([' ', '\t']);
            match name.to_ascii_lowercase().as_str() {
                "x-case" => value.clone_into(&mut head.name),
                "content-length" => {
                    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                    let length = digits.then(|| value.parse().ok()).flatten()?;
                    if head.length.is_some_and(|known| known != length) {
                        return None;
                    }
                    head.length = Some(length);
                }
                "transfer-encoding" if !head.chunked && value.eq_ignore_ascii_case("chunked") => {
                    head.chunked = true;
                }
                "transfer-encoding" => return None,
                "connection" => {
                    let value = value.to_ascii_lowercase();
                    head.closes |= value.contains("close");
                    head.keeps |= value.contains("keep-alive");
                }
                _ => {}
            }
        }
    }
}

/// A line without its end.
fn raw_line<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at(end);
    *bytes = &rest[1..];
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

/// The same. None where it has bytes that no line has.
fn line(bytes: &mut &[u8]) -> Option<String> {
    let line = raw_line(bytes)?;
    let fits = line.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    fits.then(|| line.iter().map(|byte| char::from(*byte)).collect())
}

/// Skips chunks and trailers; whether they are whole.
fn chunks(bytes: &mut &[u8]) -> Option<bool> {
    loop {
        let Some(size) = raw_line(bytes) else { return Some(false) };
        // Extensions are ignored (RFC 9112 §7.1.1), whatever they are: they end where the line does.
        let size = String::from_utf8_lossy(size.split(|byte| *byte == b';').next()?);
        let size = size.trim_matches([' ', '\t']);
        let hex = !size.is_empty() && size.len() < 9 && size.bytes().all(|b| b.is_ascii_hexdigit());
        let Some(size) = hex.then(|| usize::from_str_radix(size, 16).ok()).flatten() else {
            return Some(false);
        };
        if size == 0 {
            break;
        }
        if skip(bytes, size).is_none() || line(bytes).is_none_or(|end| !end.is_empty()) {
            return Some(false);
        }
    }
    loop {
        match line(bytes) {
            Some(end) if end.is_empty() => return Some(true),
            Some(trailer) if trailer.contains(':') => {}
            _ => return Some(false),
        }
    }
}

fn skip(bytes: &mut &[u8], count: usize) -> Option<()> {
    *bytes = bytes.get(count..)?;
    Some(())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
