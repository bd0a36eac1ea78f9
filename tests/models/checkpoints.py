#!/usr/bin/env python3
"""Read a whole network as its trainer would have saved it.

    python tests/models/checkpoints.py MODEL.safetensors WARMCUT

Takes published weights apart into convolutions and batch norms, saves them with PyTorch as an archive, as the older
kind, and in half precision, and has the program check and convert each: what comes out must be the published weights
again. `tests/run` leaves it out, because PyTorch is a gigabyte; the small checkpoints beside it (files/make.py) are
always read.

Needs: torch, numpy, safetensors.
"""

import pathlib
import subprocess
import sys
import tempfile
from collections import OrderedDict

import numpy
import torch
from safetensors.numpy import load_file

EPSILON = 1e-5


def take_apart(tensors):
    """The `state_dict` of a network that has its batch norms."""
    random = numpy.random.default_rng(1)
    state = OrderedDict()
    for name, weight in tensors.items():
        conv, part = name.rsplit(".", 1)
        if part == "bias":
            continue
        bias = tensors[f"{conv}.bias"]
        if not conv.endswith(".conv_s1"):
            state[f"{conv}.weight"], state[f"{conv}.bias"] = weight, bias
            continue
        scale, mean, variance, own = (random.uniform(0.5, 2, len(bias)).astype("float32") for _ in range(4))
        factor = scale / numpy.sqrt(variance + EPSILON)
        state[f"{conv}.weight"], state[f"{conv}.bias"] = weight / factor[:, None, None, None], own
        norm = conv.removesuffix("conv_s1") + "bn_s1"
        state[f"{norm}.weight"], state[f"{norm}.bias"] = scale, bias - (own - mean) * factor
        state[f"{norm}.running_mean"], state[f"{norm}.running_var"] = mean, variance
        state[f"{norm}.num_batches_tracked"] = numpy.array(1000)
    return OrderedDict((name, torch.from_numpy(numpy.asarray(array))) for name, array in state.items())


def main():
    weights, warmcut = sys.argv[1:]
    tensors = load_file(weights)
    state = take_apart(tensors)
    half = OrderedDict((name, tensor.half()) for name, tensor in tensors_of(tensors))
    kinds = {
        "archive": (state, {}, 1e-5),
        "pickles": (state, {"_use_new_zipfile_serialization": False}, 1e-5),
        "trained": ({"model": {f"module.{k}": v for k, v in state.items()}, "epoch": 9}, {}, 1e-5),
        "half": (half, {}, 0),
    }
    with tempfile.TemporaryDirectory() as folder:
        for kind, (saved, how, limit) in kinds.items():
            path, converted = pathlib.Path(folder, f"{kind}.pth"), f"{folder}/{kind}.safetensors"
            torch.save(saved, path, **how)
            subprocess.run([warmcut, "model", "check", path], check=True)
            subprocess.run([warmcut, "model", "convert", path, converted], check=True)
            found = load_file(converted)
            expected = tensors if kind != "half" else {name: value.astype("float16") for name, value in tensors.items()}
            apart = max(float(numpy.abs(found[name] - value).max()) for name, value in expected.items())
            print(f"{kind}: {apart:.1e} apart at most")
            if found.keys() != tensors.keys() or not apart <= limit:
                raise SystemExit(f"{kind} is read wrongly")


def tensors_of(arrays):
    return ((name, torch.from_numpy(array)) for name, array in arrays.items())


if __name__ == "__main__":
    main()
