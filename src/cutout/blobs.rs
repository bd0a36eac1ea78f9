//! Photos and cutouts as bytes: in memory while there is room, on disk beyond it.
//!
//! Both places are object stores, so that a bucket can stand in for them when there are many machines.
//! A blob deletes itself when nobody holds it any more.

use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;
use tokio_util::io::ReaderStream;

use super::budget::{Budget, Reservation};
use crate::protocol::UploadId;

/// Written to disk in pieces of this size.
const DISK_BUFFER: usize = 256 << 10;
/// What stays at hand of bytes that go to disk; little, for it is in no budget.
const HEAD_ON_DISK: usize = 32 << 10;

/// Why bytes can't be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Memory and disk are used up.
    #[error("there is no room for {bytes} more bytes of photos")]
    Full {
        /// How many were to be kept.
        bytes: u64,
    },
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] object_store::Error),
    /// What says where they are can't be reached.
    #[error("what is kept can't be looked up just now; try again in a few seconds")]
    Unreachable,
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Disk(#[from] std::io::Error),
}

/// Where blobs live.
pub struct Blobs {
    memory: Arc<InMemory>,
    memory_budget: Arc<Budget>,
    disk: Arc<LocalFileSystem>,
    disk_budget: Arc<Budget>,
    runtime: Handle,
}

impl Blobs {
    /// Keeps `memory_bytes` in memory and `disk_bytes` in a folder. Call it on a runtime.
    pub fn new(folder: &FilePath, memory_bytes: u64, disk_bytes: u64) -> Result<Self, BlobError> {
        Ok(Self {
            memory: Arc::new(InMemory::new()),
            memory_budget: Budget::new(memory_bytes),
            disk: Arc::new(LocalFileSystem::new_with_prefix(folder)?),
            disk_budget: Budget::new(disk_bytes),
            runtime: Handle::current(),
        })
    }

    /// Bytes in memory now.
    pub fn memory_used(&self) -> u64 {
        self.memory_budget.used()
    }

    /// Bytes on disk now.
    pub fn disk_used(&self) -> u64 {
        self.disk_budget.used()
    }

    /// Keeps whole bytes.
    pub async fn put(&self, bytes: Bytes) -> Result<Blob, BlobError> {
        let len = bytes.len() as u64;
        let (store, reservation): (Arc<dyn ObjectStore>, _) = match self.memory_budget.reserve(len) {
            Some(reservation) => (Arc::clone(&self.memory) as _, reservation),
            None => (Arc::clone(&self.disk) as _, self.reserve_disk(len)?),
        };
        let blob = self.blob(store, len, reservation);
        blob.store.put(&blob.path, bytes.into()).await?;
        Ok(blob)
    }

    /// Begins bytes that come in pieces.
    pub fn begin(self: &Arc<Self>) -> Piecewise {
        // An empty reservation always fits.
        let place = self.memory_budget.reserve(0).map(|reservation| Place::Memory(Vec::new(), reservation));
        Piecewise { blobs: Arc::clone(self), place, len: 0 }
    }

    fn reserve_disk(&self, bytes: u64) -> Result<Reservation, BlobError> {
        self.disk_budget.reserve(bytes).ok_or(BlobError::Full { bytes })
    }

    fn on_disk(&self) -> Result<(Box<BufWriter>, Blob), BlobError> {
        let store: Arc<dyn ObjectStore> = Arc::clone(&self.disk) as _;
        let blob = self.blob(Arc::clone(&store), 0, self.reserve_disk(0)?);
        Ok((Box::new(BufWriter::with_capacity(store, blob.path.clone(), DISK_BUFFER)), blob))
    }

    fn blob(&self, store: Arc<dyn ObjectStore>, len: u64, reservation: Reservation) -> Blob {
        let path = Path::from(UploadId::random().as_str());
        Blob { store, path, len, reservation: Some(reservation), runtime: self.runtime.clone() }
    }
}

