//! Where a deployment's processes keep the bytes that they share: photos that wait, and cutouts.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, ObjectStoreScheme, RetryConfig};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use super::{Blob, BlobError};
use crate::clock;
use crate::protocol::{CutoutId, JobId, random_name};

/// Larger photos are sent in pieces of this size, the least that S3 takes.
const PIECE: usize = 5 << 20;
/// So many are sent in pieces at once; each has two pieces in memory.
const IN_PIECES: usize = 8;

const PHOTOS: &str = "photos";
const CUTOUTS: &str = "cutouts";

fn wrong(reason: String) -> BlobError {
    object_store::Error::Generic { store: "store", source: reason.into() }.into()
}

/// A shopper waits: a bucket that doesn't answer for so long is an error.
fn retries() -> RetryConfig {
    RetryConfig { max_retries: 3, retry_timeout: Duration::from_secs(20), ..RetryConfig::default() }
}

/// An object store that all processes of a deployment reach.
#[derive(Clone, Debug)]
pub struct SharedStore {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    in_pieces: Arc<Semaphore>,
}

impl SharedStore {
    /// The place that an address names: `file:///folder`, `s3://bucket/prefix` or `gs://bucket/prefix`. Buckets take
    /// their credentials from where their vendors' tools do: the environment, or the machine's own account.
    pub fn open(address: &str) -> Result<Self, BlobError> {
        let url = url::Url::parse(address).map_err(|error| wrong(error.to_string()))?;
        let (scheme, prefix) = ObjectStoreScheme::parse(&url).map_err(|error| wrong(error.to_string()))?;
        let store: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::Local => Arc::new(LocalFileSystem::new()),
            ObjectStoreScheme::AmazonS3 => {
                Arc::new(AmazonS3Builder::from_env().with_url(address).with_retry(retries()).build()?)
            }
            ObjectStoreScheme::GoogleCloudStorage => Arc::new(
                GoogleCloudStorageBuilder::from_env().with_url(address).with_retry(retries()).build()?,
            ),
            _ => return Err(wrong(format!("{}:// is neither file, nor s3, nor gs", url.scheme()))),
        };
        Ok(Self { store, prefix, in_pieces: Arc::new(Semaphore::new(IN_PIECES)) })
    }

    /// Whether something can be kept in it and taken out again.
    pub async fn is_usable(&self) -> Result<(), BlobError> {
        // Of this process alone: others may try at the same time.
        let path = self.prefix.clone().join(PHOTOS).join(random_name("try_"));
        self.store.put(&path, Bytes::from_static(b"kept").into()).await?;
        self.store.get(&path).await?.bytes().await?;
        Ok(self.store.delete(&path).await?)
    }

    /// Keeps a photo under its job's name, until [`Self::forget_photo`].
    pub async fn keep_photo(&self, job: &JobId, photo: &Blob) -> Result<(), BlobError> {
        let (store, path) = (Arc::clone(&self.store), self.photo_path(job));
        if photo.len() <= PIECE as u64 {
            store.put(&path, photo.bytes().await?.into()).await?;
            return Ok(());
        }
        // Never closed.
        let _permit = self.in_pieces.acquire().await.map_err(std::io::Error::other)?;
        let mut writer = BufWriter::with_capacity(store, path, PIECE).with_max_concurrency(1);
        let written = async {
            let mut pieces = photo.stream().await?;
            while let Some(piece) = pieces.try_next().await? {
                writer.write_all(&piece).await?;
            }
            Ok(writer.shutdown().await?)
        };
        let written = written.await;
        if written.is_err() {
            // A bucket keeps the parts of what was never finished, where no list shows them.
            let _ = writer.abort().await;
        }
        written
    }

    /// A photo that was kept.
    pub fn photo(&self, job: &JobId, len: u64) -> Blob {
        Blob::elsewhere(Arc::clone(&self.store), self.photo_path(job), len)
    }

    /// Its job has ended.
    pub async fn forget_photo(&self, job: &JobId) {
        match self.store.delete(&self.photo_path(job)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => {
                metrics::counter!("warmcut_store_errors_total").increment(1);
                tracing::warn!(%error, %job, "a photo stays in the store until it expires there");
            }
        }
    }

    /// Keeps a cutout.
    pub async fn keep_cutout(&self, id: &CutoutId, bytes: Bytes) -> Result<(), BlobError> {
        self.store.put(&self.cutout_path(id), bytes.into()).await?;
        Ok(())
    }

    /// A cutout that was kept.
    pub fn cutout(&self, id: &CutoutId, len: u64) -> Blob {
        Blob::elsewhere(Arc::clone(&self.store), self.cutout_path(id), len)
    }

    /// Deletes cutouts and photos that are older, for a store that doesn't expire them by itself.
    pub async fn sweep(&self, cutouts: Duration, photos: Duration) -> Result<(), BlobError> {
        for (folder, age) in [(CUTOUTS, cutouts), (PHOTOS, photos)] {
            let now = UNIX_EPOCH + Duration::from_millis(clock::now_ms());
            let mut all = self.store.list(Some(&self.prefix.clone().join(folder)));
            while let Some(found) = all.try_next().await? {
                if now.duration_since(found.last_modified.into()).is_ok_and(|old| old >= age) {
                    self.store.delete(&found.location).await?;
                }
            }
        }
        Ok(())
    }

    fn cutout_path(&self, id: &CutoutId) -> Path {
        self.prefix.clone().join(CUTOUTS).join(id.as_str())
    }

    fn photo_path(&self, job: &JobId) -> Path {
        self.prefix.clone().join(PHOTOS).join(job.as_str())
    }
}
