#!/usr/bin/env python3
"""Compare a network's maps, time and memory with ONNX Runtime's or PyTorch's, on its real weights where there are some.

    python tests/models/parity.py NAME MODEL WEIGHTS BENCH WARMCUT [PYTHON]

MODEL is the peer's file, WEIGHTS ours; PYTHON has PyTorch where the peer is that. BENCH is the executable of
`cargo bench --bench inference`, WARMCUT the program. Fails when a map differs by more than the tolerance, or when
the program does not accept the file; the times only tell, because they are those of this machine at this moment.
`tests/run models` does all of it.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import numpy
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "models"))

from check import preprocess  # noqa: E402

# Of the raw map of 0 to 1. Winograd's sums are rounded elsewhere than a direct convolution's.
MEAN, MAX = 1e-4, 1e-3
# Of the peer's time: ONNX Runtime's on a processor with AVX-512, and no more than PyTorch's.
WANTED = {"ONNX Runtime": 0.4, "PyTorch": 1.0}
THREADS = 2
SIZES = {
    "u2netp": 320,
    "u2net": 320,
    "isnet": 1024,
    "inspyrenet": 1024,
    "inspyrenet-fast": 384,
    "inspyrenet-res2net50": 384,
}
# Of which there are no real weights (see isnet.py and inspyrenet.py): given noise instead of photos, and serving nothing.
MADE = {"isnet", "inspyrenet", "inspyrenet-fast", "inspyrenet-res2net50"}
# Runs that don't count, and those that do.
RUNS = {"inspyrenet": (1, 3), "inspyrenet-fast": (2, 7), "inspyrenet-res2net50": (2, 7)}
USUAL_RUNS = (3, 15)
# Seconds between two runs: a runtime's threads spin for a while after their work, and the next one would
# pay for it.
PAUSE = 0.1


class Program:
    """A process that runs the network once for each line that it is sent, and answers with milliseconds."""

    def __init__(self, *command):
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, photo=""):
        print(photo, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.process.args[0]} ended with {self.process.wait()}")
        return float(answer)

    def map_of(self, photo):
        self.run(photo)
        return numpy.fromfile(photo.with_suffix(".map"), "<f4")

    def peak(self):
        """Megabytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def normalised(rgb, name):
    """What the network sees of RGB8."""
    if name == "isnet":
        return (rgb.astype("float32") / 255 - numpy.float32(0.5)).transpose(2, 0, 1)[None]
    return preprocess(Image.fromarray(rgb))


def onnx_runtime(name, model):
    """What `Program` runs of ONNX Runtime, in a process of its own so that its memory is its own."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (photo, fused) = session.get_inputs()[0].name, session.get_outputs()[0].name
    size = SIZES[name]
    still = numpy.zeros((size, size, 3), "uint8")
    for line in sys.stdin:
        path = line.strip() and pathlib.Path(line.strip())
        rgb = numpy.fromfile(path, "uint8").reshape(size, size, 3) if path else still
        seen = normalised(rgb, name)
        begun = time.perf_counter()
        (found,) = session.run([fused], {photo: seen})
        took = (time.perf_counter() - begun) * 1e3
        if path:
            found.astype("<f4").tofile(path.with_suffix(".map"))
        print(f"{took:.3f}", flush=True)


def serve(args):
    """A server with the model as its own warms up, says so, and cuts out a photo."""
    command = [args.warmcut, "serve", "--listen", "127.0.0.1:0", "--default-model", args.name]
    command += ["--model", f"{args.name}={args.weights}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().split()[-1]
        begun = time.perf_counter()
        with urllib.request.urlopen(urllib.request.Request(f"{url}/warmup", method="POST")) as answer:
            answer.read()
        took = (time.perf_counter() - begun) * 1e3
        with urllib.request.urlopen(f"{url}/model-status") as answer:
            status = json.load(answer)
        if status["model"] != args.name or not status["model_loaded"]:
            raise SystemExit(f"the server says {status}")
        photo = (ROOT / "static" / "samples" / "cat.jpg").read_bytes()
        with urllib.request.urlopen(f"{url}/v1/cutouts", data=photo) as answer:
            alpha = numpy.asarray(Image.open(answer).getchannel("A"), "float32") / 255
        if not 0.05 < alpha.mean() < 0.95:
            raise SystemExit(f"the cutout's mean transparency is {alpha.mean()}")
        print(f"{args.name} served: ready after {took:.0f} ms, and a cat was cut out")
    finally:
        server.terminate()
        server.wait()


def photos(folder, name):
    """The samples as the network sees them: resampled here, so that both see the same pixels."""
    size = SIZES[name]
    if name in MADE:
        path = folder / "noise.rgb"
        path.write_bytes(numpy.random.default_rng(1).integers(0, 256, size * size * 3, "uint8").tobytes())
        yield path
        return
    for sample in sorted((ROOT / "static" / "samples").glob("*.jpg")):
        rgb = Image.open(sample).convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
        path = folder / f"{sample.stem}.rgb"
        path.write_bytes(rgb.tobytes())
        yield path


def main():
    if sys.argv[1:2] == ["--peer"]:
        return onnx_runtime(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("name", "model", "weights", "bench", "warmcut"):
        parser.add_argument(name)
    parser.add_argument("python", nargs="?", help="with PyTorch, for InSPyReNet")
    args = parser.parse_args()

    if args.name not in MADE:
        serve(args)
    subprocess.run([args.warmcut, "model", "check", args.weights], check=True)
    if args.python:
        runtime = "PyTorch"
        script = ROOT / "tests" / "models" / "inspyrenet.py"
        peer = Program(args.python, "-W", "ignore", script, args.name, args.model, "--answer")
    else:
        runtime = "ONNX Runtime"
        peer = Program(sys.executable, __file__, "--peer", args.name, args.model)
    model = f"{args.name}={args.weights}"
    ours = Program(args.bench, "--on-request", "--threads", THREADS, "--model", model)
    differs = False
    with tempfile.TemporaryDirectory() as folder:
        for photo in photos(pathlib.Path(folder), args.name):
            apart = numpy.abs(ours.map_of(photo) - peer.map_of(photo))
            mean, most = apart.mean(), apart.max()
            print(f"{args.name} on {photo.stem}: {mean:.2e} apart in the mean, {most:.2e} at most")
            # Not a number is apart too.
            differs |= not (mean <= MEAN and most <= MAX)
    rows = []
    warm_up, turns = RUNS.get(args.name, USUAL_RUNS)
    for _ in range(warm_up + turns):
        row = []
        for program in (ours, peer):
            time.sleep(PAUSE)
            row.append(program.run())
        rows.append(row)
    mine, theirs = (statistics.median(column) for column in zip(*rows[warm_up:]))
    print(
        f"{args.name}, {THREADS} threads: {mine:,.0f} ms beside {theirs:,.0f} ms of {runtime}, "
        f"{mine / theirs:.2f} (wanted: {WANTED[runtime]}); peak memory {ours.peak():,.0f} MB beside {peer.peak():,.0f} MB"
    )
    ours.close()
    peer.close()
    if differs:
        raise SystemExit(f"{args.name} differs by more than {MEAN} in the mean or {MAX} at most")


if __name__ == "__main__":
    main()
