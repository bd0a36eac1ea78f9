"""warmcut's and rembg's servers as processes: started, asked for cutouts, measured, stopped."""

import copy
import http.client
import os
import pathlib
import socket
import subprocess
import sys
import time

# Seconds after which a server or an answer counts as lost.
PATIENCE = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A process that cuts out photos over HTTP."""

    def __init__(self, command, environment=None):
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
        )
        self.connection = None

    def answers(self, method, path, body=None, headers=None):
        """One request over the connection that is kept; `None` where nobody listens yet."""
        for fresh in (self.connection is None, True):
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
                self.connection.request(method, path, body, headers or {})
                answer = self.connection.getresponse()
                return answer.status, answer.read()
            except ConnectionError:
                # One that was kept may have been closed meanwhile.
                self.connection = None
                if fresh:
                    return None
        return None

    def until(self, ready):
        """Asks every few milliseconds until `ready` says so; seconds since the process was started."""
        while not ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.process.args[0]} ended with {self.process.returncode}")
            if time.perf_counter() - self.started > PATIENCE:
                raise TimeoutError(f"{self.process.args[0]} is not ready after {PATIENCE} s")
            time.sleep(0.002)
        return time.perf_counter() - self.started

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def cutout(self, photo):
        """A PNG of the cutout."""
        status, body = self.answers(*self.request(photo))
        if status != 200:
            raise RuntimeError(f"{status}: {body[:300]!r}")
        return body

    def cut(self, photo):
        """Milliseconds until the cutout is there."""
        begun = time.perf_counter()
        self.cutout(photo)
        return (time.perf_counter() - begun) * 1e3

    def another_client(self):
        """The same server over a connection of its own."""
        other = copy.copy(self)
        other.connection = None
        return other

    def worked(self):
        """Milliseconds that its threads that are there have had on a processor: on a busy machine steadier than time."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6

    def peak(self):
        """The most memory that the process ever held, in bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        kilobytes = next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]
        return int(kilobytes) * 1024

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.process.terminate()
        self.process.wait()


class Warmcut(Server):
    # Of each cutout.
    options = "format=png"

    def __init__(self, binary, before=()):
        """`before` is a command that becomes the one behind it."""
        self.port = free_port()
        super().__init__([*before, binary, "serve", "--listen", f"127.0.0.1:{self.port}"])

    def told_ready(self):
        """Follows its channel as a page does, until that tells of a validated model; seconds since the start."""
        self.until(self.listens)
        channel = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        channel.request("GET", "/v1/events")
        events = channel.getresponse()
        if not any(line == b"event: ready\n" for line in events):
            raise RuntimeError("the channel ended before the server was ready")
        took = time.perf_counter() - self.started
        channel.close()
        return took

    def ready(self):
        """Whether it has validated its model, so that a cutout would run now."""
        answer = self.answers("GET", "/readyz")
        return answer is not None and answer[0] == 200

    def request(self, photo):
        return "POST", f"/v1/cutouts?{self.options}", photo, {"content-type": "image/jpeg"}


class Rembg(Server):
    BOUNDARY = "a-line-that-no-photo-has"

    def __init__(self, model):
        self.port = free_port()
        python = pathlib.Path(sys.executable).with_name("rembg")
        command = [str(python), "s", "--host", "127.0.0.1", "--port", str(self.port), "--no-ui", "-l", "error"]
        # It would fetch the model; what is there already with the right checksum it takes.
        super().__init__(command, {"U2NET_HOME": str(pathlib.Path(model).parent)})

    def request(self, photo):
        fields = {"file": ('name="file"; filename="photo.jpg"', photo), "model": ('name="model"', b"u2netp")}
        parts = [
            f"--{self.BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + value + b"\r\n"
            for head, value in fields.values()
        ]
        body = b"".join(parts) + f"--{self.BOUNDARY}--\r\n".encode()
        return "POST", "/api/remove", body, {"content-type": f"multipart/form-data; boundary={self.BOUNDARY}"}

    def ready(self):
        """As soon as it listens; its model it loads with the first photo."""
        return self.listens()
