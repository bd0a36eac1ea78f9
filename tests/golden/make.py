#!/usr/bin/env python3
"""Make the golden photos and maps beside this script.

    python tests/golden/make.py u2netp.onnx

Needs: numpy, onnx, onnxruntime, pillow, safetensors.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "models"))

from check import preprocess, session  # noqa: E402

# Name, size, colours. PNG, so that every decoder sees the same pixels; few colours, so
# that it is small. The network is asked about these pixels, not about the original's.
PHOTOS = [
    ("coffee", (480, 320), 32),
    ("photographer", (320, 320), None),
    ("raccoon", (320, 320), 64),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("onnx")
    args = parser.parse_args()

    network = session(args.onnx)
    maps = {}
    for name, size, colours in PHOTOS:
        photo = Image.open(ROOT / f"static/samples/{name}.jpg")
        photo = photo.resize(size, Image.Resampling.LANCZOS)
        if colours:
            photo = photo.quantize(colours, dither=Image.Dither.NONE)
        photo.save(HERE / f"{name}.png", optimize=True)
        x = preprocess(Image.open(HERE / f"{name}.png"))
        fused = network.run(None, {network.get_inputs()[0].name: x})[0][0, 0]
        maps[name] = np.ascontiguousarray(fused)
    save_file(maps, HERE / "maps.safetensors")


if __name__ == "__main__":
    main()
