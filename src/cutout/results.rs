//! Finished cutouts: the same photo with the same options is cut out once.
//!
//! A cutout is named by what it was made from, so the name is the key of the cache, the address of the
//! result, and its `ETag`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use moka::sync::Cache;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::image::PIXELS;
use super::{Blob, BlobError, Blobs};
use crate::clock;
use crate::model::Fingerprint;
use crate::protocol::options::Options;
use crate::protocol::{CutoutEvent, CutoutId, Delivery, JobId, PreviewEvent, SessionId, Timings};
use crate::session::token::Secret;

/// A finished cutout.
#[derive(Debug)]
pub struct Cutout {
    /// Its name.
    pub id: CutoutId,
    /// Of the bytes.
    pub mime: &'static str,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// What made it.
    pub model: String,
    /// What the shopper should know.
    pub notes: Vec<String>,
    /// The shop whose photo it was; only its secret key opens it.
    pub shop: Option<Arc<str>>,
    /// When it stops being kept, Unix milliseconds.
    pub expires_ms: u64,
    bytes: u64,
    /// None once the cache has dropped it. Taken out by hand, because the cache itself lets go of what
    /// it drops only some time later.
    blob: Mutex<Option<Arc<Blob>>>,
}

impl Cutout {
    /// How many bytes.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// True when there are none; an encoder never makes such.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether its file is there: a shared store may have been swept by others.
    pub(super) async fn is_there(&self) -> bool {
        let blob = self.blob.lock().clone();
        match blob {
            Some(blob) => blob.is_there().await,
            None => false,
        }
    }

    /// The file piece by piece; none when it is no longer kept.
    pub async fn stream(&self) -> Result<Option<BoxStream<'static, Result<Bytes, BlobError>>>, BlobError> {
        let blob = self.blob.lock().clone();
        match blob {
            Some(blob) => there(blob.stream().await),
            None => Ok(None),
        }
    }

    /// The file as a whole; none when it is no longer kept.
    pub async fn bytes(&self) -> Result<Option<Bytes>, BlobError> {
        let blob = self.blob.lock().clone();
        match blob {
            Some(blob) => there(blob.bytes().await),
            None => Ok(None),
        }
    }

    pub(super) fn of(new: NewCutout, expires_ms: u64, blob: Blob) -> Self {
        let NewCutout { id, bytes: _, mime, size: (width, height), model, notes, shop } = new;
        let (bytes, blob) = (blob.len(), Mutex::new(Some(Arc::new(blob))));
        Self { id, mime, width, height, model, notes, shop, expires_ms, bytes, blob }
    }
}

/// A cutout that these weights made before and that can still be had; where nobody can say so, or knows the weights, it
/// is made once more.
pub(super) async fn made_before(
    results: &dyn Results,
    work: &CutoutId,
    weights: Option<&Fingerprint>,
) -> Option<Arc<Cutout>> {
    let known = results.get(&made_by(work, weights?)).await.ok().flatten()?;
    known.is_there().await.then_some(known)
}

/// None for what a shared store has swept.
fn there<T>(found: Result<T, BlobError>) -> Result<Option<T>, BlobError> {
    match found {
        Err(BlobError::Store(object_store::Error::NotFound { .. })) => Ok(None),
        found => found.map(Some),
    }
}

/// What a new cutout is.
#[derive(Clone, Debug)]
pub struct NewCutout {
    /// Its name.
    pub id: CutoutId,
    /// The file.
    pub bytes: Bytes,
    /// Of the bytes.
    pub mime: &'static str,
    /// In pixels.
    pub size: (u32, u32),
    /// What made it.
    pub model: String,
    /// What the shopper should know.
    pub notes: Vec<String>,
    /// The shop whose photo it was.
    pub shop: Option<Arc<str>>,
}

/// Finished cutouts, kept for a time and within a bound.
#[async_trait]
pub trait Results: Send + Sync + 'static {
    /// A cutout by its name; none when it was never made or is no longer kept.
    async fn get(&self, id: &CutoutId) -> Result<Option<Arc<Cutout>>, BlobError>;

    /// Keeps a new one.
    async fn put(&self, new: NewCutout) -> Result<Arc<Cutout>, BlobError>;

    /// Bytes of them in this process's memory, and on its disk.
    fn used(&self) -> (u64, u64);
}

/// The cutouts of one process.
pub struct MemoryResults {
    cache: Cache<CutoutId, Arc<Cutout>>,
    blobs: Arc<Blobs>,
    keep: Duration,
}

impl MemoryResults {
    /// Keeps cutouts so long, and at most so many bytes of them.
    pub fn new(blobs: Arc<Blobs>, keep: Duration, max_bytes: u64) -> Self {
        let weigh = |_: &CutoutId, cutout: &Arc<Cutout>| u32::try_from(cutout.len()).unwrap_or(u32::MAX);
        let dropped = |_: Arc<CutoutId>, cutout: Arc<Cutout>, _| drop(cutout.blob.lock().take());
        let cache = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(weigh)
            .time_to_live(keep)
            .eviction_listener(dropped)
            .build();
        Self { cache, blobs, keep }
    }
}

#[async_trait]
impl Results for MemoryResults {
    async fn get(&self, id: &CutoutId) -> Result<Option<Arc<Cutout>>, BlobError> {
        Ok(self.cache.get(id))
    }

