#!/usr/bin/env python3
"""Convert a network of the U²-Net family from ONNX to safetensors, under the names of its PyTorch reference.

    python models/convert.py u2netp u2netp.onnx models/u2netp.safetensors

An ONNX export loses the names of all layers but the last seven, and may have folded
every batch norm into its convolution; where it has not, that is done here. What it
kept is the order of execution, so the convolutions are named by walking the graph
beside a table of the network. Every shape, dilation, padding and stride must match the
table, or nothing is written.

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

# In order of execution: stage, channels in, inside and out, depth; depth "4F" is the dilated block.
NETWORKS = {
    "u2netp": [
        ("stage1", (3, 16, 64), 7),
        ("stage2", (64, 16, 64), 6),
        ("stage3", (64, 16, 64), 5),
        ("stage4", (64, 16, 64), 4),
        ("stage5", (64, 16, 64), "4F"),
        ("stage6", (64, 16, 64), "4F"),
        ("stage5d", (128, 16, 64), "4F"),
        ("stage4d", (128, 16, 64), 4),
        ("stage3d", (128, 16, 64), 5),
        ("stage2d", (128, 16, 64), 6),
        ("stage1d", (128, 16, 64), 7),
    ],
    "u2net": [
        ("stage1", (3, 32, 64), 7),
        ("stage2", (64, 32, 128), 6),
        ("stage3", (128, 64, 256), 5),
        ("stage4", (256, 128, 512), 4),
        ("stage5", (512, 256, 512), "4F"),
        ("stage6", (512, 256, 512), "4F"),
        ("stage5d", (1024, 256, 512), "4F"),
        ("stage4d", (1024, 128, 256), 4),
        ("stage3d", (512, 64, 128), 5),
        ("stage2d", (256, 32, 64), 6),
        ("stage1d", (128, 16, 64), 7),
    ],
}

# The outputs, the finest first, and what each reads.
SIDES = ["stage1d", "stage2d", "stage3d", "stage4d", "stage5d", "stage6"]


class Conv(NamedTuple):
    name: str
    out_channels: int
    in_channels: int
    kernel: int
    dilation: int
    relu: bool


def block(stage, channels, depth):
    """The convolutions of one residual U-block, in order of execution."""
    cin, mid, out = channels
    dilated = depth == "4F"
    depth = 4 if dilated else depth

    def conv(name, cin, cout, dilation):
        return Conv(f"{stage}.{name}.conv_s1", cout, cin, 3, dilation, True)

    def dilation(level):
        if dilated:
            return 2 ** (level - 1)
        return 2 if level == depth else 1

    yield conv("rebnconvin", cin, out, 1)
    yield conv("rebnconv1", out, mid, dilation(1))
    for level in range(2, depth + 1):
        yield conv(f"rebnconv{level}", mid, mid, dilation(level))
    for level in range(depth - 1, 0, -1):
        yield conv(f"rebnconv{level}d", 2 * mid, out if level == 1 else mid, dilation(level))


def network(stages):
    """All 119 convolutions, in order of execution."""
    for stage in stages:
        yield from block(*stage)
    channels = {stage: channels[2] for stage, channels, _ in stages}
    for n, stage in enumerate(SIDES, 1):
        yield Conv(f"side{n}", 1, channels[stage], 3, 1, False)
    yield Conv("outconv", 1, len(SIDES), 1, 1, False)


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


def fold(weight, bias, norm, parameters):
    """A convolution's weight and bias with the batch norm behind it inside them."""
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    scale, shift, mean, variance = (parameters[name].astype(np.float64) for name in norm.input[1:5])
    factor = scale / np.sqrt(variance + epsilon)
    bias = (bias - mean) * factor + shift
    return (weight * factor[:, None, None, None]).astype(np.float32), bias.astype(np.float32)


def convert(graph, stages):
    """Map canonical parameter names to arrays."""
    parameters = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    into_relu = {n.input[0] for n in graph.node if n.op_type == "Relu"}
    norms = {n.input[0]: n for n in graph.node if n.op_type == "BatchNormalization"}
    nodes = [n for n in graph.node if n.op_type == "Conv"]
    table = list(network(stages))
    if len(nodes) != len(table):
        raise SystemExit(f"the graph has {len(nodes)} convolutions, expected {len(table)}")

    tensors, used = {}, set()
    for want, node in zip(table, nodes):
        weight = parameters[node.input[1]]
        bias = parameters[node.input[2]] if len(node.input) > 2 else np.zeros(len(weight), np.float32)
        out = node.output[0]
        used.update(node.input)
        if norm := norms.get(out):
            weight, bias = fold(weight, bias, norm, parameters)
            out = norm.output[0]
            used.update(norm.input)
        check(want, node, weight, bias, out in into_relu)
        tensors[f"{want.name}.weight"] = np.ascontiguousarray(weight)
        tensors[f"{want.name}.bias"] = np.ascontiguousarray(bias)

    unused = set(parameters) - used
    if unused:
        raise SystemExit(f"parameters outside any convolution: {sorted(unused)}")
    return tensors


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("onnx", help="the file that rembg and its forks ship")
    parser.add_argument("safetensors", help="the file to write")
    args = parser.parse_args()

    tensors = convert(onnx.load(args.onnx).graph, NETWORKS[args.network])
    save_file(tensors, args.safetensors)

    values = sum(t.size for t in tensors.values())
    print(f"{len(tensors)} tensors, {values} values")
    print(f"{sha256(args.onnx)}  {args.onnx}")
    print(f"{sha256(args.safetensors)}  {args.safetensors}")


if __name__ == "__main__":
    main()
