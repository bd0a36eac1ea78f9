#!/usr/bin/env python3
"""Convert a network whose export kept its batch norms.

    python tests/models/batch_norms.py NAME MODEL.onnx WARMCUT

The public files have theirs folded in. Each convolution with a ReLU behind it is taken apart again into another
one and a batch norm, by numbers that look random; converting that must give what converting the file gives, by `models/convert.py` and by the program.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnx
from onnx import helper, numpy_helper
from safetensors.numpy import load_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "models"))

from convert import NETWORKS, convert  # noqa: E402

EPSILON = 1e-3


def take_apart(graph):
    random = numpy.random.default_rng(1)
    parameters = {t.name: t for t in graph.initializer}
    into_relu = {n.input[0] for n in graph.node if n.op_type == "Relu"}
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type != "Conv" or node.output[0] not in into_relu:
            continue
        weight, bias = (numpy_helper.to_array(parameters[name]) for name in node.input[1:3])
        scale, mean, variance = (random.uniform(0.5, 2, len(bias)).astype("float32") for _ in range(3))
        factor = scale / numpy.sqrt(variance + EPSILON)
        # The convolution's own bias goes into the norm's shift.
        values = {"scale": scale, "shift": bias + mean * factor, "mean": mean, "variance": variance}
        out = node.output[0]
        names = [f"{out}.{name}" for name in values]
        for name, value in zip(names, values.values()):
            graph.initializer.append(numpy_helper.from_array(value.astype("float32"), name))
        whole = weight / factor[:, None, None, None]
        parameters[node.input[1]].CopyFrom(numpy_helper.from_array(whole, node.input[1]))
        graph.initializer.remove(parameters[node.input[2]])
        del node.input[2]
        node.output[0] = f"{out}.bare"
        norm = helper.make_node("BatchNormalization", [node.output[0], *names], [out], epsilon=EPSILON)
        nodes.append(norm)
    del graph.node[:]
    graph.node.extend(nodes)


def main():
    name, path, warmcut = sys.argv[1:]
    model = onnx.load(path)
    graph = model.graph
    expected = convert(graph, NETWORKS[name])
    take_apart(graph)
    found = convert(graph, NETWORKS[name])
    with tempfile.TemporaryDirectory() as folder:
        kept, converted = f"{folder}/kept.onnx", f"{folder}/converted.safetensors"
        onnx.save(model, kept)
        subprocess.run([warmcut, "model", "convert", kept, converted], check=True)
        ours = load_file(converted)
    for who, found in ("convert.py", found), (warmcut, ours):
        apart = max(float(numpy.abs(found[key] - value).max()) for key, value in expected.items())
        print(f"{name} with its batch norms, by {who}: {apart:.1e} apart at most")
        if found.keys() != expected.keys() or not apart < 1e-5:
            raise SystemExit("the conversion folds batch norms wrongly")


if __name__ == "__main__":
    main()
