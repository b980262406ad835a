//! Content codings (RFC 9110 §8.4), undone with a limit on what comes out.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderValue;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::BodyError;

/// Codings that are undone one after the other. Nobody honest applies more than one.
const MAX_CODINGS: usize = 2;

/// Undoes the codings of `content_encoding`, the last first.
pub(super) fn decode<'b>(
    content_encoding: Option<&HeaderValue>,
    bytes: &'b [u8],
    limit: usize,
) -> Result<Cow<'b, [u8]>, BodyError> {
    let mut body = Cow::Borrowed(bytes);
    let codings = content_encoding.map_or(Ok(""), HeaderValue::to_str);
    let codings = codings.map_err(|_| BodyError::Encoding)?.to_ascii_lowercase();
    let codings = codings.split(',').map(str::trim).filter(|coding| !coding.is_empty());
    let codings: Vec<&str> = codings.filter(|coding| *coding != "identity").collect();
    if codings.len() > MAX_CODINGS {
        return Err(BodyError::Encoding);
    }
    for coding in codings.into_iter().rev() {
        body = Cow::Owned(undo(coding, &body, limit)?);
    }
    if body.len() > limit { Err(BodyError::TooLarge) } else { Ok(body) }
}

fn undo(coding: &str, bytes: &[u8], limit: usize) -> Result<Vec<u8>, BodyError> {
    match coding {
        "gzip" | "x-gzip" => read(MultiGzDecoder::new(bytes), limit),
        "deflate" if is_zlib(bytes) => read(ZlibDecoder::new(bytes), limit),
        "deflate" => read(DeflateDecoder::new(bytes), limit),
        "br" => read(brotli_decompressor::Decompressor::new(bytes, 0), limit),
        "zstd" => zstd(bytes, limit),
        _ => Err(BodyError::Encoding),
    }
}

/// Some services send bare deflate where RFC 9110 asks for zlib's wrapping; clients read both.
fn is_zlib(bytes: &[u8]) -> bool {
    let [first, second, ..] = bytes else { return false };
    first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31)
}

fn read(decoder: impl Read, limit: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    let beyond = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(beyond).read_to_end(&mut body).map_err(|_| BodyError::Encoding)?;
    if body.len() > limit { Err(BodyError::TooLarge) } else { Ok(body) }
}

/// Block by block, since the streaming decoder keeps a window of the sender's choice.
fn zstd(mut bytes: &[u8], limit: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while !bytes.is_empty() {
        let mut frame = FrameDecoder::new();
        frame.init(&mut bytes).map_err(|_| BodyError::Encoding)?;
        let room = limit.saturating_sub(body.len()).saturating_add(1);
        let strategy = BlockDecodingStrategy::UptoBytes(room);
        let done = frame.decode_blocks(&mut bytes, strategy).map_err(|_| BodyError::Encoding)?;
        if !done {
            return Err(BodyError::TooLarge);
        }
        body.append(&mut frame.collect().unwrap_or_default());
        if frame
            .get_checksum_from_data()
            .is_some_and(|sum| frame.get_calculated_checksum() != Some(sum))
        {
            return Err(BodyError::Encoding);
        }
        if body.len() > limit {
            return Err(BodyError::TooLarge);
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    const TEXT: &[u8] = br#"{"id": "k-1"}"#;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd_of(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    /// `TEXT` as one uncompressed meta-block of RFC 7932, then an empty last one.
    fn brotli() -> Vec<u8> {
        let length = u32::try_from(TEXT.len()).unwrap() - 1;
        // WBITS 16 ("0"), ISLAST 0, MNIBBLES 4 ("00"), MLEN-1 in 16 bits, ISUNCOMPRESSED 1.
        let header: u32 = (length << 4) | (1 << 20);
        let mut bytes = header.to_le_bytes()[..3].to_vec();
        bytes.extend(TEXT);
        bytes.push(0x03);
        bytes
    }

    fn decoded(coding: &'static str, bytes: &[u8]) -> Result<Vec<u8>, BodyError> {
        decode(Some(&HeaderValue::from_static(coding)), bytes, 1000).map(Cow::into_owned)
    }

    #[test]
    fn every_coding_is_undone_and_several_in_turn() {
        let text = Ok(TEXT.to_vec());
        assert_eq!(decode(None, TEXT, 1000).map(Cow::into_owned), text);
        assert_eq!(decoded("identity", TEXT), text);
        assert_eq!(decoded("gzip", &gzip(TEXT)), text);
        assert_eq!(decoded("X-GZip", &gzip(TEXT)), text);
        assert_eq!(decoded("deflate", &zlib(TEXT)), text);
        assert_eq!(decoded("deflate", &deflate(TEXT)), text);
        assert_eq!(decoded("br", &brotli()), text);
        assert_eq!(decoded("zstd", &zstd_of(TEXT)), text);
        assert_eq!(decoded("deflate, gzip", &gzip(&zlib(TEXT))), text);
    }

    #[test]
    fn what_is_not_in_its_coding_is_refused() {
        for coding in ["gzip", "br", "zstd", "compress", "gzip, gzip, gzip"] {
            assert_eq!(decoded(coding, TEXT), Err(BodyError::Encoding), "{coding}");
        }
        let cut = gzip(TEXT);
        assert_eq!(decoded("gzip", &cut[..cut.len() - 9]), Err(BodyError::Encoding));
        let cut = zstd_of(TEXT);
        assert_eq!(decoded("zstd", &cut[..cut.len() - 1]), Err(BodyError::Encoding));
    }

    #[test]
    fn p8_what_unfolds_beyond_the_limit_is_refused() {
        let zeros = vec![0; 10_000_000];
        for (coding, bomb) in
            [("gzip", gzip(&zeros)), ("deflate", zlib(&zeros)), ("zstd", zstd_of(&zeros))]
        {
            assert!(bomb.len() < 100_000);
            assert_eq!(decoded(coding, &bomb), Err(BodyError::TooLarge), "{coding}");
        }
        assert_eq!(decoded("gzip, gzip", &gzip(&gzip(&zeros))), Err(BodyError::TooLarge));
        assert_eq!(decode(None, &zeros, 1000), Err(BodyError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for coding in ["gzip", "deflate", "br"] {
                let _ = decoded(coding, &bytes);
            }
        }
    }
}
