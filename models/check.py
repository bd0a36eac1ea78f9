#!/usr/bin/env python3
"""Check weights of the U²-Net family against the ONNX file that they came from.

    python models/check.py u2netp.onnx models/u2netp.safetensors PHOTO...

Rebuilds the network in numpy from the parameter names alone, after the forward pass
of the PyTorch reference, and compares all seven outputs with ONNX Runtime's on each
photo, at 320×320 and at a size whose pooled maps are odd. A parameter under a wrong
name, or a wrong reading of pooling or interpolation, would show.

Needs: numpy, onnx, onnxruntime, pillow, safetensors.
"""

import argparse

import numpy as np
import onnx
import onnxruntime
from PIL import Image, ImageOps
from safetensors.numpy import load_file

MEAN = np.float32([0.485, 0.456, 0.406])
STD = np.float32([0.229, 0.224, 0.225])


def preprocess(photo, size=(320, 320)):
    """Photo to network input [1, 3, H, W]."""
    image = ImageOps.exif_transpose(photo).convert("RGB")
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(image, np.float32)
    pixels = pixels / max(pixels.max(), 1e-6)
    return ((pixels - MEAN) / STD).transpose(2, 0, 1)[None]


def conv(x, weight, bias, dilation=1):
    """Stride 1, zero padding that keeps the size. x is [C, H, W]."""
    k = weight.shape[2]
    pad = dilation * (k // 2)
    _, h, w = x.shape
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    y = np.zeros((weight.shape[0], h * w), np.float32)
    for i in range(k):
        for j in range(k):
            tap = x[:, i * dilation : i * dilation + h, j * dilation : j * dilation + w]
            y += weight[:, :, i, j] @ tap.reshape(len(tap), -1)
    return y.reshape(-1, h, w) + bias[:, None, None]


def pool(x):
    """2×2 maximum, stride 2; a last odd row or column is pooled alone (ceil mode)."""
    _, h, w = x.shape
    x = np.pad(x, ((0, 0), (0, h % 2), (0, w % 2)), constant_values=-np.inf)
    return x.reshape(len(x), (h + 1) // 2, 2, (w + 1) // 2, 2).max((2, 4))


def resize(x, size):
    """Bilinear, half-pixel centres, clamped at the edges (align_corners=False)."""

    def axis(x, n, axis):
        old = x.shape[axis]
        at = np.maximum((np.arange(n) + 0.5) * (old / n) - 0.5, 0)
        low = np.minimum(at.astype(int), old - 1)
        high = np.minimum(low + 1, old - 1)
        shape = [1, 1, 1]
        shape[axis] = n
        part = (at - low).astype(np.float32).reshape(shape)
        return x.take(low, axis) * (1 - part) + x.take(high, axis) * part

    return axis(axis(x, size[0], 1), size[1], 2)


class U2Net:
    def __init__(self, tensors):
        self.tensors = tensors

    def conv(self, name, x, dilation=1):
        return conv(x, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], dilation)

    def rebnconv(self, name, x, dilation=1):
        return np.maximum(self.conv(f"{name}.conv_s1", x, dilation), 0)

    def rsu(self, stage, depth, x):
        """RSU-7, -6, -5 or -4: pools on the way down, resizes on the way up."""
        inner = self.rebnconv(f"{stage}.rebnconvin", x)
        downs = [self.rebnconv(f"{stage}.rebnconv1", inner)]
        for level in range(2, depth):
            downs.append(self.rebnconv(f"{stage}.rebnconv{level}", pool(downs[-1])))
        up = self.rebnconv(f"{stage}.rebnconv{depth}", downs[-1], dilation=2)
        for level in range(depth - 1, 0, -1):
            skip = downs[level - 1]
            up = np.concatenate([resize(up, skip.shape[1:]), skip])
            up = self.rebnconv(f"{stage}.rebnconv{level}d", up)
        return up + inner

    def rsu4f(self, stage, x):
        """RSU-4F: keeps its resolution and dilates by 1, 2, 4, 8 instead."""
        inner = self.rebnconv(f"{stage}.rebnconvin", x)
        x1 = self.rebnconv(f"{stage}.rebnconv1", inner)
        x2 = self.rebnconv(f"{stage}.rebnconv2", x1, 2)
        x3 = self.rebnconv(f"{stage}.rebnconv3", x2, 4)
        x4 = self.rebnconv(f"{stage}.rebnconv4", x3, 8)
        up = self.rebnconv(f"{stage}.rebnconv3d", np.concatenate([x4, x3]), 4)
        up = self.rebnconv(f"{stage}.rebnconv2d", np.concatenate([up, x2]), 2)
        up = self.rebnconv(f"{stage}.rebnconv1d", np.concatenate([up, x1]))
        return up + inner

    def stage(self, name, x):
        depth = {"1": 7, "2": 6, "3": 5, "4": 4}.get(name[5])
        return self.rsu(name, depth, x) if depth else self.rsu4f(name, x)

    def forward(self, x):
        """[3, H, W] to the fused map and the six side maps, [7, H, W]."""
        encoded = [self.stage("stage1", x)]
        for level in range(2, 7):
            encoded.append(self.stage(f"stage{level}", pool(encoded[-1])))
        decoded = {6: encoded[5]}
        for level in range(5, 0, -1):
            skip = encoded[level - 1]
            up = resize(decoded[level + 1], skip.shape[1:])
            decoded[level] = self.stage(f"stage{level}d", np.concatenate([up, skip]))
        sides = [self.conv(f"side{level}", decoded[level]) for level in range(1, 7)]
        sides = np.concatenate([resize(s, x.shape[1:]) for s in sides])
        return 1 / (1 + np.exp(-np.concatenate([self.conv("outconv", sides), sides])))


def session(path):
    """ONNX Runtime with the input size left open: the export fixes only its label."""
    model = onnx.load(path)
    for value in [*model.graph.input, *model.graph.output]:
        for axis, name in ((2, "height"), (3, "width")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("onnx")
    parser.add_argument("safetensors")
    parser.add_argument("photos", nargs="+")
    args = parser.parse_args()

    reference = session(args.onnx)
    network = U2Net(load_file(args.safetensors))
    worst = 0.0
    for photo in args.photos:
        for size in ((320, 320), (250, 187)):
            x = preprocess(Image.open(photo), size)
            want = np.concatenate(reference.run(None, {reference.get_inputs()[0].name: x}))[:, 0]
            got = network.forward(x[0])
            difference = np.abs(got - want).max((1, 2))
            worst = max(worst, difference.max())
            print(f"{photo} {size[0]}x{size[1]}: fused {difference[0]:.2e}, all {difference.max():.2e}")
    if worst > 2e-4:
        raise SystemExit(f"the networks differ by {worst:.2e}")


if __name__ == "__main__":
    main()
