"""PyPI `websockets`: the whole job over a WebSocket, then a cut mid-upload and resumes that lose nothing."""

import asyncio
import json

from common import PATIENCE_S, WS_ORIGIN, check_job, check_log, check_pixels, check_run, fresh_photo, unload
from websockets import connect

PIECE = 50_000  # a few frames a photo
FRAME = 64 << 10  # the contract's bound on a result's frame


def ends(event, upload):
    return event["type"] == "job" and event["upload"] == upload and event["status"] in ("succeeded", "failed", "canceled")


async def session_of(ws):
    session = json.loads(await ws.recv())
    assert session["type"] == "session" and "id" not in session, session
    assert ws.subprotocol == "warmcut.v1", f"the token must not be echoed: {ws.subprotocol}"
    return session


class Reader:
    """Reads events, and behind an inline cutout its bytes."""

    def __init__(self, ws):
        self.ws, self.log, self.results = ws, [], {}

    async def event(self):
        while True:
            message = await self.ws.recv()
            assert isinstance(message, str), f"{len(message)} bytes came that no event announced"
            event = json.loads(message)
            if event["type"] == "ping":
                continue
            assert event["type"] not in ("reset", "drain", "session"), event
            self.log.append(event)
            if event["type"] == "cutout" and event["delivery"] == "inline":
                self.results[event["job"]] = await self.result(event["bytes"])
            return event

    async def result(self, size):
        data = b""
        while len(data) < size:
            frame = await self.ws.recv()
            assert isinstance(frame, bytes), f"an event came between the bytes of a result: {frame}"
            assert 0 < len(frame) <= FRAME, f"a frame of {len(frame)} bytes"
            data += frame
        assert len(data) == size, f"{len(data)} bytes of {size}"
        return data

    async def until(self, test):
        while not test(event := await self.event()):
            pass
        return event

    async def quiet(self):
        """Nothing is repeated behind the end."""
        try:
            more = await asyncio.wait_for(self.ws.recv(), 0.5)
        except TimeoutError:
            return
        raise AssertionError(f"more came behind the end: {more}")


async def send(ws, data):
    for at in range(0, len(data), PIECE):
        await ws.send(data[at : at + PIECE])


def upload(name, data, **more):
    return json.dumps({"type": "upload", "upload": name, "bytes": len(data), "mime": "image/jpeg", "name": "cat.jpg", **more})


async def main():
    unload()
    photo = fresh_photo()
    url = f"{WS_ORIGIN}/v1/socket"

    async with connect(f"{url}?trigger=manual", subprotocols=["warmcut.v1"], max_size=None) as ws:
        session = await session_of(ws)
        assert session["resumed"] is False and "image/jpeg" in session["limits"]["accepts"], session
        reader = Reader(ws)
        await reader.until(lambda event: event["type"] == "ready")
        check_run(reader.log)

        await ws.send(upload("u_whole", photo))
        accepted = await reader.until(lambda event: event["type"] == "upload")
        assert (accepted["status"], accepted["received_bytes"], accepted["total_bytes"]) == ("accepted", 0, len(photo)), accepted
        await send(ws, photo)
        await reader.until(lambda event: ends(event, "u_whole"))
        cutout = check_job(reader.log, "u_whole")
        assert cutout["delivery"] == "inline" and cutout["cached"] is False, cutout
        check_pixels(reader.results[cutout["job"]], cutout)

        # Half of the next photo, and the socket is cut.
        await ws.send(upload("u_cut", photo, deliver="url"))
        await reader.until(lambda event: event.get("upload") == "u_cut")
        await ws.send(photo[:PIECE])
        ws.transport.abort()
    seen = reader.log

    # In the same session with the token; the upload goes on where it was.
    bearer = ["warmcut.v1", f"bearer.{session['token']}"]
    last = seen[-1]["id"]
    async with connect(f"{url}?last_event_id={last}", subprotocols=bearer, max_size=None) as ws:
        again = await session_of(ws)
        assert again["session"] == session["session"] and again["resumed"] is True, again
        reader = Reader(ws)
        await ws.send(upload("u_cut", photo, deliver="url"))
        accepted = await reader.until(lambda event: event.get("status") == "accepted")
        assert accepted["upload"] == "u_cut" and 0 <= accepted["received_bytes"] <= PIECE, accepted
        await send(ws, photo[accepted["received_bytes"] :])
        await reader.until(lambda event: ends(event, "u_cut"))
        await reader.quiet()
    log = seen + reader.log
    check_log(log)
    second = check_job(log, "u_cut")
    assert second["delivery"] == "url" and second["cached"] is True, second

    # From every kind of place in the log the rest of it comes, once and in order.
    for at in (None, 2, len(seen) - 1, len(log) - 2):
        query = "" if at is None else f"?last_event_id={log[at]['id']}"
        async with connect(url + query, subprotocols=bearer, max_size=None) as ws:
            await session_of(ws)
            reader = Reader(ws)
            await reader.until(lambda event: event["id"] == log[-1]["id"])
            await reader.quiet()
        expected = [event["id"] for event in log[0 if at is None else at + 1 :]]
        got = [event["id"] for event in reader.log]
        assert got == expected, f"after {at}: {got} is not {expected}"
        cutouts = [event for event in reader.log if event["type"] == "cutout"]
        assert all(event["delivery"] == "url" for event in cutouts), "a replay's results come by their address"


asyncio.run(asyncio.wait_for(main(), PATIENCE_S))
