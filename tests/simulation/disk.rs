//! A disk with one file: what was written is there for whoever reads, and survives a crash of the
//! machine only once it was synced.

use authz_sidecar::journal::Append;
use authz_sidecar::model::Timestamp;
use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// The file of a journal: frames, each with its length and a checksum.
#[derive(Default)]
pub(crate) struct Disk {
    bytes: Vec<u8>,
    synced: usize,
}

/// What is written at once, and is there whole or not at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// Calls of one commit.
    Calls(Vec<Append>),
    /// What `Journal::prune` was asked.
    Prune(Timestamp, Timestamp),
}

/// Length and checksum.
const HEAD: usize = 8;

impl Disk {
    /// Appends a frame.
    pub(crate) fn write(&mut self, frame: &Frame) {
        let body = serde_json::to_vec(frame).expect("records are JSON");
        let length = u32::try_from(body.len()).expect("a small frame");
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(checksum(&body).to_le_bytes());
        self.bytes.extend(body);
    }

    /// How much is written.
    pub(crate) fn written(&self) -> usize {
        self.bytes.len()
    }

    /// Everything that was written is durable.
    pub(crate) fn sync(&mut self) {
        self.synced = self.bytes.len();
    }

    /// The process that wrote is gone. The last frame may have been written in part; the rest is
    /// with the machine.
    pub(crate) fn tear_last(&mut self, rng: &mut Rng) {
        if self.bytes.len() > self.synced && rng.bool() {
            let last = self.frames().last().map_or(self.synced, |(from, _)| *from);
            self.bytes.truncate(rng.usize(last.max(self.synced)..=self.bytes.len()));
        }
    }

    /// The machine is gone: of what was not synced some part is there, and may be garbage.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        let left = rng.usize(self.synced..=self.bytes.len());
        self.bytes.truncate(left);
        if left > self.synced && rng.bool() {
            let at = rng.usize(self.synced..left);
            if let Some(byte) = self.bytes.get_mut(at) {
                *byte ^= 0x10;
            }
        }
    }

    /// A sync failed: what it was to make durable is there for good, or was never written.
    pub(crate) fn fail_sync(&mut self, rng: &mut Rng) {
        if rng.bool() {
            self.bytes.truncate(self.synced);
        }
        self.sync();
    }

    /// Reads the file as far as it is whole, and cuts off the rest.
    pub(crate) fn open(&mut self) -> Vec<Frame> {
        let frames: Vec<_> = self.frames();
        let end = frames.last().map_or(0, |(from, frame)| from + HEAD + frame.len());
        let read =
            |(_, body): &(usize, &[u8])| serde_json::from_slice(body).expect("what we wrote");
        let frames = frames.iter().map(read).collect();
        self.bytes.truncate(end);
        self.sync();
        frames
    }

    /// Where each whole frame begins, and its body.
    fn frames(&self) -> Vec<(usize, &[u8])> {
        let mut frames = Vec::new();
        let mut at = 0;
        while let Some(head) = self.bytes.get(at..at + HEAD) {
            let (length, sum) = head.split_at(4);
            let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four"));
            let length = number(length) as usize;
            let body = at + HEAD..at + HEAD + length;
            match self.bytes.get(body) {
                Some(body) if checksum(body) == number(sum) => frames.push((at, body)),
                _ => break,
            }
            at += HEAD + length;
        }
        frames
    }
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[test]
fn what_was_not_synced_is_lost_whole() {
    let prune = |n| Frame::Prune(Timestamp::from_micros(n), Timestamp::from_micros(0));
    for seed in 0..200 {
        let (mut disk, mut rng) = (Disk::default(), Rng::with_seed(seed));
        disk.write(&prune(1));
        disk.sync();
        disk.write(&prune(2));
        disk.write(&prune(3));
        if seed % 2 == 0 {
            disk.crash(&mut rng);
        } else {
            disk.tear_last(&mut rng);
        }
        let frames = disk.open();
        let all = [prune(1), prune(2), prune(3)];
        assert!(!frames.is_empty() && all.starts_with(&frames), "{frames:?}");
        assert!(seed % 2 == 0 || frames.len() > 1, "only a machine's crash loses whole frames");
    }
}
