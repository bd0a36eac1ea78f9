//! The cutouts of a deployment: what they are in Redis, their bytes in the store.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::BlobError;
use super::results::{Cutout, NewCutout, Results};
use super::shared::SharedStore;
use crate::clock;
use crate::engine::{Engine, Unreachable};
use crate::protocol::CutoutId;

impl From<Unreachable> for BlobError {
    fn from(_: Unreachable) -> Self {
        Self::Unreachable
    }
}

/// Less than a lease lasts.
const TRIED: Duration = Duration::from_secs(12);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(500);

/// A cutout as Redis has it.
#[derive(Debug, Deserialize, Serialize)]
struct Kept {
    mime: String,
    width: u32,
    height: u32,
    bytes: u64,
    model: String,
    notes: Vec<String>,
    shop: Option<Arc<str>>,
    expires_ms: u64,
}

/// All cutouts of a deployment.
pub struct SharedResults {
    engine: Arc<Engine>,
    store: SharedStore,
    keep: Duration,
}

impl SharedResults {
    /// Keeps cutouts so long. What remains of their bytes in the store after that is for its sweeping.
    pub fn new(engine: Arc<Engine>, store: SharedStore, keep: Duration) -> Self {
        Self { engine, store, keep }
    }

    fn key(&self, id: &CutoutId) -> String {
        self.engine.keys().of("cutout", id)
    }

    fn cutout(&self, id: &CutoutId, kept: Kept) -> Option<Cutout> {
        let blob = self.store.cutout(id, kept.bytes);
        // Any other is of another version.
        let mime = ["image/png", "image/webp", "image/jpeg"].into_iter().find(|mime| *mime == kept.mime)?;
        let Kept { width, height, model, notes, shop, expires_ms, .. } = kept;
        let new = NewCutout {
            id: id.clone(),
            bytes: bytes::Bytes::new(),
            mime,
            size: (width, height),
            model,
            notes,
            shop,
        };
        Some(Cutout::of(new, expires_ms, blob))
    }
}

#[async_trait]
impl Results for SharedResults {
    async fn get(&self, id: &CutoutId) -> Result<Option<Arc<Cutout>>, BlobError> {
        let mut pipe = redis::pipe();
        pipe.cmd("GET").arg(self.key(id));
        let (kept,): (Option<String>,) = self.engine.ask(&pipe).await?;
        let kept = kept.and_then(|kept| serde_json::from_str(&kept).ok());
        Ok(kept.and_then(|kept| self.cutout(id, kept)).map(Arc::new))
    }

    async fn put(&self, new: NewCutout) -> Result<Arc<Cutout>, BlobError> {
        // A cutout is not thrown away because Redis is away for a moment: who made it has a lease for longer.
        let since = Instant::now();
        loop {
            match self.try_put(new.clone()).await {
                Err(BlobError::Unreachable) if since.elapsed() < TRIED => tokio::time::sleep(AGAIN).await,
                put => return put,
            }
        }
    }

    /// They are elsewhere.
    fn used(&self) -> (u64, u64) {
        (0, 0)
    }
}

impl SharedResults {
    async fn try_put(&self, new: NewCutout) -> Result<Arc<Cutout>, BlobError> {
        let expires_ms = clock::now_ms().saturating_add(clock::millis(self.keep));
        let kept = Kept {
            mime: new.mime.to_owned(),
            width: new.size.0,
            height: new.size.1,
            bytes: new.bytes.len() as u64,
            model: new.model.clone(),
            notes: new.notes.clone(),
            shop: new.shop.clone(),
            expires_ms,
        };
        // The bytes first: who finds the one finds the other.
        self.store.keep_cutout(&new.id, new.bytes.clone()).await?;
        let mut pipe = redis::pipe();
        let json = serde_json::to_string(&kept).unwrap_or_default();
        pipe.cmd("SET").arg(self.key(&new.id)).arg(json).arg("PX").arg(clock::millis(self.keep)).ignore();
        self.engine.ask::<()>(&pipe).await?;
        let blob = self.store.cutout(&new.id, kept.bytes);
        Ok(Arc::new(Cutout::of(new, expires_ms, blob)))
    }
}
