//! The folder of photos and cutouts that don't fit in memory: one for each process, gone with it.
//!
//! A process that is killed can't remove its folder, so the next one does, and must not mistake the folder
//! of another live process for one. Each process therefore holds an exclusive lock on its folder itself,
//! which the kernel lets go when the process ends, however it ends. A folder whose lock is free has no owner.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Names begin like this.
const PREFIX: &str = "warmcut-spool-";
/// Another process that looks for leftovers just when a folder has been made may take it for one. It does
/// so once; whoever loses so often has another trouble.
const TRIES: u32 = 16;

/// A folder of this process's own. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Spool {
    // Before the lock, so that it is removed while it is locked.
    folder: TempDir,
    /// None where folders can't be locked, as on some network file systems.
    lock: Option<File>,
    root: PathBuf,
}

impl Spool {
    /// Makes one in a folder, which is made too, or in the system's temporary folder.
    pub(crate) fn open(state_dir: Option<&Path>) -> io::Result<Self> {
        let root = match state_dir {
            Some(state_dir) => {
                std::fs::create_dir_all(state_dir)?;
                state_dir.to_owned()
            }
            None => std::env::temp_dir(),
        };
        for _ in 0..TRIES {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&root)?;
            match hold(folder.path()) {
                Ok(Held::Ours(lock)) => return Ok(Self { folder, lock: Some(lock), root }),
                Ok(Held::Unlockable(error)) => {
                    tracing::warn!(%error, folder = %root.display(), "folders can't be locked here: what a killed process leaves behind stays");
                    return Ok(Self { folder, lock: None, root });
                }
                Ok(Held::Theirs) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("no spool stays in {}", root.display())))
    }

    /// A new folder in it.
    pub(crate) fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// Removes what killed processes left beside it, as far as it may be removed; it may take a while.
    pub(crate) fn sweeper(&self) -> impl FnOnce() + Send + use<> {
        let (root, own) = (self.root.clone(), self.folder.path().to_owned());
        let locks_work = self.lock.is_some();
        move || {
            if let (true, Ok(own)) = (locks_work, std::fs::symlink_metadata(&own)) {
                sweep(&root, own.uid());
            }
        }
    }
}

/// What became of the wish to hold a folder.
enum Held {
    Ours(File),
    Theirs,
    Unlockable(io::Error),
}

/// Locks a folder. An error when it has gone, also between being opened and being locked.
fn hold(path: &Path) -> io::Result<Held> {
    // A folder itself: what a link points to is not ours to lock or to remove.
    let folder =
        OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)?;
    match folder.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Held::Theirs),
        Err(TryLockError::Error(error)) => return Ok(Held::Unlockable(error)),
    }
    let (held, named) = (folder.metadata()?, std::fs::symlink_metadata(path)?);
    if (held.dev(), held.ino()) != (named.dev(), named.ino()) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(Held::Ours(folder))
}

fn sweep(root: &Path, uid: u32) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // In a shared temporary folder others have theirs. Whatever can't be removed is only in the way.
        let Ok(Held::Ours(lock)) = hold(&path) else { continue };
        if lock.metadata().is_ok_and(|folder| folder.uid() == uid) && std::fs::remove_dir_all(&path).is_ok() {
            tracing::info!(folder = %path.display(), "removed what an earlier process left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_behind(root: &Path) -> PathBuf {
        let folder = root.join(format!("{PREFIX}dead"));
        std::fs::create_dir_all(folder.join("uploads")).expect("a folder");
        std::fs::write(folder.join("uploads/photo"), "bytes").expect("a file");
        folder
    }

    fn open(root: &Path) -> Spool {
        Spool::open(Some(root)).expect("a spool")
    }

    #[test]
    fn a_live_spool_stays_and_a_dead_one_goes() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let (live, dead) = (open(root.path()), left_behind(root.path()));
        let photo = live.folder("uploads").expect("a folder").join("photo");
        std::fs::write(&photo, "bytes").expect("a file");
        let second = open(root.path());
        second.sweeper()();
        assert!(!dead.exists() && photo.exists());
        drop((live, second));
        assert_eq!(std::fs::read_dir(root.path()).expect("a folder").count(), 0, "each removes its own");
    }

    #[test]
    fn what_is_no_folder_of_ours_stays() {
        let (root, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("another"));
        let precious = left_behind(other.path());
        std::os::unix::fs::symlink(&precious, root.path().join(format!("{PREFIX}link"))).expect("a link");
        std::fs::create_dir(root.path().join("warmups")).expect("a folder");
        std::fs::write(root.path().join(format!("{PREFIX}file")), "bytes").expect("a file");
        sweep(root.path(), std::fs::metadata(root.path()).expect("there").uid());
        assert!(precious.join("uploads/photo").exists());
        assert_eq!(std::fs::read_dir(root.path()).expect("a folder").count(), 3);
        // Somebody else's, who can't be told from a dead process of ours but by the owner.
        sweep(other.path(), std::fs::metadata(other.path()).expect("there").uid() + 1);
        assert!(precious.exists());
    }

    #[test]
    fn whoever_makes_a_spool_while_another_looks_for_leftovers_keeps_one() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let uid = std::fs::metadata(root.path()).expect("there").uid();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    sweep(root.path(), uid);
                }
            });
            for _ in 0..100 {
                let spool = open(root.path());
                sweep(root.path(), uid);
                spool.folder("uploads").expect("it is still there");
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
