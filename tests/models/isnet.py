#!/usr/bin/env python3
"""Make an IS-Net whose weights are a formula's, as ONNX and as safetensors, and its golden map.

    python tests/models/isnet.py FOLDER          # isnet.onnx and isnet.safetensors, for 1024x1024
    python tests/models/isnet.py --golden        # isnet-96.safetensors beside this script

No package that we know of ships IS-Net's published weights, and their terms are unclear, so its parity is shown on
weights that both sides can compute: the formula of `src/model/cpu/tests.rs`. The graph is built here after the
reference (xuebinqin/DIS, `IS-Net/models/isnet.py`, class `ISNetDIS`), with batch norms folded away. On the same
weights the reference itself, run by PyTorch, gave a map that differs from this one by less than 1e-5.

Needs: numpy, onnx, onnxruntime, safetensors.
"""

import pathlib
import sys

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).resolve().parent

# Stage, channels in, inside and out, depth; depth "4F" is the dilated block.
ENCODER = [
    ("stage1", (64, 32, 64), 7),
    ("stage2", (64, 32, 128), 6),
    ("stage3", (128, 64, 256), 5),
    ("stage4", (256, 128, 512), 4),
    ("stage5", (512, 256, 512), "4F"),
    ("stage6", (512, 256, 512), "4F"),
]
DECODER = [
    ("stage5d", (1024, 256, 512), "4F"),
    ("stage4d", (1024, 128, 256), 4),
    ("stage3d", (512, 64, 128), 5),
    ("stage2d", (256, 32, 64), 6),
    ("stage1d", (128, 16, 64), 7),
]


def noise(n):
    """-1 to 1, the same everywhere; n is uint32."""
    mixed = (n ^ (n >> 16)) * numpy.uint32(0x7FEB352D)
    mixed = (mixed ^ (mixed >> 15)) * numpy.uint32(0x846CA68B)
    return (mixed >> 8).astype("float32") / numpy.float32(2**23) - numpy.float32(1)


def parameter(name, shape):
    seed = 1
    for byte in name.encode():
        seed = (seed * 31 + byte) & 0xFFFFFFFF
    inputs = numpy.prod(shape[1:])
    scale = numpy.float32(0.1) if len(shape) == 1 else numpy.sqrt(numpy.float32(6) / numpy.float32(inputs))
    if name.startswith("side"):
        # Else the map would be white all over.
        scale /= numpy.float32(16)
    count = numpy.arange(numpy.prod(shape), dtype="uint32")
    return (scale * noise(numpy.uint32(seed) ^ count)).reshape(shape)


class Builder:
    """Adds nodes; a value is its name, its channels and its size."""

    def __init__(self):
        self.nodes, self.weights = [], {}

    def node(self, kind, inputs, **attributes):
        out = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    def conv(self, name, x, cin, cout, dilation=1, stride=1, relu=True):
        weight, bias = f"{name}.weight", f"{name}.bias"
        self.weights[weight] = parameter(weight, (cout, cin, 3, 3))
        self.weights[bias] = parameter(bias, (cout,))
        pads, dilations, strides = [dilation] * 4, [dilation] * 2, [stride] * 2
        x, size = x
        y = self.node("Conv", [x, weight, bias], pads=pads, dilations=dilations, strides=strides, group=1)
        return (self.node("Relu", [y]) if relu else y), -(-size // stride)

    def pool(self, x):
        x, size = x
        return self.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), -(-size // 2)

    def like(self, x, size, channels):
        if x[1] == size:
            return x
        sizes = f"sizes{channels}x{size}"
        self.weights[sizes] = numpy.array([1, channels, size, size], "int64")
        inputs = [x[0], "", "", sizes]
        return self.node("Resize", inputs, mode="linear", coordinate_transformation_mode="half_pixel"), size

    def joined(self, x, beside):
        return self.node("Concat", [x[0], beside[0]], axis=1), beside[1]

    def block(self, stage, channels, depth, x):
        cin, mid, out = channels
        dilated, depth = depth == "4F", 4 if depth == "4F" else depth

        def dilation(level):
            return 2 ** (level - 1) if dilated else 1 + (level == depth)

        def conv(name, x, cin, cout, dilation=1):
            return self.conv(f"{stage}.{name}.conv_s1", x, cin, cout, dilation)

        entry = conv("rebnconvin", x, cin, out)
        x, kept = entry, []
        for level in range(1, depth + 1):
            if 1 < level < depth and not dilated:
                x = self.pool(x)
            x = conv(f"rebnconv{level}", x, out if level == 1 else mid, mid, dilation(level))
            kept.append(x)
        kept.pop()
        for level in range(depth - 1, 0, -1):
            beside = kept.pop()
            x = self.joined(self.like(x, beside[1], mid), beside)
            x = conv(f"rebnconv{level}d", x, 2 * mid, out if level == 1 else mid, dilation(level))
        return self.node("Add", [x[0], entry[0]]), entry[1]


def build(size):
    builder = Builder()
    x = builder.conv("conv_in", ("photo", size), 3, 64, stride=2, relu=False)
    kept = []
    for n, stage in enumerate(ENCODER):
        x = builder.block(*stage, x if n == 0 else builder.pool(x))
        kept.append((x, stage[1][2]))
    (x, channels), sides = kept.pop(), []
    sides.append((x, channels))
    for stage in DECODER:
        beside, _ = kept.pop()
        x = builder.block(*stage, builder.joined(builder.like(x, beside[1], channels), beside))
        channels = stage[1][2]
        sides.append((x, channels))
    outputs = []
    for n, (x, channels) in enumerate(reversed(sides), 1):
        side = builder.like(builder.conv(f"side{n}", x, channels, 1, relu=False), size, 1)
        outputs.append(builder.node("Sigmoid", [side[0]]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        builder.nodes,
        "isnet",
        [value("photo", TensorProto.FLOAT, [1, 3, size, size])],
        [value(name, TensorProto.FLOAT, [1, 1, size, size]) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in builder.weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model, {name: array for name, array in builder.weights.items() if array.dtype == "float32"}


def photo(size):
    """As the network sees it, after it was normalised."""
    return (2 * noise(numpy.arange(3 * size * size, dtype="uint32"))).reshape(1, 3, size, size)


def map_of(model, size):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"photo": photo(size)})[0][0, 0]


def main():
    if sys.argv[1:] == ["--golden"]:
        golden = map_of(build(96)[0], 96)
        print(f"{golden.min()} to {golden.max()}, mean {golden.mean()}")
        save_file({"map": golden}, HERE / "isnet-96.safetensors")
        return
    (folder,) = map(pathlib.Path, sys.argv[1:])
    model, weights = build(1024)
    onnx.save(model, folder / "isnet.onnx")
    save_file(weights, folder / "isnet.safetensors")


if __name__ == "__main__":
    main()
