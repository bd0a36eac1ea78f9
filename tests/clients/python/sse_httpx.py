"""PyPI `httpx` and `httpx-sse`: the whole job over SSE and HTTP, cut and resumed while the model warms."""

import httpx
from common import ORIGIN, PATIENCE_S, check_job, check_log, check_pixels, check_run, fresh_photo, model_loaded, unload
from httpx_sse import connect_sse

OWN = ("session", "reset", "drain", "ping")  # of the channel, not of the log


def events(client, headers, test, query=None):
    """The `session` event and the log's events up to the one that passes the test; then the stream is cut."""
    with connect_sse(client, "GET", "/v1/events", headers=headers, params=query or {}) as source:
        source.response.raise_for_status()
        assert source.response.headers["cache-control"] == "no-store, no-transform", source.response.headers
        session, log = None, []
        for sse in source.iter_sse():
            if not sse.data:
                continue  # `retry:` alone, which is no event (HTML, 9.2.6), and httpx-sse gives one all the same
            event = sse.json()
            assert event["type"] == sse.event, f"{sse.event} says it is {event['type']}"
            if sse.event in OWN:
                assert "id" not in event, f"{sse.event} belongs to the channel: {event}"
                assert sse.event not in ("reset", "drain"), event
                session = session or event
                continue
            assert event["id"] == sse.id, f"{event['id']} is not {sse.id}"
            log.append(event)
            if test(log):
                return session, log
    raise AssertionError("the stream ended by itself")


def main():
    unload()
    with httpx.Client(base_url=ORIGIN, timeout=PATIENCE_S) as client:
        session, log = events(client, {}, lambda log: len(log) == 3, {"trigger": "manual"})
        assert session["resumed"] is False
        assert not model_loaded(), "the run is over; it was to be cut while it is under way"

        bearer = {"Authorization": f"Bearer {session['token']}"}

        def resume(test):
            again, more = events(client, bearer | {"Last-Event-ID": log[-1]["id"]}, test)
            assert again["session"] == session["session"] and again["resumed"] is True, again
            log.extend(more)

        resume(lambda log: log[-1]["type"] == "ready")
        check_run(log)

        path = f"/v1/sessions/{session['session']}/uploads"
        headers = bearer | {"Content-Type": "image/jpeg"}
        photo = fresh_photo()
        posted = client.post(path, params={"upload": "u_sse"}, headers=headers, content=photo)
        assert posted.status_code == 202 and posted.json()["upload"] == "u_sse", posted.text
        resume(lambda log: log[-1].get("status") == "processing")  # cut while the job runs
        resume(lambda log: log[-1].get("status") in ("succeeded", "failed", "canceled"))
        cutout = check_job(log, "u_sse")
        assert cutout["job"] == posted.json()["job"] and cutout["delivery"] == "url", cutout

        assert cutout["url"].startswith("/") and session["token"] not in cutout["url"], cutout["url"]
        assert client.get(cutout["url"]).status_code == 401, "a result is its session's"
        got = client.get(cutout["url"], headers=bearer)
        assert got.status_code == 200 and got.headers["content-type"] == "image/png", (got.status_code, got.headers)
        assert "private" in got.headers["cache-control"], got.headers
        check_pixels(got.content, cutout)
        fresh = client.get(cutout["url"], headers=bearer | {"If-None-Match": got.headers["etag"]})
        assert fresh.status_code == 304 and not fresh.content, fresh.status_code

        # The union of what came over four connections is the log as a reader sees it who was never cut.
        check_log(log)
        _, whole = events(client, bearer, lambda whole: whole[-1]["id"] == log[-1]["id"])
        assert [event["id"] for event in log] == [event["id"] for event in whole], "each id once, in order"
        assert log == whole, "and each event as it was"

        # Ours to send again: the same upload has its job, and a new one with the same content is cached.
        again = client.post(path, params={"upload": "u_sse"}, headers=headers, content=photo)
        assert again.status_code == 202 and again.json()["job"] == cutout["job"], again.text
        client.post(path, params={"upload": "u_more"}, headers=headers, content=photo).raise_for_status()
        resume(lambda log: log[-1].get("status") == "succeeded" and log[-1]["upload"] == "u_more")
        assert check_job(log, "u_more")["cached"] is True


main()
