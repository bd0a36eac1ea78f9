"""Raw sockets, with PyPI `wsproto` for what comes back: frames as a client of ours would never send them."""

import json
import os
import socket
import struct
import threading
import time
import traceback
import urllib.parse

import wsproto
from common import ORIGIN, PHOTO, check_job
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, Request, TextMessage

MIB = 1 << 20
PATIENCE_S = int(os.environ.get("PATIENCE_S", "60"))  # for a case; the slowest waits for a warm-up and a cutout
CONTINUATION, TEXT, BINARY, CLOSE, PING = 0, 1, 2, 8, 9


def frame(opcode, payload, fin=True, masked=True):
    """One frame as RFC 6455 section 5.2 draws it."""
    if isinstance(payload, str):
        payload = payload.encode()
    head, mask_bit, size = bytes([(0x80 if fin else 0) | opcode]), 0x80 if masked else 0, len(payload)
    if size < 126:
        head += bytes([mask_bit | size])
    elif size < 1 << 16:
        head += bytes([mask_bit | 126]) + struct.pack(">H", size)
    else:
        head += bytes([mask_bit | 127]) + struct.pack(">Q", size)
    # A key of zeros leaves the payload as it is, and is a valid key all the same.
    return head + (bytes(4) if masked else b"") + payload


class Client:
    """A socket that sends what it is told and reads what a WebSocket says."""

    def __init__(self, token=None, welcome=True):
        host = urllib.parse.urlsplit(ORIGIN).netloc
        name, port = host.split(":")
        self.deadline = time.monotonic() + PATIENCE_S
        self.tcp = socket.create_connection((name, int(port)), timeout=PATIENCE_S)
        self.ws = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        protocols = ["warmcut.v1"] + ([f"bearer.{token}"] if token else [])
        self.tcp.sendall(self.ws.send(Request(host=host, target="/v1/socket?trigger=manual", subprotocols=protocols)))
        self.parts, self.pending, self.log = b"", [], []
        assert isinstance(self._next(), AcceptConnection), "accepted first, so that a browser sees why it is refused"
        self.session = self.event()
        assert self.session["type"] == ("session" if welcome else "problem"), self.session

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tcp.close()

    def send(self, *frames):
        self.tcp.sendall(b"".join(frames))

    def send_what_is_taken(self, data):
        try:
            self.tcp.sendall(data)
        except OSError:
            pass  # the server went away, which the reader sees too

    def say(self, **message):
        self.send(frame(TEXT, json.dumps(message)))

    def _next(self):
        while not self.pending:
            self.tcp.settimeout(max(self.deadline - time.monotonic(), 0.001))
            data = self.tcp.recv(1 << 16)
            self.ws.receive_data(data or None)
            self.pending = list(self.ws.events())
            if not data and not self.pending:
                raise AssertionError("the connection ended without a close frame")
        return self.pending.pop(0)

    def message(self):
        """The next whole message: an object, bytes, or the close."""
        while True:
            got = self._next()
            if isinstance(got, (Ping, Pong)):
                continue
            if isinstance(got, CloseConnection):
                return got
            assert isinstance(got, (TextMessage, BytesMessage)), got
            self.parts = self.parts + (got.data.encode() if isinstance(got, TextMessage) else bytes(got.data))
            if got.message_finished:
                whole, self.parts = self.parts, b""
                return json.loads(whole) if isinstance(got, TextMessage) else whole

    def event(self):
        got = self.message()
        assert isinstance(got, dict), f"not an event: {got}"
        self.log.append(got)
        return got

    def until(self, **fields):
        while True:
            event = self.event()
            if fields.items() <= {name: event.get(name) for name in fields}.items():
                return event

    def problem(self, code):
        problem = self.until(type="problem")
        assert problem["code"] == code, f"{code} was expected: {problem}"
        assert problem["message"] and "retryable" in problem, problem
        return problem

    def closed(self, code):
        while isinstance(got := self.message(), dict):
            pass
        assert isinstance(got, CloseConnection) and got.code == code, f"close {code} was expected: {got}"

    def alive(self):
        """It still does its work: an unknown job is answered."""
        self.say(type="cancel", job="j_none")
        self.problem("unknown_job")


def upload(name, size):
    return {"type": "upload", "upload": name, "bytes": size, "mime": "image/jpeg", "deliver": "url"}


def a_frame_above_the_limit():
    with Client() as client:
        client.say(**upload("u_big", 2 * MIB))
        client.until(type="upload", status="accepted")
        client.send(frame(BINARY, bytes(MIB + 1)))
        problem = client.problem("upload_too_large")
        assert str(MIB) in problem["message"], f"the limit is named: {problem}"
        client.closed(1009)


def a_frame_far_above_the_limit():
    """It is sent while the answer is read, as a browser does it; the code arrives all the same."""
    with Client() as client:
        sending = threading.Thread(target=client.send_what_is_taken, args=[frame(BINARY, bytes(4 * MIB))])
        sending.start()
        try:
            client.problem("upload_too_large")
            client.closed(1009)
        finally:
            client.tcp.close()
            sending.join()


def a_frame_at_the_limit():
    with Client() as client:
        client.say(**upload("u_full", 2 * MIB))
        client.until(type="upload", status="accepted")
        client.send(frame(BINARY, PHOTO.read_bytes().ljust(MIB, b"\0")))
        # It was taken; the other half is missing.
        client.say(type="cancel", upload="u_full")
        client.until(type="upload", status="rejected")
        client.alive()


