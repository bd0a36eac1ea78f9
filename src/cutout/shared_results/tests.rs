//! A cutout that one process made and another one gives out.

use super::*;
use crate::engine::testing::Server;

const KEEP: Duration = Duration::from_secs(60);

fn new(id: &CutoutId) -> NewCutout {
    NewCutout {
        id: id.clone(),
        bytes: "a cutout".into(),
        mime: "image/webp",
        size: (3, 4),
        model: "m".into(),
        notes: vec!["a_note".into()],
        shop: Some("a shop".into()),
    }
}

fn store(folder: &tempfile::TempDir) -> SharedStore {
    SharedStore::open(&format!("file://{}", folder.path().display())).expect("a store")
}

#[tokio::test]
async fn what_one_process_made_another_finds() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().expect("a temporary folder"));
    let worker = SharedResults::new(server.engine().await, store(&folder), KEEP);
    let gateway = SharedResults::new(server.engine().await, store(&folder), KEEP);
    let id = CutoutId::random();
    assert!(gateway.get(&id).await.expect("asked").is_none());
    let made = worker.put(new(&id)).await.expect("kept");
    let found = gateway.get(&id).await.expect("asked").expect("there");
    assert_eq!(found.bytes().await.expect("read").expect("there"), "a cutout");
    let what = |cutout: &Cutout| {
        let Cutout { id, mime, width, height, model, notes, shop, expires_ms, .. } = cutout;
        format!("{id} {mime} {width} {height} {model} {notes:?} {shop:?} {expires_ms} {}", cutout.len())
    };
    assert_eq!(what(&found), what(&made));
    drop((made, found));
    assert!(gateway.get(&id).await.expect("asked").expect("there").bytes().await.expect("read").is_some());

    std::fs::remove_dir_all(folder.path().join("cutouts")).expect("removed");
    let swept = gateway.get(&id).await.expect("asked").expect("known");
    assert!(swept.bytes().await.expect("no failure").is_none(), "it is no longer kept");
    assert!(swept.stream().await.expect("no failure").is_none());
}

#[tokio::test]
async fn a_cutout_expires_and_a_store_or_redis_that_is_away_is_an_error() {
    let (mut server, folder) = (Server::start().await, tempfile::tempdir().expect("a temporary folder"));
    let results = SharedResults::new(server.engine().await, store(&folder), Duration::from_millis(30));
    let id = CutoutId::random();
    results.put(new(&id)).await.expect("kept");
    while results.get(&id).await.expect("asked").is_some() {}

    server.kill();
    assert!(matches!(results.get(&id).await, Err(BlobError::Unreachable)));
    server.start_again().await;
    std::fs::write(folder.path().join("file"), "").expect("written");
    let nowhere =
        SharedStore::open(&format!("file://{}/file/in/it", folder.path().display())).expect("named");
    let results = SharedResults::new(server.engine().await, nowhere, KEEP);
    assert!(matches!(results.put(new(&id)).await, Err(BlobError::Store(_))));
}

#[tokio::test]
async fn sweeping_takes_what_is_old_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = store(&folder);
    let id = CutoutId::random();
    store.keep_cutout(&id, "a cutout".into()).await.expect("kept");
    store.sweep(KEEP, KEEP).await.expect("swept");
    assert!(store.cutout(&id, 8).bytes().await.is_ok());
    store.sweep(Duration::ZERO, KEEP).await.expect("swept");
    assert!(store.cutout(&id, 8).bytes().await.is_err());
}