/// Bytes that come in pieces.
pub struct Piecewise {
    blobs: Arc<Blobs>,
    /// None after a failure: what was there is gone.
    place: Option<Place>,
    len: u64,
}

enum Place {
    Memory(Vec<u8>, Reservation),
    Disk { writer: Box<BufWriter>, blob: Blob, head: Vec<u8> },
}

impl Piecewise {
    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True before the first byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first of them, as far as they are at hand: all while they are in memory, a few kilobytes of
    /// those on disk, and none after a failure.
    pub fn head(&self) -> &[u8] {
        match &self.place {
            Some(Place::Memory(buffer, _)) => buffer,
            Some(Place::Disk { head, .. }) => head,
            None => &[],
        }
    }

    /// Adds some. What doesn't fit in memory goes to disk, with what was in memory.
    ///
    /// After an error, or when its future is dropped half-way, the bytes are lost.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), BlobError> {
        let bytes = chunk.len() as u64;
        let place = match self.place.take().ok_or(BlobError::Full { bytes })? {
            Place::Memory(mut buffer, mut reservation) => {
                if reservation.grow(bytes) {
                    buffer.extend_from_slice(chunk);
                    Place::Memory(buffer, reservation)
                } else {
                    let (mut writer, mut blob) = self.blobs.on_disk()?;
                    let mut head = Vec::new();
                    for piece in [&buffer, chunk] {
                        keep_head(&mut head, piece);
                        to_disk(&mut writer, &mut blob, piece).await?;
                    }
                    Place::Disk { writer, blob, head }
                }
            }
            Place::Disk { mut writer, mut blob, mut head } => {
                keep_head(&mut head, chunk);
                to_disk(&mut writer, &mut blob, chunk).await?;
                Place::Disk { writer, blob, head }
            }
        };
        self.place = Some(place);
        self.len += bytes;
        Ok(())
    }

    /// All of them as one blob.
    pub async fn finish(self) -> Result<Blob, BlobError> {
        match self.place.ok_or(BlobError::Full { bytes: self.len })? {
            Place::Memory(buffer, reservation) => {
                let blob = self.blobs.blob(Arc::clone(&self.blobs.memory) as _, self.len, reservation);
                blob.store.put(&blob.path, buffer.into()).await?;
                Ok(blob)
            }
            Place::Disk { mut writer, blob, head: _ } => {
                writer.shutdown().await?;
                Ok(blob)
            }
        }
    }
}

