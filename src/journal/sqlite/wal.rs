//! The check on the write-ahead log before SQLite opens it.
//!
//! SQLite reads a log up to the first frame whose checksum is wrong and takes the rest for a
//! write that a crash cut off. As a rule that is what it is; but a disk that damages one frame in the
//! middle so loses every record behind it, acknowledged or not, without a word. This check tells the
//! two apart, and refuses the second.
//!
//! What proves that frames behind a bad one were acknowledged:
//!
//! - A transaction was written behind them. The journal has one writer, which syncs each transaction
//!   before it begins the next; so whatever stands before the end of a transaction that another follows
//!   was on the disk. A frame is known to follow another by its checksum, which carries on
//!   the other's.
//! - The log's index (`-shm`) counts them. SQLite writes that count once they are synced. The index is
//!   whole after the death of a process; after that of the machine it is as old as the kernel left it,
//!   or not there.
//!
//! What does not: frames of an earlier use of the log (with other salts), which every log has
//! behind its end; and later frames of the very transaction that the bad one belongs to, since the sectors of
//! a write that was cut off reach the disk in any order. So, after a loss of power only,
//! damage to the last transaction (or to the frame that ends the one before) passes for such a write.
//! A header of 32 bytes at the start of a sector is taken to be written whole or not at all.

mod format;

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use self::format::{
    Claim, DEFAULT_PAGE, FRAME_HEADER, Frame, HEADER, Header, INDEX_HEADER, Order, Salts, Sum,
};
use super::OpenError;
use super::file::{beside, unusable};

