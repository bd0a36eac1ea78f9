#!/usr/bin/env python3
"""Make the golden values beside this script, or time the reference on this machine.

    python tests/golden/inspyrenet/make.py [--res2net Res2Net_v1b.py] [--only NETWORK]
    python tests/golden/inspyrenet/make.py --time inspyrenet-fast --threads 2

Needs: numpy, opencv-python-headless, safetensors, torch, and transparent-background (its code alone:
`pip install --no-deps`). That package has no Res2Net. The goldens are by lib/backbones/Res2Net_v1b.py of
github.com/plemeri/InSPyReNet; without that file it is timm's, which is the same network but for its dilation.
"""

import argparse
import importlib.util
import resource
import sys
import time
import types
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).resolve().parent
SAMPLES = 256
# Name, side of the photo, side of the squares whose means stand for the whole map.
NETWORKS = [
    # Of the same parts, for tests that would take too long; its last maps are smaller than a window.
    ("small", 192, 4),
    ("inspyrenet-fast", 384, 4),
    ("inspyrenet-res2net50", 384, 4),
    ("inspyrenet", 1024, 8),
]
SIZES = {name: size for name, size, _ in NETWORKS}


def mixed(seed, count):
    """`count` numbers of 64 bits; splitmix64."""
    z = np.uint64(seed) + np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def seed(name):
    """FNV-1a."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h


def spread(name, shape, size):
    """The middle of a tensor's values and how far they are from it; src/model/inspyrenet/tests/formula.rs
    has the same, and says why."""
    last = name.rsplit(".", 1)[-1]
    if last == "running_var":
        if "conv_key.0." in name or "conv_value.0." in name:
            level = int(name[len("attention")])
            pixels = (size >> level) ** 2
            return (0.1 * pixels) ** 2, 0.5 * (0.1 * pixels) ** 2
        return 1.0, 0.5
    if last == "relative_position_bias_table":
        return 0.0, 0.5
    if last == "gamma":
        return 0.7, 0.2
    if last in ("threshold", "lthreshold"):
        return 0.5, 0.1
    if last in ("bias", "running_mean"):
        return 0.0, 0.1
    if len(shape) == 1:
        return (0.3, 0.1) if ".bn3." in name else (1.0, 0.2)
    gain = 0.3 if "query_conv." in name or "key_conv." in name else 1.0
    return 0.0, gain * np.sqrt(3.0 / np.prod(shape[1:]))


def values(name, shape, size):
    middle, far = spread(name, shape, size)
    unit = (mixed(seed(name), int(np.prod(shape))) >> np.uint64(40)).astype(np.float64) / 2**23 - 1.0
    return (middle + far * unit).astype(np.float32).reshape(shape)


def photo(size):
    """A disc on a ramp, with noise; RGB8, `[H, W, 3]`."""
    y, x, c = np.meshgrid(np.arange(size), np.arange(size), np.arange(3), indexing="ij")
    value = x * 200 // size + c * 20
    inside = (x - size // 2) ** 2 + (y - size // 2) ** 2 < (size // 3) ** 2
    value = np.where(inside, 255 - value, value)
    noise = (mixed(seed("photo"), size * size * 3) >> np.uint64(59)).astype(np.int64)
    return np.clip(value + noise.reshape(value.shape) - 16, 0, 255).astype(np.uint8)


def normalised(rgb):
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    planes = ((rgb / 255.0 - mean) / deviation).astype(np.float32).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(planes))[None]


def reference():
    """The package's module, without what it imports for training, for matting and for its command line."""
    name = "transparent_background.InSPyReNet"
    if name in sys.modules:
        return sys.modules[name]
    stubs = []
    if importlib.util.find_spec("timm") is None:
        timm, layers = types.ModuleType("timm"), types.ModuleType("timm.layers")
        layers.DropPath = lambda *_: torch.nn.Identity()
        layers.to_2tuple = lambda x: x if isinstance(x, tuple) else (x, x)
        layers.trunc_normal_ = torch.nn.init.trunc_normal_
        stubs += [timm, layers]
    kornia, morphology = types.ModuleType("kornia"), types.ModuleType("kornia.morphology")
    # For the blending of two passes, which nobody deploys.
    morphology.dilation = morphology.erosion = None
    package = types.ModuleType("transparent_background")
    package.__path__ = importlib.util.find_spec("transparent_background").submodule_search_locations
    for module in (*stubs, kornia, morphology, package):
        sys.modules[module.__name__] = module
    return importlib.import_module(name)


def swin_b(size):
    """As Remover makes it."""
    return reference().InSPyReNet_SwinB(depth=64, pretrained=False, threshold=None, base_size=[size, size])