def binary_without_an_upload():
    with Client() as client:
        client.send(frame(BINARY, b"\xff\xd8\xff\xe0"))
        client.problem("bad_request")
        client.alive()


def messages_that_cannot_be_read():
    with Client() as client:
        for bad in ("{", "[]", "null", "", '{"type":"hello"}', '{"type":"upload","upload":"u1"}',
                    '{"type":"upload","upload":"u1","bytes":-1,"mime":"image/jpeg"}', '{"type":"cancel"}'):
            client.send(frame(TEXT, bad))
            client.problem("bad_request")
        client.alive()


def unknown_options():
    with Client() as client:
        client.say(**upload("u_options", 10), options={"colour": "red"})
        problem = client.problem("bad_request")
        assert problem["upload"] == "u_options", problem
        client.alive()


def two_uploads_at_once():
    photo = PHOTO.read_bytes()
    with Client() as client:
        client.say(**upload("u_first", len(photo)))
        client.until(type="upload", upload="u_first", status="accepted")
        client.send(frame(BINARY, photo[:1000]))
        client.say(**upload("u_second", 10))
        problem = client.problem("upload_in_progress")
        assert problem["upload"] == "u_second", problem
        client.send(frame(BINARY, photo[1000:]))
        client.until(type="job", upload="u_first", status="succeeded")
        check_job(client.log, "u_first")


def too_many_bytes():
    photo = PHOTO.read_bytes()
    with Client() as client:
        client.say(**upload("u_many", len(photo) - 1000))
        client.until(type="upload", status="accepted")
        client.send(frame(BINARY, photo))
        problem = client.problem("bad_request")
        assert problem["upload"] == "u_many", problem
        client.alive()


def an_upload_above_the_limit():
    with Client() as client:
        limit = client.session["limits"]["max_upload_bytes"]
        client.say(**upload("u_huge", limit + 1))
        problem = client.problem("upload_too_large")
        assert problem["upload"] == "u_huge" and str(limit) in problem["message"], problem
        client.alive()


def fragments_make_one_message():
    photo = PHOTO.read_bytes()
    text = json.dumps(upload("u_parts", len(photo)))
    with Client() as client:
        # A ping may come between fragments (RFC 6455 section 5.4), and a fragment may be empty.
        client.send(
            frame(TEXT, text[:10], fin=False), frame(CONTINUATION, "", fin=False), frame(PING, b"?"),
            frame(CONTINUATION, text[10:20], fin=False), frame(CONTINUATION, text[20:]),
        )
        client.until(type="upload", status="accepted")
        client.send(frame(BINARY, photo[:70_000], fin=False), frame(CONTINUATION, photo[70_000:]))
        client.until(type="job", upload="u_parts", status="succeeded")
        check_job(client.log, "u_parts")


def byte_by_byte():
    with Client() as client:
        for byte in frame(TEXT, '{"type":"cancel","job":"j_none"}'):
            client.send(bytes([byte]))
        client.problem("unknown_job")


def protocol_error(*frames):
    """It ends this socket, and neither its session nor another socket of it."""
    with Client() as bystander, Client(bystander.session["token"]) as client:
        assert client.session["session"] == bystander.session["session"], "one session"
        client.send(*frames)
        ended = False
        try:
            while not ended:
                got = client.message()
                ended = isinstance(got, CloseConnection)
            assert got.code in (1002, 1006, 1007), f"a protocol error: {got}"
        except (AssertionError, ConnectionResetError) as error:
            assert "without a close frame" in str(error) or isinstance(error, ConnectionResetError), error
        bystander.alive()
        with Client(bystander.session["token"]) as back:
            assert back.session["resumed"] is True
            back.alive()


def an_unmasked_frame():
    protocol_error(frame(TEXT, '{"type":"cancel","job":"j_none"}', masked=False))


def a_reserved_opcode():
    protocol_error(frame(3, "?"))


def a_continuation_of_nothing():
    protocol_error(frame(CONTINUATION, "?"))


def text_that_is_not_utf8():
    protocol_error(frame(TEXT, b"\xff\xfe"))


def a_close_is_answered():
    with Client() as client:
        client.send(frame(CLOSE, struct.pack(">H", 1000)))
        client.closed(1000)


def a_forged_token():
    with Client() as client:
        token = client.session["token"]
    forged = token[:-4] + ("aaaa" if token[-4:] != "aaaa" else "bbbb")
    with Client(forged, welcome=False) as stranger:
        assert stranger.session["code"] == "unauthorized", stranger.session
        stranger.closed(4401)


CASES = [
    a_frame_above_the_limit, a_frame_far_above_the_limit, a_frame_at_the_limit, binary_without_an_upload,
    messages_that_cannot_be_read, unknown_options, two_uploads_at_once, too_many_bytes, an_upload_above_the_limit,
    fragments_make_one_message, byte_by_byte, an_unmasked_frame, a_reserved_opcode, a_continuation_of_nothing,
    text_that_is_not_utf8, a_close_is_answered, a_forged_token,
]

if __name__ == "__main__":
    only = os.environ.get("CASE")
    failed = []
    for case in CASES:
        if only and case.__name__ != only:
            continue
        try:
            case()
        except Exception:
            failed.append(case.__name__)
            print(f"{case.__name__}:\n{traceback.format_exc()}")
    if failed:
        raise SystemExit(f"{len(failed)} of {len(CASES)} cases failed: {', '.join(failed)}")
