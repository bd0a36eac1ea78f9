#!/usr/bin/env python3
"""Make the known photo and a network's known answer beside this script.

    python models/known/make.py u2netp u2netp.onnx

photo.jpg is the coffee of static/samples at the networks' own size, so that no
resampling stands between the photo and the answer; it is made when it isn't there,
for all networks have the same. u2netp.png and u2net.png are what ONNX Runtime
says of it: output 0 before any stretch, averaged over cells of 8×8 to 40×40, times 255.

Why the coffee and not a pet: its answer is stable. One grey level of noise moves a
cell of U²-NetP's by 0.02 at most and the mean by 0.0002, of U²-Net's by 0.015 and 0.0001;
on the cat it is 0.17 and 0.014 with U²-NetP, which would fail sound weights for another
JPEG decoder's rounding. And no chroma subsampling, because decoders disagree most about that.

Needs: numpy, onnx, onnxruntime, pillow, safetensors.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from check import preprocess, session  # noqa: E402
from convert import NETWORKS  # noqa: E402

SIZE, SIDE = 320, 40


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("onnx")
    args = parser.parse_args()

    photo = HERE / "photo.jpg"
    if not photo.exists():
        sample = Image.open(HERE.parents[1] / "static/samples/coffee.jpg").convert("RGB")
        sample = sample.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        sample.save(photo, "JPEG", quality=80, subsampling=0, optimize=True)

    network = session(args.onnx)
    x = preprocess(Image.open(photo))
    fused = network.run(None, {network.get_inputs()[0].name: x})[0][0, 0]
    cell = SIZE // SIDE
    cells = fused.reshape(SIDE, cell, SIDE, cell).mean((1, 3))
    Image.fromarray(np.rint(cells * 255).astype(np.uint8)).save(
        HERE / f"{args.network}.png", optimize=True
    )


if __name__ == "__main__":
    main()
