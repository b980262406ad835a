//! The bytes of SQLite's write-ahead log and of its index, as far as a check needs them
//! (<https://sqlite.org/fileformat2.html#the_write_ahead_log>, <https://sqlite.org/walformat.html>).

/// Bytes before the first frame.
pub(super) const HEADER: usize = 32;

/// Bytes of a frame before its page.
pub(super) const FRAME_HEADER: usize = 24;

const MAGIC: u32 = 0x377f_0682;

/// What tells one use of the log from the next: they are drawn anew each time it starts over.
pub(super) type Salts = [u8; 8];

/// The log's checksum, which is carried on from frame to frame.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Sum(u32, u32);

/// The order of bytes in which the checksum reads words. All else is big-endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Little,
    Big,
}

impl Sum {
    fn over(self, order: Order, bytes: &[u8]) -> Self {
        let (pairs, _) = bytes.as_chunks::<8>();
        pairs.iter().fold(self, |Self(first, second), &[a, b, c, d, e, f, g, h]| {
            let word = |bytes| match order {
                Order::Little => u32::from_le_bytes(bytes),
                Order::Big => u32::from_be_bytes(bytes),
            };
            let first = first.wrapping_add(word([a, b, c, d])).wrapping_add(second);
            Self(first, second.wrapping_add(word([e, f, g, h])).wrapping_add(first))
        })
    }
}

/// The first bytes of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) order: Order,
    /// The size of a page, in bytes.
    pub(super) page: usize,
    pub(super) salts: Salts,
    /// The checksum that stands in it.
    pub(super) stored: Sum,
    /// The checksum of what stands in it.
    pub(super) computed: Sum,
    /// Whether SQLite uses it.
    pub(super) is_intact: bool,
}

impl Header {
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Self {
        let mut at = Cursor(bytes);
        let (magic, _version, page, _sequence) = (at.word(), at.word(), at.word(), at.word());
        let (salts, stored) = (at.salts(), at.sum());
        let order = if magic & 1 == 1 { Order::Big } else { Order::Little };
        let (summed, _) = bytes.split_at(HEADER - 8);
        let computed = Sum::default().over(order, summed);
        let is_legal = page.is_power_of_two() && (512..=65536).contains(&page);
        let is_intact = magic & !1 == MAGIC && is_legal && computed == stored;
        let page =
            if is_legal { usize::try_from(page).unwrap_or(DEFAULT_PAGE) } else { DEFAULT_PAGE };
        Self { order, page, salts, stored, computed, is_intact }
    }
}

/// The size of pages that SQLite gives a new file.
pub(super) const DEFAULT_PAGE: usize = 4096;

/// The first bytes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    /// The page's number, which is never 0.
    pub(super) page: u32,
    /// Whether a transaction ends with it.
    pub(super) commits: bool,
    pub(super) salts: Salts,
    /// The checksum that stands in it.
    pub(super) stored: Sum,
}

impl Frame {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut at = Cursor(bytes);
        let (page, commits) = (at.word(), at.word() != 0);
        Self { page, commits, salts: at.salts(), stored: at.sum() }
    }

    /// The checksum of a whole frame that follows one with `seed`.
    pub(super) fn sum(seed: Sum, order: Order, bytes: &[u8]) -> Sum {
        let summed = bytes.split_at_checked(8).zip(bytes.split_at_checked(FRAME_HEADER));
        summed.map_or(seed, |((head, _), (_, page))| seed.over(order, head).over(order, page))
    }
}

/// What the log's index (`-shm`) tells: SQLite writes it once the frames that it counts are synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    pub(super) salts: Salts,
    /// How many frames, up to the end of a transaction, were on the disk.
    pub(super) frames: u32,
}

impl Claim {
    /// Reads the index's first bytes, where the claim stands twice: one may be half-written.
    pub(super) fn parse(index: &[u8]) -> Option<Self> {
        let (first, rest) = index.split_at_checked(INDEX_HEADER)?;
        Self::copy(first).or_else(|| Self::copy(rest.get(..INDEX_HEADER)?))
    }

    fn copy(bytes: &[u8]) -> Option<Self> {
        let (summed, stored) = bytes.split_at_checked(INDEX_HEADER - 8)?;
        // The index is in the machine's own order.
        let native = if cfg!(target_endian = "big") { Order::Big } else { Order::Little };
        let is_in_use = *summed.get(12)? == 1;
        let Sum(first, second) = Sum::default().over(native, summed);
        let is_intact = stored == [first.to_ne_bytes(), second.to_ne_bytes()].as_flattened();
        let frames = u32::from_ne_bytes(*summed.get(16..)?.first_chunk()?);
        let salts = *summed.get(32..)?.first_chunk()?;
        (is_in_use && is_intact).then_some(Self { salts, frames })
    }
}

/// Bytes of one copy of the index's header.
pub(super) const INDEX_HEADER: usize = 48;

/// Reads big-endian words; past the end there are zeros, which nothing legal consists of.
struct Cursor<'b>(&'b [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((taken, rest)) = self.0.split_first_chunk() else { return [0; N] };
        self.0 = rest;
        *taken
    }

    fn word(&mut self) -> u32 {
        u32::from_be_bytes(self.take())
    }

    fn salts(&mut self) -> Salts {
        self.take()
    }

    fn sum(&mut self) -> Sum {
        Sum(self.word(), self.word())
    }
}