fn keep_head(head: &mut Vec<u8>, bytes: &[u8]) {
    let room = HEAD_ON_DISK - head.len();
    head.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

async fn to_disk(writer: &mut BufWriter, blob: &mut Blob, bytes: &[u8]) -> Result<(), BlobError> {
    let more = bytes.len() as u64;
    if !blob.reservation.as_mut().is_some_and(|reservation| reservation.grow(more)) {
        return Err(BlobError::Full { bytes: more });
    }
    blob.len += more;
    Ok(writer.write_all(bytes).await?)
}

/// Bytes that are read from the disk at once for a reader.
const PIECE: usize = 256 << 10;

/// Bytes in a store. Those of this process alone are deleted when dropped.
#[derive(Debug)]
pub struct Blob {
    store: Arc<dyn ObjectStore>,
    path: Path,
    len: u64,
    /// Their part of a budget; none for what other processes need as well.
    reservation: Option<Reservation>,
    runtime: Handle,
}

impl Blob {
    /// Bytes that stay where they are.
    pub(super) fn elsewhere(store: Arc<dyn ObjectStore>, path: Path, len: u64) -> Self {
        Self { store, path, len, reservation: None, runtime: Handle::current() }
    }

    /// How many bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether they can be read.
    pub(super) async fn is_there(&self) -> bool {
        self.store.head(&self.path).await.is_ok()
    }

    /// All of them; shared, not copied, when they are in memory.
    pub async fn bytes(&self) -> Result<Bytes, BlobError> {
        Ok(self.store.get(&self.path).await?.bytes().await?)
    }

    /// All of them piece by piece, so that what is on disk is never in memory as a whole. What was begun
    /// can be read to its end also when the blob is dropped meanwhile.
    pub async fn stream(&self) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let found = self.store.get(&self.path).await?;
        Ok(match found.payload {
            // The store's own stream goes to another thread for every 8 KiB.
            GetResultPayload::File(file, _) => {
                let file = tokio::fs::File::from_std(file);
                ReaderStream::with_capacity(file, PIECE).map_err(BlobError::from).boxed()
            }
            GetResultPayload::Stream(pieces) => pieces.map_err(BlobError::from).boxed(),
        })
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        if self.reservation.is_none() {
            return;
        }
        let (store, path) = (Arc::clone(&self.store), std::mem::take(&mut self.path));
        let deletion = async move {
            // What was never written, or is gone already, is as good as deleted.
            let _ = store.delete(&path).await;
        };
        // Memory is given back here and now: the store in memory never waits.
        let mut deletion = Box::pin(deletion);
        let _guard = self.runtime.enter();
        if deletion.as_mut().now_or_never().is_none() {
            self.runtime.spawn(deletion);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs(memory: u64, disk: u64) -> (Arc<Blobs>, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        (Arc::new(Blobs::new(folder.path(), memory, disk).expect("a store")), folder)
    }

    async fn pieces(blobs: &Arc<Blobs>, parts: &[&[u8]]) -> Result<Blob, BlobError> {
        let mut piecewise = blobs.begin();
        for part in parts {
            piecewise.write(part).await?;
        }
        piecewise.finish().await
    }

    #[tokio::test]
    async fn what_does_not_fit_in_memory_goes_to_disk_whole() {
        let (blobs, folder) = blobs(10, 100);
        let small = pieces(&blobs, &[b"abc", b"def"]).await.expect("fits");
        let large = pieces(&blobs, &[b"0123", b"4567", b"89"]).await.expect("fits on disk");
        assert_eq!((blobs.memory_used(), blobs.disk_used()), (6, 10));
        assert_eq!(&small.bytes().await.expect("there")[..], b"abcdef");
        assert_eq!(&large.bytes().await.expect("there")[..], b"0123456789");
        drop((small, large));
        assert_eq!((blobs.memory_used(), blobs.disk_used()), (0, 0));
        while std::fs::read_dir(folder.path()).expect("a folder").next().is_some() {
            tokio::task::yield_now().await;
        }
    }

    proptest::proptest! {
        /// However a photo is cut into pieces, and wherever memory ends, it comes back as it was.
        #[test]
        fn pieces_come_back_whole(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..2000),
            cuts in proptest::collection::vec(1_usize..300, 1..40),
            memory in 0_u64..2500,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let back = runtime.block_on(async {
                let (blobs, _folder) = blobs(memory, 10_000);
                let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
                let mut parts = Vec::new();
                while !rest.is_empty() {
                    let at = cuts.next().copied().unwrap_or(1).min(rest.len());
                    let (part, after) = rest.split_at(at);
                    parts.push(part);
                    rest = after;
                }
                let blob = pieces(&blobs, &parts).await.expect("fits");
                blob.bytes().await.expect("there")
            });
            proptest::prop_assert_eq!(&back[..], &bytes[..]);
        }
    }

    #[tokio::test]
    async fn a_full_disk_is_an_error_and_leaves_nothing() {
        let (blobs, _folder) = blobs(4, 4);
        assert!(matches!(pieces(&blobs, &[b"12345"]).await, Err(BlobError::Full { .. })));
        assert!(matches!(blobs.put(Bytes::from_static(b"12345")).await, Err(BlobError::Full { .. })));
        assert_eq!((blobs.memory_used(), blobs.disk_used()), (0, 0));
    }
}