/// Checks the log of the journal at `path`, which nobody may have open, and syncs it.
///
/// Reads the log once, some 64 MiB at most; nothing in it is changed.
pub(super) fn check(path: &Path) -> Result<(), OpenError> {
    let failed = |error: io::Error| unusable(path, &error, "its directory must be readable");
    let log = match File::open(beside(path, "-wal")) {
        Ok(log) => log,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let claim = claim(path).map_err(failed)?;
    let found = scan(&mut BufReader::with_capacity(1 << 20, &log), claim).map_err(failed)?;
    let found = found.map_err(|damage| OpenError::Damaged {
        path: path.to_owned(),
        problem: damage.to_string(),
        usable: damage.usable,
    })?;
    if found.cut_off > 0 {
        tracing::warn!(
            frames = found.cut_off,
            "the journal's log ends in a write that was cut off; nobody was told that it was kept"
        );
    }
    // SQLite is about to count all that it finds here as synced, in an index that may reach the disk first.
    log.sync_all().map_err(failed)
}

fn claim(path: &Path) -> io::Result<Option<Claim>> {
    match File::open(beside(path, "-shm")) {
        Ok(index) => {
            let mut bytes = Vec::new();
            index.take(2 * INDEX_HEADER as u64).read_to_end(&mut bytes)?;
            Ok(Claim::parse(&bytes))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What SQLite will find in a log, none of which was lost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Found {
    /// Frames up to the last end of a transaction.
    frames: u32,
    /// Frames behind it that were never acknowledged.
    cut_off: u32,
}

/// Records that were acknowledged stand behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the write-ahead log is damaged at byte {offset}: {what}")]
struct Damage {
    /// Where the first bad bytes are, or the frame that they are in.
    offset: u64,
    what: What,
    /// How long the part is that SQLite can use.
    usable: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum What {
    #[error("its header is not valid, and frames stand behind it")]
    Header,
    #[error("the frame there is not valid, and a later transaction stands behind it")]
    Frame,
    #[error("{known} frames were on the disk, and {left} can be read")]
    Known { known: u32, left: u32 },
}

/// Judges a log.
fn scan(log: &mut (impl Read + Seek), claim: Option<Claim>) -> io::Result<Result<Found, Damage>> {
    let mut bytes = [0; HEADER];
    if !fill(log, &mut bytes)? {
        return Ok(Ok(Found::default()));
    }
    let header = Header::parse(&bytes);
    if !header.is_intact {
        let is_followed = is_followed(log, header)?;
        let damage = Damage { offset: 0, what: What::Header, usable: 0 };
        return Ok(if is_followed { Err(damage) } else { Ok(Found::default()) });
    }
    let mut frames = Frames::new(header.order, header.page);
    let (mut valid, mut committed, mut sum) = (0_u32, 0_u32, header.stored);
    let first_bad = loop {
        let Some(frame) = frames.next(log)? else { break None };
        let computed = frames.sum(sum);
        // The checksum does not cover the salts: right where they are wrong means that they are damaged.
        let is_whole = computed == frame.stored && frame.page != 0;
        match (is_whole, frame.salts == header.salts) {
            (true, true) => sum = computed,
            (true, false) => return Ok(Err(header.damage(valid, committed, What::Frame))),
            (false, _) => break Some(frame),
        }
        valid += 1;
        if frame.commits {
            committed = valid;
        }
    };
    let mut cut_off = valid - committed;
    if let Some(bad) = first_bad {
        let tail = Tail::of(log, &mut frames, header, (bad, sum))?;
        if tail.is_acknowledged {
            return Ok(Err(header.damage(valid, committed, What::Frame)));
        }
        cut_off += tail.frames;
    }
    match claim {
        Some(claim) if claim.salts == header.salts && claim.frames > committed => {
            let what = What::Known { known: claim.frames, left: committed };
            Ok(Err(header.damage(valid, committed, what)))
        }
        _ => Ok(Ok(Found { frames: committed, cut_off })),
    }
}

impl Header {
    fn damage(self, valid: u32, committed: u32, what: What) -> Damage {
        let end =
            |frames: u32| HEADER as u64 + u64::from(frames) * (FRAME_HEADER + self.page) as u64;
        Damage { offset: end(valid), usable: end(committed), what }
    }
}

/// What stands from the first bad frame on.
struct Tail {
    /// Frames of this use of the log.
    frames: u32,
    /// Whether one of them ends a transaction that another follows.
    is_acknowledged: bool,
}

impl Tail {
    fn of(
        log: &mut impl Read,
        frames: &mut Frames,
        header: Header,
        (bad, seed): (Frame, Sum),
    ) -> io::Result<Self> {
        let mut last = bad;
        // The checksum that a bad frame should have: its own may be what is damaged.
        let mut carried = frames.sum(seed);
        let mut tail =
            Self { frames: u32::from(bad.salts == header.salts), is_acknowledged: false };
        while let Some(frame) = frames.next(log)? {
            let sums = [last.stored, carried].map(|seed| frames.sum(seed));
            let is_ours = frame.salts == header.salts && frame.page != 0;
            let follows = is_ours && last.salts == header.salts && sums.contains(&frame.stored);
            tail.frames += u32::from(is_ours);
            tail.is_acknowledged |= follows && last.commits;
            [_, carried] = sums;
            if follows {
                carried = frame.stored;
            }
            last = frame;
        }
        Ok(tail)
    }
}

/// Whether a frame stands behind a header that is not valid, whatever part of it is not.
fn is_followed(log: &mut (impl Read + Seek), header: Header) -> io::Result<bool> {
    for order in [Order::Little, Order::Big] {
        for page in [header.page, DEFAULT_PAGE] {
            log.seek(SeekFrom::Start(HEADER as u64))?;
            let mut frames = Frames::new(order, page);
            let mut seeds = [header.stored, header.computed];
            let mut salts: Option<Salts> = None;
            while let Some(frame) = frames.next(log)? {
                let is_of_one_use = salts.is_none_or(|salts| salts == frame.salts);
                let is_whole = seeds.map(|seed| frames.sum(seed)).contains(&frame.stored);
                if is_of_one_use && is_whole && frame.page != 0 {
                    return Ok(true);
                }
                seeds = [frame.stored; 2];
                salts = Some(frame.salts);
            }
        }
    }
    Ok(false)
}

/// Reads whole frames, one after the other, into one buffer.
struct Frames {
    order: Order,
    bytes: Vec<u8>,
}

impl Frames {
    fn new(order: Order, page: usize) -> Self {
        Self { order, bytes: vec![0; FRAME_HEADER + page] }
    }

    fn next(&mut self, log: &mut impl Read) -> io::Result<Option<Frame>> {
        Ok(fill(log, &mut self.bytes)?.then(|| Frame::parse(&self.bytes)))
    }

    /// The checksum of the frame that was read last, where it follows one with `seed`.
    fn sum(&self, seed: Sum) -> Sum {
        Frame::sum(seed, self.order, &self.bytes)
    }
}

/// Fills the buffer, or tells that the file ends before.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
