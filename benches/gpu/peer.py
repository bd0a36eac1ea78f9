"""U²-Net and InSPyReNet in PyTorch, weights at random, for their times alone: the same table as src/model/u2net.rs, and
transparent-background's own module."""

import argparse
import pathlib
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional

# Block, levels (0: dilated), channels in, inside, out.
TABLES = {
    "u2netp": [(7, 3, 16, 64), (6, 64, 16, 64), (5, 64, 16, 64), (4, 64, 16, 64), (0, 64, 16, 64), (0, 64, 16, 64),
               (0, 128, 16, 64), (4, 128, 16, 64), (5, 128, 16, 64), (6, 128, 16, 64), (7, 128, 16, 64)],
    "u2net": [(7, 3, 32, 64), (6, 64, 32, 128), (5, 128, 64, 256), (4, 256, 128, 512), (0, 512, 256, 512),
              (0, 512, 256, 512), (0, 1024, 256, 512), (4, 1024, 128, 256), (5, 512, 64, 128), (6, 256, 32, 64),
              (7, 128, 16, 64)],
}
# The sides of what InSPyReNet sees.
PYRAMIDS = {"inspyrenet": 1024, "inspyrenet-fast": 384, "inspyrenet-res2net50": 384}
RUNS = 21


def pyramid(name, size):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "inspyrenet"))
    import make

    net = make.untrained(name, size)
    return net, net.forward_inference


def conv(inputs, outputs, dilation=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True))


def enlarged(x, like):
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


class Block(nn.Module):
    def __init__(self, levels, inputs, middle, outputs):
        super().__init__()
        self.pools = levels > 0
        levels = levels or 4
        grows = lambda level: (1 + (level == levels)) if self.pools else 2 ** (level - 1)
        self.entry = conv(inputs, outputs)
        self.down = nn.ModuleList(conv(outputs if n == 1 else middle, middle, grows(n)) for n in range(1, levels + 1))
        self.up = nn.ModuleList(
            conv(2 * middle, outputs if n == 1 else middle, 1 if self.pools else grows(n)) for n in range(levels - 1, 0, -1)
        )

    def forward(self, x):
        entry = x = self.entry(x)
        kept = []
        for n, down in enumerate(self.down):
            if self.pools and 0 < n < len(self.down) - 1:
                x = functional.max_pool2d(x, 2, ceil_mode=True)
            x = down(x)
            kept.append(x)
        kept.pop()
        for up in self.up:
            beside = kept.pop()
            x = up(torch.cat([enlarged(x, beside), beside], 1))
        return x + entry


class U2Net(nn.Module):
    def __init__(self, table):
        super().__init__()
        self.encoder = nn.ModuleList(Block(*row) for row in table[:6])
        self.decoder = nn.ModuleList(Block(*row) for row in table[6:])
        outputs = [row[3] for row in table[:5:-1]] + [table[5][3]]
        self.sides = nn.ModuleList(nn.Conv2d(channels, 1, 3, padding=1) for channels in outputs)
        self.fuse = nn.Conv2d(6, 1, 1)

    def forward(self, photo):
        x, kept = photo, []
        for n, block in enumerate(self.encoder):
            x = block(functional.max_pool2d(x, 2, ceil_mode=True) if n else x)
            kept.append(x)
        kept.pop()
        maps = [x]
        for block in self.decoder:
            beside = kept.pop()
            x = block(torch.cat([enlarged(x, beside), beside], 1))
            maps.insert(0, x)
        sides = [enlarged(side(x), photo) for side, x in zip(self.sides, maps)]
        return self.fuse(torch.cat(sides, 1)).float().sigmoid()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--type", default="f32", choices=["f32", "f16", "bf16"])
    parser.add_argument("--network", default="u2netp", choices=sorted([*TABLES, *PYRAMIDS]))
    parser.add_argument("--runs", type=int, default=RUNS)
    args = parser.parse_args()
    size = PYRAMIDS.get(args.network, 320)
    dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[args.type]
    begun = time.perf_counter()
    torch.zeros(1, device=args.device)
    print(f"  context in {(time.perf_counter() - begun) * 1e3:.0f} ms")
    on_gpu = args.device.startswith("cuda")
    # As warmcut computes in f32: without rounding its factors to TF32.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    if args.network in PYRAMIDS:
        module, network = pyramid(args.network, size)
        # Its own `to` moves the kernels that are no parameters too. Some of it computes in f32 whatever its weights
        # are, so half precision is PyTorch's own choice of where.
        module.to(torch.device(args.device))
        half = torch.autocast(args.device.split(":")[0], dtype, enabled=dtype != torch.float32)
        forward, dtype = network, torch.float32

        def network(photos):
            with half:
                return forward(photos)
    else:
        network = U2Net(TABLES[args.network]).eval().to(args.device, dtype)
    print(f"  PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")

    def run(photos):
        begun = time.perf_counter()
        # From the host's memory and back, as a photo of warmcut's goes.
        network(torch.rand(photos, 3, size, size).to(args.device).to(dtype)).float().cpu()
        if on_gpu:
            torch.cuda.synchronize()
        return (time.perf_counter() - begun) * 1e3 / photos

    with torch.inference_mode():
        print(f"  first run in {run(1):.0f} ms")
        for photos in (1, 2, 4, 8):
            run(photos)
            print(f"{photos} at once: {statistics.median(run(photos) for _ in range(args.runs)):.2f} ms a photo", flush=True)


if __name__ == "__main__":
    main()
