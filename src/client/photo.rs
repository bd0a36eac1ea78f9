//! The photos that we send: one file, and as many different ones of the same picture as needed.
//!
//! A server answers a photo that it has seen from its results' cache, so sessions that shall cost
//! what a shopper's costs must each send other bytes. The pixels stay: a remark goes in where the
//! format has a place for one that decoders skip. JPEG gets a comment segment (`COM`) after its
//! first marker, PNG a `tEXt` chunk after its header, WebP a chunk of an unknown type at its end.
//! The file's bytes are shared by all sessions; each has only its remark of its own.

use bytes::Bytes;

use super::ClientError;
use super::picture::{Format, format_of};

/// The type of our WebP chunk. Lower case is free for private use.
const WEBP_CHUNK: &[u8; 4] = b"wcut";

/// PNG's signature and the IHDR chunk, which must be first.
const PNG_HEADER: usize = 8 + 25;

/// A photo to send.
#[derive(Clone, Debug)]
pub struct Photo {
    format: Format,
    parts: Vec<Bytes>,
}

impl Photo {
    /// A file as it is.
    pub fn new(file: Bytes) -> Result<Self, ClientError> {
        let format = format_of(&file);
        let format =
            format.ok_or_else(|| ClientError::NotAPhoto { head: file[..file.len().min(8)].to_vec() })?;
        Ok(Self { format, parts: vec![file] })
    }

    /// The same picture in other bytes; other remarks give other bytes.
    #[must_use]
    pub fn with_remark(&self, remark: &str) -> Self {
        let file = self.to_bytes();
        let parts = match self.format {
            Format::Jpeg => insert(&file, 2, jpeg_comment(remark)),
            Format::Png if file.len() >= PNG_HEADER => insert(&file, PNG_HEADER, png_text(remark)),
            // Cut off in its header: nothing to keep valid, and a server refuses it anyhow.
            Format::Png => vec![file],
            Format::WebP => webp_with_chunk(&file, remark),
        };
        Self { format: self.format, parts }
    }

    /// `image/jpeg` and the like.
    pub fn mime(&self) -> &'static str {
        self.format.mime()
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// True for no bytes, which no photo has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes from `offset` on, in pieces of at most `piece` bytes, without a copy.
    pub fn pieces(&self, offset: usize, piece: usize) -> impl Iterator<Item = Bytes> + use<> {
        let mut skip = offset;
        let mut rest: Vec<Bytes> = vec![];
        for part in &self.parts {
            let from = skip.min(part.len());
            skip -= from;
            rest.push(part.slice(from..));
        }
        let mut rest = rest.into_iter();
        let mut current = Bytes::new();
        std::iter::from_fn(move || {
            while current.is_empty() {
                current = rest.next()?;
            }
            Some(current.split_to(piece.min(current.len())))
        })
    }

    /// All bytes in one piece; a copy when there is a remark in them.
    pub fn to_bytes(&self) -> Bytes {
        match self.parts.as_slice() {
            [whole] => whole.clone(),
            parts => parts.concat().into(),
        }
    }
}

fn insert(file: &Bytes, at: usize, piece: Vec<u8>) -> Vec<Bytes> {
    let at = at.min(file.len());
    vec![file.slice(..at), piece.into(), file.slice(at..)]
}

/// `FF FE`, the length with itself, the text.
fn jpeg_comment(remark: &str) -> Vec<u8> {
    let text = &remark.as_bytes()[..remark.len().min(usize::from(u16::MAX) - 2)];
    let length = u16::try_from(text.len() + 2).unwrap_or(u16::MAX);
    [&[0xff, 0xfe], &length.to_be_bytes()[..], text].concat()
}

/// Length, type, keyword, NUL, text, CRC of all but the length.
fn png_text(remark: &str) -> Vec<u8> {
    let content = [b"tEXtComment\0", remark.as_bytes()].concat();
    let length = u32::try_from(content.len() - 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &content, &crc32(&content).to_be_bytes()].concat()
}

/// Type, length, text, padded to an even length; and the file's own length, which counts it.
fn webp_with_chunk(file: &Bytes, remark: &str) -> Vec<Bytes> {
    let mut text = remark.as_bytes().to_vec();
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    if text.len() % 2 == 1 {
        text.push(0);
    }
    let chunk = [WEBP_CHUNK, &length.to_le_bytes()[..], &text].concat();
    let riff_length = u32::try_from(file.len() - 8 + chunk.len()).unwrap_or(u32::MAX);
    let head = [b"RIFF", &riff_length.to_le_bytes()[..]].concat();
    vec![head.into(), file.slice(8..), chunk.into()]
}

/// As PNG's appendix D has it; a remark is too short for a table to pay.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::picture::{Picture, tests as files};

    #[test]
    fn remarks_change_the_bytes_and_not_the_picture() {
        for file in [files::jpeg(), files::png(), files::webp()] {
            let photo = Photo::new(file.clone().into()).expect("a photo");
            let (one, two) = (photo.with_remark("1"), photo.with_remark("2"));
            assert_ne!(one.to_bytes(), two.to_bytes());
            assert_ne!(one.to_bytes(), photo.to_bytes());
            assert_eq!(one.len(), one.to_bytes().len());
            assert_eq!(Picture::read(&one.to_bytes()), Picture::read(&file));
        }
    }

    #[test]
    fn a_jpeg_with_a_comment_is_a_chain_of_segments_still() {
        let photo = Photo::new(files::jpeg().into()).expect("a photo").with_remark("session 7");
        let bytes = photo.to_bytes();
        assert_eq!(&bytes[..6], [0xff, 0xd8, 0xff, 0xfe, 0, 11]);
        assert_eq!(&bytes[6..15], b"session 7");
        assert_eq!(bytes[15..], files::jpeg()[2..]);
    }

    #[test]
    fn a_png_chunk_has_the_crc_that_readers_check() {
        // The end chunk of every PNG file has this well-known CRC.
        assert_eq!(crc32(b"IEND"), 0xae42_6082);
        let bytes = Photo::new(files::png().into()).expect("a photo").with_remark("x").to_bytes();
        assert_eq!(&bytes[PNG_HEADER..PNG_HEADER + 17], b"\0\0\0\x09tEXtComment\0x");
        assert_eq!(bytes[PNG_HEADER + 17..PNG_HEADER + 21], crc32(b"tEXtComment\0x").to_be_bytes());
    }

    #[test]
    fn a_webp_file_counts_its_new_chunk() {
        let bytes = Photo::new(files::webp().into()).expect("a photo").with_remark("odd").to_bytes();
        assert_eq!(u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize, bytes.len() - 8);
        assert_eq!(bytes.len() % 2, 0);
    }

    #[test]
    fn pieces_from_anywhere_are_the_rest_of_the_file() {
        let photo = Photo::new(files::jpeg().into()).expect("a photo").with_remark("remark");
        let whole = photo.to_bytes();
        for offset in 0..=whole.len() {
            let pieces: Vec<Bytes> = photo.pieces(offset, 3).collect();
            assert!(pieces.iter().all(|piece| (1..=3).contains(&piece.len())));
            assert_eq!(pieces.concat(), whole[offset..]);
        }
    }

    #[test]
    fn what_is_no_photo_is_said_so() {
        let error = Photo::new(Bytes::from_static(b"GIF89a")).expect_err("no photo");
        assert!(error.is_usage(), "{error}");
    }
}
