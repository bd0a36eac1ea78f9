#!/usr/bin/env python3
"""Convert U²-NetP from ONNX to safetensors, under the names of its PyTorch reference.

    python models/convert_u2netp.py path/to/u2netp.onnx models/u2netp.safetensors

The ONNX export folded every batch norm into its convolution and lost the names of
all layers but the last seven. What it kept is the order of execution, so the
convolutions are named by walking the graph beside a table of the network. Every
shape, dilation, padding and stride must match the table, or nothing is written.

Needs: onnx, numpy, safetensors.
"""

import argparse
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

MID, OUT = 16, 64

# In order of execution: stage, input channels, depth; depth "4F" is the dilated block.
STAGES = [
    ("stage1", 3, 7),
    ("stage2", 64, 6),
    ("stage3", 64, 5),
    ("stage4", 64, 4),
    ("stage5", 64, "4F"),
    ("stage6", 64, "4F"),
    ("stage5d", 128, "4F"),
    ("stage4d", 128, 4),
    ("stage3d", 128, 5),
    ("stage2d", 128, 6),
    ("stage1d", 128, 7),
]


class Conv(NamedTuple):
    name: str
    out_channels: int
    in_channels: int
    kernel: int
    dilation: int
    relu: bool


def block(stage, in_channels, depth):
    """The convolutions of one residual U-block, in order of execution."""
    dilated = depth == "4F"
    depth = 4 if dilated else depth

    def conv(name, cin, cout, dilation):
        return Conv(f"{stage}.{name}.conv_s1", cout, cin, 3, dilation, True)

    def dilation(level):
        if dilated:
            return 2 ** (level - 1)
        return 2 if level == depth else 1

    yield conv("rebnconvin", in_channels, OUT, 1)
    yield conv("rebnconv1", OUT, MID, dilation(1))
    for level in range(2, depth + 1):
        yield conv(f"rebnconv{level}", MID, MID, dilation(level))
    for level in range(depth - 1, 0, -1):
        cout = OUT if level == 1 else MID
        yield conv(f"rebnconv{level}d", 2 * MID, cout, dilation(level))


def network():
    """All 119 convolutions, in order of execution."""
    for stage in STAGES:
        yield from block(*stage)
    for side in range(1, 7):
        yield Conv(f"side{side}", 1, OUT, 3, 1, False)
    yield Conv("outconv", 1, 6, 1, 1, False)


def check(want, node, weight, bias, followed_by_relu):
    """Fail unless the ONNX node is the convolution that the table expects here."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    padding = want.dilation * (want.kernel // 2)
    expected = {
        "weight": (want.out_channels, want.in_channels, want.kernel, want.kernel),
        "bias": (want.out_channels,),
        "dtypes": ("float32", "float32"),
        "dilations": [want.dilation] * 2,
        "pads": [padding] * 4,
        "strides": [1, 1],
        "group": 1,
        "relu": want.relu,
    }
    found = {
        "weight": weight.shape,
        "bias": bias.shape,
        "dtypes": (str(weight.dtype), str(bias.dtype)),
        "dilations": attributes["dilations"],
        "pads": attributes["pads"],
        "strides": attributes["strides"],
        "group": attributes["group"],
        "relu": followed_by_relu,
    }
    for key, value in expected.items():
        if found[key] != value:
            raise SystemExit(f"{want.name}: {key} is {found[key]}, expected {value}")
    # The last seven kept their names in the export: a second witness for the order.
    if not want.relu and node.input[1] != f"{want.name}.weight":
        raise SystemExit(f"{want.name}: the graph has {node.input[1]} here")


def convert(graph):
    """Map canonical parameter names to arrays."""
    initializers = {t.name: t for t in graph.initializer}
    into_relu = {n.input[0] for n in graph.node if n.op_type == "Relu"}
    nodes = [n for n in graph.node if n.op_type == "Conv"]
    table = list(network())
    if len(nodes) != len(table):
        raise SystemExit(f"the graph has {len(nodes)} convolutions, expected {len(table)}")

    tensors = {}
    for want, node in zip(table, nodes):
        weight, bias = (numpy_helper.to_array(initializers[i]) for i in node.input[1:3])
        check(want, node, weight, bias, node.output[0] in into_relu)
        tensors[f"{want.name}.weight"] = np.ascontiguousarray(weight)
        tensors[f"{want.name}.bias"] = np.ascontiguousarray(bias)

    unused = set(initializers) - {i for n in nodes for i in n.input}
    if unused:
        raise SystemExit(f"parameters outside any convolution: {sorted(unused)}")
    return tensors


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("onnx", help="u2netp.onnx, as rembg and its forks ship it")
    parser.add_argument("safetensors", help="the file to write")
    args = parser.parse_args()

    tensors = convert(onnx.load(args.onnx).graph)
    save_file(tensors, args.safetensors)

    values = sum(t.size for t in tensors.values())
    print(f"{len(tensors)} tensors, {values} values")
    print(f"{sha256(args.onnx)}  {args.onnx}")
    print(f"{sha256(args.safetensors)}  {args.safetensors}")


if __name__ == "__main__":
    main()
