"""Alternating runs of warmcut and its peers on the same work; medians and their ratios."""

import argparse
import concurrent.futures
import importlib.metadata
import io
import os
import pathlib
import platform
import statistics
import time

import numpy
from PIL import Image

import inference
import limit
import photos
import servers

# Seconds between two runs: a runtime's threads spin for a while after their work, and the next one would
# pay for it.
PAUSE = 0.1

# Runs of each that come before those that count.
WARM_UP = 3

# Photos of a phone: scaled down by a page, and whole.
SMALL, LARGE = (1086, 1448), (3024, 4032)


def in_turns(runs, turns, warm_up=WARM_UP):
    """The median of each, run one after the other."""
    times = []
    for turn in range(turns + warm_up):
        row = []
        for run in runs:
            time.sleep(PAUSE)
            row.append(run())
        if turn >= warm_up:
            times.append(row)
    return [statistics.median(column) for column in zip(*times)]


def print_row(work, ours, peer, unit, wanted=None):
    ratio = f"{ours / peer:.3f}"
    print(f"| {work} | {ours:,.1f} {unit} | {peer:,.1f} {unit} | {ratio} | {wanted or ''} |", flush=True)


def networks(arguments, levels):
    for threads in (2, 1):
        for name, extra, wanted in levels:
            peer = inference.OnnxRuntime(arguments.model, threads)
            ours = inference.Warmcut(arguments.bench, threads, *extra)
            mine, theirs = in_turns((ours.run, peer.run), arguments.turns)
            ours.close()
            peer.close()
            print_row(f"U²-NetP{name}, {threads} thread{'s'[: threads - 1]}", mine, theirs, "ms", wanted)


def starts(arguments):
    """Process start to a validated `ready`, and to the first cutout of the peer."""
    first = photos.portrait(*SMALL)

    def ours():
        server = servers.Warmcut(arguments.warmcut)
        took = server.told_ready()
        server.close()
        return took * 1e3

    def peer():
        server = servers.Rembg(arguments.model)
        server.until(server.ready)
        server.cutout(first)
        took = time.perf_counter() - server.started
        server.close()
        return took * 1e3

    mine, theirs = in_turns((ours, peer), arguments.starts, warm_up=1)
    print_row("start to ready, and to the first cutout", mine, theirs, "ms", 0.06)


def requests(arguments, ours, peer):
    # The peer enlarges the map and leaves it at that.
    plain = ours.another_client()
    plain.options = "format=png&edges=off"
    for size, wanted, turns in ((SMALL, 0.25, arguments.turns), (LARGE, 0.18, arguments.large_turns)):
        jpeg = photos.portrait(*size)
        name = f"{size[0]}×{size[1]}, JPEG of {len(jpeg) / 1e6:.1f} MB to PNG"
        mine, theirs = in_turns([lambda s=s: s.cut(photos.fresh(jpeg)) for s in (ours, peer)], turns)
        print_row(name, mine, theirs, "ms", wanted)
        files = [server.cutout(photos.fresh(jpeg)) for server in (ours, peer)]
        sizes = [len(file) / 1e6 for file in files]
        print_row("its PNG", *sizes, "MB", 1.10)
        files[0] = plain.cutout(photos.fresh(jpeg))
        print_apart("its transparency, by decoders of their own", files)
    png = photos.portrait(*SMALL, format="PNG", compress_level=1)
    print_apart("that of the smaller photo as a PNG", [server.cutout(png) for server in (plain, peer)])


def files(ours, peer):
    """The sample photos' PNGs, whose sizes differ most where there is no grain."""
    folder = pathlib.Path(__file__).parents[2] / "static" / "samples"
    for path in sorted(folder.glob("*.jpg")):
        sizes = [len(server.cutout(photos.fresh(path.read_bytes()))) / 1e3 for server in (ours, peer)]
        print_row(f"PNG of {path.name}", *sizes, "kB", 1.10)


