"""What the Python clients share: where the server is, a photo, and what must hold of events and pixels."""

import io
import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from PIL import Image

ORIGIN = sys.argv[1].rstrip("/") if len(sys.argv) > 1 else "http://127.0.0.1:8080"
WS_ORIGIN = ORIGIN.replace("http", "ws", 1)
PHOTO = Path(__file__).resolve().parents[2] / "data" / "cat.jpg"
SIZE = (1448, 1086)
STAGES = ["container", "model_load", "gpu_ready"]
# A debug build on a busy machine takes its time; a test that hangs shall end all the same.
PATIENCE_S = 120


def fresh_photo():
    """The cat, as nobody sent it before: what follows a JPEG's end is ignored, but makes it a new content."""
    return PHOTO.read_bytes() + secrets.token_bytes(16)


def unload():
    """Drops the model, so that the next intent begins a run. Without the operator's token it stays as it is."""
    token = os.environ.get("WARMCUT_OPERATOR_TOKEN")
    request = urllib.request.Request(f"{ORIGIN}/model/unload", method="POST", headers={"Authorization": f"Bearer {token}"})
    while token:
        try:
            return urllib.request.urlopen(request).close()
        except urllib.error.HTTPError as refused:
            if refused.code != 429:  # 429: a run is under way, and will be over soon
                raise
            time.sleep(int(refused.headers["Retry-After"]))


def model_loaded():
    with urllib.request.urlopen(f"{ORIGIN}/health") as answer:
        return json.load(answer)["model_loaded"]


def check_log(events):
    """Ids are there once each, and time never goes backwards."""
    ids = [event["id"] for event in events]
    assert len(set(ids)) == len(ids), f"an id is there twice: {ids}"
    times = [event["at_ms"] for event in events]
    assert times == sorted(times), f"at_ms goes backwards: {[(e['type'], e['at_ms']) for e in events]}"


def check_run(events):
    """The stages of one run in their order, with durations that add up, and `ready` behind them."""
    stages = [event for event in events if event["type"] == "stage"]
    (ready,) = [event for event in events if event["type"] == "ready"]
    assert {event["run"] for event in stages} == {ready["run"]}, "all of it is one run"
    started = {event["stage"]: event for event in stages if event["status"] == "started"}
    done = {event["stage"]: event for event in stages if event["status"] == "done"}
    assert [e["stage"] for e in stages if e["status"] == "started"] == STAGES, f"started in order: {list(started)}"
    assert [e["stage"] for e in stages if e["status"] == "done"] == STAGES, f"done in order: {list(done)}"
    for stage in STAGES:
        took = done[stage]["at_ms"] - started[stage]["at_ms"]
        assert took == done[stage]["elapsed_ms"], f"{stage} took {took} ms and says {done[stage]['elapsed_ms']}"
        progress = [e["progress"] for e in stages if e["stage"] == stage and e["progress"] is not None]
        assert progress == sorted(progress), f"{stage}'s progress goes backwards: {progress}"
    assert events.index(ready) > events.index(done["gpu_ready"]), "ready comes after the last stage"
    total = ready["at_ms"] - started["container"]["at_ms"]
    assert total == ready["total_ms"], f"the run took {total} ms and says {ready['total_ms']}"
    assert {event["device"] for event in [*stages, ready]} == {ready["device"]}, "one device"


def check_job(events, upload):
    """An upload's events and its job's, in the contract's order; gives the cutout."""
    uploads = [event for event in events if event["type"] == "upload" and event["upload"] == upload]
    statuses = [event["status"] for event in uploads]
    assert statuses[0] == "accepted" and statuses[-1] == "received", statuses
    counts = [event["received_bytes"] for event in uploads]
    assert counts == sorted(counts) and counts[-1] == uploads[-1]["total_bytes"], counts
    job = uploads[-1]["job"]
    of_job = [event for event in events if event.get("job") == job and event["type"] in ("job", "cutout", "preview", "problem")]
    assert not [event for event in of_job if event["type"] == "problem"], of_job
    (cutout,) = [event for event in of_job if event["type"] == "cutout"]
    assert of_job[-1].get("status") == "succeeded" and of_job[-2] is cutout, "the cutout, then succeeded, then nothing"
    timings = cutout["timings_ms"]
    assert set(timings) == {"upload", "queue", "decode", "infer", "compose", "encode", "total"}, timings
    return cutout


def check_pixels(data, cutout):
    """A PNG of the photo's size whose corners are mostly transparent and whose middle is opaque."""
    assert len(data) == cutout["bytes"], f"{len(data)} bytes came and {cutout['bytes']} were announced"
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and cutout["mime"] == "image/png", data[:8]
    image = Image.open(io.BytesIO(data))
    assert image.size == (cutout["width"], cutout["height"]) == SIZE and image.mode == "RGBA", (image.size, image.mode)
    alpha, (width, height) = image.getchannel("A"), image.size
    corners = [alpha.getpixel((x, y)) for x in (0, width - 1) for y in (0, height - 1)]
    assert sum(value < 16 for value in corners) >= 2, f"the background is there at the corners: {corners}"
    middle = alpha.getpixel((width // 2, height // 2))
    assert middle > 240, f"the subject is gone in the middle: {middle}"
    share = sum(alpha.histogram()[128:]) / (width * height)
    assert 0.05 < share < 0.9, f"a subject fills some of the photo, not {share:.0%} of it"
