#!/usr/bin/env python3
"""Make the small checkpoints and ONNX files beside this script, for the tests of the readers.

    python tests/models/files/make.py

Needs: torch 2, numpy, onnx. What each holds is said where it is made; `src/model/weights/tests.rs` says the
same once more. The two that ask for code to be run would, opened by Python, print a line and do no harm.
"""

import io
import os
import pathlib
import zipfile

import numpy
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent


def tensors():
    """One of each kind; values count up from 0."""

    def counting(*shape):
        return torch.arange(float(torch.tensor(shape).prod())).reshape(shape)

    both = counting(4, 3)
    return {
        "plain": counting(2, 3),
        "turned": counting(3, 2).t(),
        "every_other": counting(8)[::2],
        "first_half": both[:2],
        "second_half": both[2:],
        "parameter": torch.nn.Parameter(counting(2)),
        "f16": counting(2).half(),
        "bf16": counting(2).bfloat16(),
        "f64": counting(2).double(),
        "counted": torch.tensor(7),
        "scalar": torch.tensor(0.5),
        "empty": torch.zeros(0, 3),
    }


class Calls:
    """What runs when Python unpickles it."""

    def __reduce__(self):
        return os.system, ("echo a pickle was executed",)


def checkpoints():
    # As a trainer saves it: wrapped, beside other things, and as OrderedDict with its versions.
    wrapped = {f"module.{name}": tensor for name, tensor in tensors().items()}
    module = torch.nn.Conv2d(1, 2, 3)
    with torch.no_grad():
        module.weight.copy_(torch.arange(18.0).reshape(2, 1, 3, 3))
        module.bias.copy_(torch.tensor([0.5, -0.5]))
    saved = {"epoch": 3, "loss": 0.25, "lr": [1e-3], "state_dict": wrapped, "done": True, "note": None}
    torch.save(saved, HERE / "archive.pth")
    torch.save(wrapped, HERE / "pickles.pth", _use_new_zipfile_serialization=False)
    torch.save(module.state_dict(), HERE / "module.pth", pickle_protocol=4)
    torch.save({"w": torch.zeros(2), "more": Calls()}, HERE / "calls.pth")
    old = io.BytesIO()
    torch.save({"w": torch.zeros(2), "more": Calls()}, old, _use_new_zipfile_serialization=False)
    (HERE / "calls-pickles.pth").write_bytes(old.getvalue())
    # Somebody has packed it again.
    with zipfile.ZipFile(HERE / "module.pth") as packed:
        with zipfile.ZipFile(HERE / "compressed.pth", "w", zipfile.ZIP_DEFLATED) as again:
            for name in packed.namelist():
                again.writestr(zipfile.ZipInfo(name), packed.read(name), zipfile.ZIP_DEFLATED)


def graph(initialisers, conv_inputs, norm=False):
    """Two convolutions of 3x3 and 1x1 with a ReLU between them, and a batch norm behind the first."""
    first = helper.make_node("Conv", ["x", *conv_inputs[0]], ["a"], dilations=[2, 2], pads=[2] * 4, kernel_shape=[3, 3])
    nodes, out = [first], "a"
    if norm:
        names = ["scale", "shift", "mean", "variance"]
        nodes.append(helper.make_node("BatchNormalization", ["a", *names], ["n"], epsilon=0.25))
        out = "n"
    nodes.append(helper.make_node("Relu", [out], ["b"]))
    nodes.append(helper.make_node("Conv", ["b", *conv_inputs[1]], ["y"], kernel_shape=[1, 1], strides=[1, 1], group=1))
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "two",
        [value("x", TensorProto.FLOAT, [1, 1, 8, 8])],
        [value("y", TensorProto.FLOAT, [1, 1, 8, 8])],
        initialisers,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def onnx_files():
    weight = numpy.arange(18, dtype="float32").reshape(2, 1, 3, 3)
    bias = numpy.array([0.5, -0.5], "float32")
    last, last_bias = numpy.array([2, 3], "float32").reshape(1, 2, 1, 1), numpy.array([1], "float32")
    names = [("71", "72"), ("outconv.weight", "outconv.bias")]
    arrays = dict(zip([*names[0], *names[1]], [weight, bias, last, last_bias]))

    def save(model, name):
        (HERE / name).write_bytes(model.SerializeToString())

    save(graph([numpy_helper.from_array(array, name) for name, array in arrays.items()], names), "raw.onnx")
    listed = [
        helper.make_tensor(name, TensorProto.FLOAT, array.shape, array.flatten().tolist())
        for name, array in arrays.items()
    ]
    save(graph(listed, names), "listed.onnx")
    halves = [numpy_helper.from_array(array.astype("float16"), name) for name, array in arrays.items()]
    # The first as bits in a list of integers, the others as they lie in memory.
    halves[0] = helper.make_tensor(names[0][0], TensorProto.FLOAT16, weight.shape, weight.flatten().tolist())
    for_checker = graph([numpy_helper.from_array(array, name) for name, array in arrays.items()], names)
    del for_checker.graph.initializer[:]
    for_checker.graph.initializer.extend(halves)
    save(for_checker, "halves.onnx")
    norm = {"scale": [2, 0.5], "shift": [1, -1], "mean": [3, 4], "variance": [0.75, 3.75]}
    norm = [numpy_helper.from_array(numpy.array(values, "float32"), name) for name, values in norm.items()]
    bare = [numpy_helper.from_array(array, name) for name, array in arrays.items() if name != "72"]
    save(graph(bare + norm, [("71",), names[1]], norm=True), "norm.onnx")
    outside = graph([numpy_helper.from_array(array, name) for name, array in arrays.items()], names)
    tensor = outside.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    save(outside, "outside.onnx")


if __name__ == "__main__":
    checkpoints()
    onnx_files()