def limits(arguments):
    """Photos at once in a process that may have 512 MB."""
    for name, size, count in (("twenty of 12", LARGE, 20), ("six of 50", (6120, 8160), 6)):
        jpeg = photos.portrait(*size)
        said = limit.at_once(arguments.warmcut, 512 << 20, [photos.fresh(jpeg) for _ in range(count)])
        print(f"| {name} megapixels at once, with 512 MB | {said} | | | |", flush=True)


def print_apart(name, files):
    alphas = [numpy.asarray(Image.open(io.BytesIO(file)).getchannel("A"), "int16") for file in files]
    apart = numpy.abs(alphas[0] - alphas[1])
    print(f"| {name} | at most {apart.max()} of 255 apart, {apart.mean():.4f} in the mean | | | |", flush=True)


def memory(arguments):
    """Peak after ten photos of a phone, one after the other."""
    jpeg = photos.portrait(*LARGE)
    peaks = []
    for server in (servers.Warmcut(arguments.warmcut), servers.Rembg(arguments.model)):
        server.until(server.ready)
        for _ in range(10):
            server.cutout(photos.fresh(jpeg))
        peaks.append(server.peak() / 1e6)
        server.close()
    print_row("peak memory after ten of 12 megapixels", *peaks, "MB", "0.25, 256 MB")


def crowds(arguments, ours):
    """Eight photos at once beside eight one after the other."""
    for name, size in (("1.5", SMALL), ("12", LARGE)):
        jpeg = photos.portrait(*size)

        def at_once():
            clients = [ours.another_client() for _ in range(8)]
            begun = time.perf_counter()
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda client: client.cutout(photos.fresh(jpeg)), clients))
            return (time.perf_counter() - begun) * 1e3

        def one_by_one():
            begun = time.perf_counter()
            for _ in range(8):
                ours.cutout(photos.fresh(jpeg))
            return (time.perf_counter() - begun) * 1e3

        mine, theirs = in_turns((at_once, one_by_one), arguments.crowds)
        print_row(f"eight of {name} megapixels at once, and one by one", mine, theirs, "ms", 1.05)


def machine():
    with open("/proc/cpuinfo") as cpus:
        lines = cpus.read().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    flags = next(line for line in lines if line.startswith("flags")).split()
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    kernel = f"{platform.system()} {platform.release()}"
    return f"{names[0]}, {len(names)} cores, {vectors}, {kernel}", vectors == "AVX-512"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--model", "--bench", "--warmcut"):
        parser.add_argument(name, required=True)
    parser.add_argument("--turns", type=int, default=21)
    parser.add_argument("--large-turns", type=int, default=9)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--crowds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="networks, starts, requests, memory, crowds, limits, binary")
    arguments = parser.parse_args()
    name, wide = machine()
    versions = [f"{package} {importlib.metadata.version(package)}" for package in ("onnxruntime", "rembg")]
    print(f"{name}; {', '.join(versions)}; medians of {arguments.turns} turns\n")
    print("| work | warmcut | peer | ratio | wanted |\n| --- | --- | --- | --- | --- |", flush=True)

    def wants(part):
        return arguments.only is None or part in arguments.only

    if wants("networks"):
        levels = [("", [], 0.30)] if wide else []
        networks(arguments, [*levels, (" on AVX2", ["--cpu", "avx2"], 0.36)])
    if wants("starts"):
        starts(arguments)
    if wants("requests") or wants("crowds"):
        ours = servers.Warmcut(arguments.warmcut)
        ours.until(ours.ready)
        if wants("requests"):
            peer = servers.Rembg(arguments.model)
            peer.until(peer.ready)
            requests(arguments, ours, peer)
            files(ours, peer)
            peer.close()
        if wants("crowds"):
            crowds(arguments, ours)
        ours.close()
    if wants("memory"):
        memory(arguments)
    if wants("limits"):
        limits(arguments)
    if wants("binary"):
        size = os.stat(arguments.warmcut).st_size / 1e6
        print(f"| binary, model inside | {size:.1f} MB | | | 25 MB |")


if __name__ == "__main__":
    main()