    async fn put(&self, new: NewCutout) -> Result<Arc<Cutout>, BlobError> {
        let (id, bytes) = (new.id.clone(), new.bytes.clone());
        let keep_ms = clock::millis(self.keep);
        let expires_ms = clock::now_ms().saturating_add(keep_ms);
        let blob = match self.blobs.put(bytes.clone()).await {
            Err(BlobError::Full { .. }) => {
                // The bounds of the cache and of its stores differ by what is being dropped just now.
                self.cache.run_pending_tasks();
                self.blobs.put(bytes).await?
            }
            kept => kept?,
        };
        let cutout = Arc::new(Cutout::of(new, expires_ms, blob));
        self.cache.insert(id, Arc::clone(&cutout));
        Ok(cutout)
    }

    fn used(&self) -> (u64, u64) {
        (self.blobs.memory_used(), self.blobs.disk_used())
    }
}

/// Names what is to be made: a photo's cutout with these options by the model of this name, for this shop. Who takes
/// a photo in may not know the weights yet; [`made_by`] names what they make of it.
pub fn name(photo: &[u8; 32], options: &Options, model: &str, shop: Option<&str>) -> CutoutId {
    let canonical = options.canonical(model);
    // Shops don't share results: a cutout's notes of ownership stay right, and nobody learns that
    // another shop has seen a photo.
    let digest = Sha256::new()
        .chain_update(photo)
        .chain_update(canonical.as_bytes())
        .chain_update([0])
        .chain_update(shop.unwrap_or_default().as_bytes())
        .finalize();
    CutoutId::of(&digest.into())
}

/// The name of a cutout: what was to be made, and the weights and the [`PIXELS`] that made it. So neither new weights
/// under an old name nor better edges find what the old ones made.
pub fn made_by(work: &CutoutId, weights: &Fingerprint) -> CutoutId {
    let digest = Sha256::new()
        .chain_update(work.as_str().as_bytes())
        .chain_update([0])
        .chain_update(weights.as_str().as_bytes())
        .chain_update([0])
        .chain_update(PIXELS.to_le_bytes())
        .finalize();
    CutoutId::of(&digest.into())
}

/// Addresses of results on this origin.
#[derive(Clone)]
pub struct Links {
    secret: Secret,
}

impl Links {
    /// Signed with the server's secret.
    pub fn new(secret: Secret) -> Self {
        Self { secret }
    }

    /// What a session's log says of a preview.
    pub fn preview(&self, session: &SessionId, job: &JobId, preview: &Cutout) -> PreviewEvent {
        PreviewEvent {
            job: job.clone(),
            id_cutout: preview.id.clone(),
            url: format!("/v1/sessions/{session}/jobs/{job}/preview"),
            mime: preview.mime.to_owned(),
            width: preview.width,
            height: preview.height,
            bytes: preview.len(),
            model: preview.model.clone(),
            delivery: Delivery::Url,
        }
    }

    /// What a session's log says of a cutout.
    pub fn event(
        &self,
        session: &SessionId,
        job: &JobId,
        cutout: &Cutout,
        cached: bool,
        timings_ms: Timings,
    ) -> CutoutEvent {
        let Cutout { id, expires_ms, .. } = cutout;
        let signature = self.secret.sign_cutout(id, *expires_ms);
        CutoutEvent {
            job: job.clone(),
            id_cutout: id.clone(),
            url: format!("/v1/sessions/{session}/jobs/{job}/cutout"),
            lasting_url: format!("/v1/cutouts/{id}?expires={expires_ms}&signature={signature}"),
            mime: cutout.mime.to_owned(),
            width: cutout.width,
            height: cutout.height,
            bytes: cutout.len(),
            model: cutout.model.clone(),
            cached,
            degraded: false,
            delivery: Delivery::Url,
            timings_ms,
            notes: cutout.notes.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(id: &str, bytes: usize) -> NewCutout {
        NewCutout {
            id: CutoutId::try_from(id.to_owned()).expect("an id"),
            bytes: vec![7; bytes].into(),
            mime: "image/png",
            size: (1, 1),
            model: "m".into(),
            notes: vec![],
            shop: None,
        }
    }

    #[tokio::test]
    async fn results_are_bounded_and_what_is_dropped_gives_its_bytes_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = Arc::new(Blobs::new(folder.path(), 100, 10_000).expect("a store"));
        let results = MemoryResults::new(Arc::clone(&blobs), Duration::from_secs(60), 1000);
        for n in 0..20 {
            results.put(new(&n.to_string(), 90)).await.expect("kept");
        }
        results.cache.run_pending_tasks();
        assert!(blobs.memory_used() + blobs.disk_used() <= 1000);
        assert!(results.cache.entry_count() >= 5);
    }

    #[test]
    fn names_depend_on_photo_options_model_and_shop() {
        let options = Options::default();
        let cropped = Options { crop: true, ..Options::default() };
        let names = [
            name(&[0; 32], &options, "m", None),
            name(&[1; 32], &options, "m", None),
            name(&[0; 32], &cropped, "m", None),
            name(&[0; 32], &options, "n", None),
            name(&[0; 32], &options, "m", Some("shop")),
        ];
        assert_eq!(names.iter().collect::<std::collections::HashSet<_>>().len(), names.len());
        assert_eq!(name(&[0; 32], &options, "m", None), names[0]);
        let weights = |text: &str| serde_json::from_value(text.into()).expect("a text");
        let made = [names[0].clone(), made_by(&names[0], &weights("a")), made_by(&names[0], &weights("b"))];
        assert!(made[0] != made[1] && made[0] != made[2] && made[1] != made[2]);
        assert_eq!(made_by(&names[0], &weights("a")), made[1]);
    }
}
