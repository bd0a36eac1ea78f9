#!/usr/bin/env python3
"""InSPyReNet in PyTorch, of which no package ships weights: they are made by the formula of
tests/golden/inspyrenet/make.py.

    python tests/models/inspyrenet.py NAME CHECKPOINT.pth            makes the checkpoint
    python tests/models/inspyrenet.py NAME CHECKPOINT.pth --answer   runs it for parity.py

Needs what pytorch.txt says, and transparent-background's code.
"""

import pathlib
import sys
import time

import numpy
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "golden" / "inspyrenet"))

import make  # noqa: E402

THREADS = 2


def answer(name, path):
    """A map for each line that names a file of RGB8, and the milliseconds it took; parity.py's `Program`."""
    torch.set_num_threads(THREADS)
    size = make.SIZES[name]
    net = make.untrained(name, size)
    net.load_state_dict(torch.load(path, weights_only=True))
    still = make.photo(size)
    for line in sys.stdin:
        photo = line.strip() and pathlib.Path(line.strip())
        rgb = numpy.fromfile(photo, "uint8").reshape(size, size, 3) if photo else still
        seen = make.normalised(rgb)
        begun = time.perf_counter()
        with torch.inference_mode():
            found = net.forward_inference(seen)
        took = (time.perf_counter() - begun) * 1e3
        if photo:
            found.numpy().astype("<f4").tofile(photo.with_suffix(".map"))
        print(f"{took:.3f}", flush=True)


def main():
    name, path = sys.argv[1], pathlib.Path(sys.argv[2])
    if sys.argv[3:] == ["--answer"]:
        return answer(name, path)
    if not path.exists():
        torch.save(make.network(name, make.SIZES[name]).state_dict(), path)


if __name__ == "__main__":
    main()
