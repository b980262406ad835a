//! Requests of HTTP/2 that mean something else, or more than one thing, once they are written down
//! in HTTP/1.1: spellings of paths, and mischief with each part of a head, with lengths, bodies and
//! trailers. Wherever bytes may begin a second request, they are one: a create.

use fastrand::Rng;

use super::case::{BODY, Case, ENCODINGS};
use super::parts::{
    AUTHORITIES, CREDENTIALS, HEADERS, LENGTHS, METHODS, PATHS, PSEUDO, SCHEMES, TRAILERS,
};
use super::smuggling;
use super::spelling;
use super::stream::{Field, Stream};

fn draw<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

/// The case with that number of the run with that seed.
pub(crate) fn case(seed: u64, number: usize) -> Case {
    let mut rng = Rng::with_seed(seed.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ number as u64);
    let mut drawn = Drawn::new(&mut rng, format!("t{seed:x}n{number}"));
    drawn.body(&mut rng);
    for _ in 0..[0, 0, 0, 1, 1, 2][rng.usize(..6)] {
        drawn.mischief(&mut rng);
    }
    let Drawn { name, stream } = drawn;
    Case::stream(name, stream)
}

/// A case in the making.
struct Drawn {
    name: String,
    stream: Stream,
}

impl Drawn {
    /// A request that everybody takes, or one in a spelling of its own.
    fn new(rng: &mut Rng, name: String) -> Self {
        let (method, path) = match rng.u8(..8) {
            0..=2 => spelling::target(rng, &name),
            3 => ("POST", draw(rng, &["/other", "/early", "/agent_api_keys/x"]).into()),
            4 => ("GET", draw(rng, &["/other", "/agent_api_keys"]).into()),
            5 => ("DELETE", format!("/agent_api_keys/{name}").into()),
            6 => ("POST", "/agent_api_keys/webhook-trigger".into()),
            _ => ("POST", "/agent_api_keys".into()),
        };
        let head = vec![
            field(":method", method),
            field(":scheme", "http"),
            (b":path".to_vec(), path),
            field(":authority", "keys"),
            field("x-user-id", "alice"),
            field("x-case", &name),
            field("accept-encoding", ENCODINGS),
            field("content-type", "application/json"),
        ];
        let padding = (rng.u8(..8) == 0).then(|| rng.u8(..));
        let cut = if rng.u8(..8) == 0 { rng.usize(1..64) } else { 16 << 10 };
        let pauses = rng.u8(..24) == 0;
        Self { name, stream: Stream { head, padding, cut, pauses, ..Stream::default() } }
    }

    /// Gives it a body, mostly the one that it should have, and perhaps a length and trailers.
    fn body(&mut self, rng: &mut Rng) {
        let hidden = self.hidden();
        let bare = self.stream.value(":method") == Some(b"GET") && rng.u8(..4) > 0;
        let whole = match rng.u8(..12) {
            _ if bare => String::new(),
            0 => hidden,
            1 => format!("0\r\n\r\n{hidden}"),
            2 => format!("{:x}\r\n{BODY}\r\n0\r\n\r\n{hidden}", BODY.len()),
            3 => format!("{BODY}{hidden}"),
            4 => String::new(),
            _ => BODY.to_owned(),
        };
        match rng.u8(..8) {
            0..=2 => self.set("content-length", &whole.len().to_string()),
            3 => {
                for length in draw(rng, &LENGTHS) {
                    self.set("content-length", &length.replace('@', &whole.len().to_string()));
                }
            }
            4 => {
                let wrong = [whole.len() + 10, whole.len().saturating_sub(1), BODY.len()];
                self.set("content-length", &draw(rng, &wrong).to_string());
            }
            _ => {}
        }
        self.stream.data = frames(rng, whole.into());
        self.stream.ends_early = rng.u8(..24) == 0;
        if rng.u8(..10) == 0 {
            for _ in 0..=rng.usize(..2) {
                let (name, value) = draw(rng, &TRAILERS);
                self.stream.trailers.push((self.told(name), self.told(value)));
            }
        }
    }

    /// One thing that HTTP/1.1 might read otherwise.
    fn mischief(&mut self, rng: &mut Rng) {
        match rng.u8(..14) {
            0 => self.replace(":method", draw(rng, &METHODS)),
            1 | 2 => self.replace(":path", draw(rng, &PATHS)),
            3 => self.replace(":authority", draw(rng, &AUTHORITIES)),
            4 => self.replace(":scheme", draw(rng, &SCHEMES)),
            5 => {
                // The name of a host where HTTP/1.1 has it.
                self.stream.head.retain(|(name, _)| name != b":authority");
                for _ in 0..=rng.usize(..2) {
                    self.set("host", draw(rng, &["keys", "keys", "keys:80", "other", "a@keys"]));
                }
            }
            6 => {
                let (name, value) = draw(rng, &PSEUDO);
                let field = (self.told(name), self.told(value));
                self.stream.head.insert(rng.usize(..=self.stream.head.len()), field);
            }
            7 => {
                let lost = rng.usize(..4);
                if rng.u8(..4) == 0 && self.stream.head[lost].0.starts_with(b":") {
                    self.stream.head.remove(lost);
                }
                let moved = self.stream.head.remove(rng.usize(..self.stream.head.len()));
                self.stream.head.insert(rng.usize(..4), moved);
            }
            8 | 9 => {
                for _ in 0..=rng.usize(..3) {
                    let (name, value) = draw(rng, &CREDENTIALS);
                    self.set(name, value);
                }
            }
            _ => {
                let (name, value) = draw(rng, &HEADERS);
                self.set(name, value);
            }
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        let field = (self.told(name), self.told(value));
        self.stream.head.push(field);
    }

    fn replace(&mut self, name: &str, value: &str) {
        let value = self.told(value);
        let known = self.stream.head.iter_mut().find(|(known, _)| known == name.as_bytes());
        if let Some((_, known)) = known {
            *known = value;
        }
    }

    /// With the case's name and a hidden create filled in.
    fn told(&self, text: &str) -> Vec<u8> {
        let text = text.replace("<name>", &self.name);
        if !text.contains("<create>") {
            return text.into();
        }
        text.replace("<create>", &self.hidden()).into()
    }

    fn hidden(&self) -> String {
        smuggling::whole(&format!("{}h", self.name))
    }
}

fn field(name: &str, value: &str) -> Field {
    (name.into(), value.into())
}

/// The data in some frames, of which some may be empty.
fn frames(rng: &mut Rng, mut data: Vec<u8>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while !data.is_empty() && rng.u8(..4) == 0 {
        let rest = data.split_off(rng.usize(..=data.len()));
        frames.push(std::mem::replace(&mut data, rest));
    }
    if !data.is_empty() || rng.u8(..3) == 0 {
        frames.push(data);
    }
    if rng.u8(..12) == 0 {
        frames.push(Vec::new());
    }
    frames
}