def timms_res2net():
    """timm's, dilated as InSPyReNet's is: by 2 in the third group, by 4, 8 and 16 in the blocks of the fourth."""
    from timm.models.res2net import res2net50d

    eye = res2net50d(pretrained=False)
    del eye.fc
    for blocks, dilations in ((eye.layer3, [2] * 6), (eye.layer4, [4, 8, 16])):
        for block, dilation in zip(blocks, dilations, strict=True):
            for conv in block.convs:
                conv.dilation = conv.padding = (dilation, dilation)

    def forward(x):
        seen = [eye.maxpool(eye.act1(eye.bn1(eye.conv1(x))))]
        for blocks in (eye.layer1, eye.layer2, eye.layer3, eye.layer4):
            seen.append(blocks(seen[-1]))
        return seen

    eye.forward = forward
    return eye


def res2net50(path):
    if path is None:
        return timms_res2net()
    spec = importlib.util.spec_from_file_location("res2net", path)
    backbone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(backbone)
    return backbone.res2net50_v1b_26w_4s(pretrained=False)


def untrained(name, size, res2net=None):
    module = reference()
    if name.endswith("res2net50"):
        net = module.InSPyReNet(res2net50(res2net), [64, 256, 512, 1024, 2048], 64, [size, size], threshold=None)
    elif name == "small":
        swin = sys.modules["transparent_background.backbones.SwinTransformer"].SwinTransformer
        eye = swin(embed_dim=64, depths=[2, 2, 2, 2], num_heads=[2, 4, 8, 16], window_size=12)
        net = module.InSPyReNet(eye, [64, 64, 128, 256, 512], 64, [size, size], threshold=None)
    else:
        net = swin_b(size)
    return net.eval()


def network(name, size, res2net=None):
    net = untrained(name, size, res2net)
    state = net.state_dict()
    unused = ("num_batches_tracked", "relative_position_index")
    state = {
        key: old if key.endswith(unused) else torch.from_numpy(values(key, tuple(old.shape), size))
        for key, old in state.items()
    }
    net.load_state_dict(state, strict=True)
    count = sum(tensor.numel() for key, tensor in state.items() if not key.endswith(unused))
    print(f"{name}: {count:,} values that are used")
    return net


def stages(net, x):
    """Everything that the network computes on the way, by the names that our own gives it."""
    seen, hooks = {}, []

    def hook(module, *names):
        def keep(_, __, out):
            seen.update(zip(names, out if isinstance(out, (tuple, list)) else [out]))

        hooks.append(module.register_forward_hook(keep))

    hook(net.backbone, *[f"backbone.{n}" for n in range(5)])
    for n in range(1, 6):
        hook(getattr(net, f"context{n}"), f"context{n}")
    hook(net.decoder, "decoder", "d3")
    for n in range(3):
        hook(getattr(net, f"attention{n}"), f"attention{n}", f"p{n}")
    with torch.inference_mode():
        out = net.forward_inspyre(x)
    seen.update(zip(("d3", "d2", "d1", "d0"), out["saliency"]))
    seen["map"] = torch.sigmoid(seen["d0"])
    for handle in hooks:
        handle.remove()
    return seen


def goldens(res2net, only):
    tensors = load_file(HERE / "stages.safetensors") if only else {}
    for name, size, square in NETWORKS:
        if only and name != only:
            continue
        seen = stages(network(name, size, res2net), normalised(photo(size)))
        for stage, tensor in seen.items():
            flat = tensor.numpy().ravel()
            places = np.arange(SAMPLES, dtype=np.int64) * 1_000_003 % len(flat)
            tensors[f"{name}/{stage}"] = flat[places].copy()
            rms = float(np.sqrt(np.mean(np.square(flat, dtype=np.float64))))
            print(f"  {stage:12} {tuple(tensor.shape)!s:22} {flat.min():9.3f} {flat.max():9.3f} rms {rms:.4f}")
        whole = seen["map"].numpy().reshape(size // square, square, size // square, square)
        tensors[f"{name}/whole"] = whole.mean((1, 3), dtype=np.float64).astype(np.float32)
    save_file(tensors, HERE / "stages.safetensors")


def timed(name, threads, runs, res2net):
    torch.set_num_threads(threads)
    size = SIZES[name]
    net, x = network(name, size, res2net), normalised(photo(size))
    for _ in range(runs):
        start, worked = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            net.forward_inference(x)
        worked = time.process_time() - worked
        print(f"  {time.perf_counter() - start:.2f} s, worked {worked:.2f} s", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"  peak {peak / 1e3:.0f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--res2net", help="the reference's Res2Net_v1b.py instead of timm's")
    names = [name for name, *_ in NETWORKS]
    parser.add_argument("--only", metavar="NETWORK", choices=names, help="leave the others as they are")
    parser.add_argument("--time", metavar="NETWORK", choices=names)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    if args.time:
        timed(args.time, args.threads, args.runs, args.res2net)
    else:
        goldens(args.res2net, args.only)


if __name__ == "__main__":
    main()
