"""Edges beside the truth, beside plain resampling and beside pymatting; then what they take of a job."""

import argparse
import importlib.metadata
import io
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy
from PIL import Image
from scipy.ndimage import median_filter

import scenes

sys.path.append(str(pathlib.Path(__file__).parents[1] / "peers"))

# A photo that a page has scaled down, and a phone's.
SIZES = {"1.5": (1086, 1448), "12": (3024, 4032)}

# Of the models' maps: U²-Net's, InSPyReNet's.
SIDES = (320, 1024)

MODES = ("off", "guided", "decontaminate")

# Where a map is no surer than this, and so many places around, is where edges are made and judged.
UNSURE, AROUND = 0.01, 2

# A pixel is a speck where its value is so many levels from the median of the nine around it.
SPECK = 64

# A pixel is a dot where it is so much more opaque than that median: what is seen on white.
DOT = 24

# Grounds to see a cutout on.
GROUNDS = numpy.array([[0, 0, 0], [255, 255, 255], [0, 160, 220]], "float32")


class Bench:
    """warmcut's edges in a process of their own."""

    def __init__(self, binary):
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.folder = tempfile.TemporaryDirectory()

    def cut(self, photo, map_, mode):
        """RGBA8, and milliseconds."""
        folder = pathlib.Path(self.folder.name)
        photo.tofile(folder / "photo")
        map_.tofile(folder / "map")
        height, width = photo.shape[:2]
        words = (folder / "photo", width, height, folder / "map", map_.shape[0], mode, folder / "out")
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        took = float(self.process.stdout.readline().split()[1])
        return numpy.fromfile(folder / "out", "uint8").reshape(height, width, 4), took

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()


def foreground(photo, alpha):
    """pymatting's, RGB8, and milliseconds."""
    from pymatting import estimate_foreground_ml

    image, alpha = photo / 255.0, alpha / 255.0
    begun = time.perf_counter()
    colours = estimate_foreground_ml(image, alpha)
    took = (time.perf_counter() - begun) * 1e3
    return numpy.uint8(colours.clip(0, 1) * 255 + 0.5), took


def unsure(map_, size):
    """Where a map is not sure, and what is near it, at the photo's size."""
    side = map_.shape[0]
    seen = numpy.pad((map_ > UNSURE) & (map_ < 1 - UNSURE), AROUND)
    near = numpy.zeros((side, side), bool)
    for down in range(2 * AROUND + 1):
        for across in range(2 * AROUND + 1):
            near |= seen[down : down + side, across : across + side]
    return numpy.asarray(Image.fromarray(numpy.uint8(near)).resize(size, Image.Resampling.NEAREST)) > 0


def specks(values):
    """Where pixels stand out from their neighbours."""
    return numpy.abs(values - median_filter(values, 3)) > SPECK


class Errors:
    """Of one way, over scenes: levels of 255 in the mean."""

    def __init__(self):
        self.rows = []

    def alpha(self, scene, band, alpha):
        """In the band, everywhere, outside the band; of the gradient in the band; specks of the error in 1,000 of it."""
        truth = scene.alpha * 255
        signed = alpha - truth
        apart = numpy.abs(signed)
        slopes = [numpy.gradient(values) for values in (alpha.astype("float32"), truth)]
        steep = numpy.hypot(slopes[0][0] - slopes[1][0], slopes[0][1] - slopes[1][1])
        speckled = specks(signed)[band].mean() * 1e3
        self.rows.append((apart[band].mean(), apart.mean(), apart[~band].mean(), steep[band].mean(), speckled))

    def colours(self, scene, band, alpha, colours):
        """Of what is seen at all, by how much of it there is; and of the cutout on other grounds."""
        truth = scene.alpha[band][:, None]
        weight = truth * (alpha[band][:, None] > 0)
        front, own = scene.front[band].astype("float32"), colours[band].astype("float32")
        apart = (numpy.abs(own - front) * weight).sum() / (3 * weight.sum())
        there = alpha[band][:, None] / numpy.float32(255)
        grounds = [numpy.abs(there * own + (1 - there) * ground - truth * front - (1 - truth) * ground).mean()
                   for ground in GROUNDS]
        self.rows.append((apart, numpy.mean(grounds)))

    def mean(self):
        return numpy.mean(self.rows, 0)


def accuracy(arguments):
    bench = Bench(arguments.bench)
    print("| photo, map | edges | alpha: band | all | outside | gradient | specks | colours | on grounds | ms |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for megapixels in arguments.sizes:
        size = SIZES[megapixels]
        ways = {(side, way): (Errors(), Errors(), []) for side in arguments.sides for way in (*MODES, "pymatting")}
        for name in scenes.SCENES:
            scene = scenes.made(name, size)
            for side in arguments.sides:
                map_ = scenes.map_of(scene.alpha, side)
                band = unsure(map_, size)
                cut = {mode: bench.cut(scene.photo, map_, mode) for mode in MODES}
                # On the same transparency.
                alpha = cut["decontaminate"][0][..., 3]
                colours, took = foreground(scene.photo, alpha)
                cut["pymatting"] = numpy.dstack([colours, alpha]), took
                for way, (pixels, took) in cut.items():
                    alphas, fronts, times = ways[side, way]
                    alphas.alpha(scene, band, pixels[..., 3])
                    fronts.colours(scene, band, pixels[..., 3], pixels[..., :3])
                    times.append(took)
                    if arguments.each:
                        print_row(f"{name}, {megapixels}, {side}", way, alphas.rows[-1], fronts.rows[-1], took)
        for (side, way), (alphas, fronts, times) in ways.items():
            print_row(f"{megapixels} MP, {side}", way, alphas.mean(), fronts.mean(), numpy.median(times))
    bench.close()


def print_row(what, way, alpha, colours, took):
    cells = [f"{value:.2f}" for value in (*alpha, *colours)]
    print(f"| {what} | {way} | {' | '.join(cells)} | {took:.0f} |", flush=True)


def samples(arguments):
    """Specks and dots in the sample photos with the real network's map; some are whiskers and straps."""
    import strip

    bench = Bench(arguments.bench)
    print(f"\n| sample | {' | '.join(MODES)} |\n|{' --- |' * (len(MODES) + 1)}", flush=True)
    for path in sorted(scenes.SAMPLES.glob("*.jpg")):
        photo = numpy.asarray(Image.open(path).convert("RGB"))
        map_ = strip.network(arguments, photo)
        cells = []
        for mode in MODES:
            alpha = bench.cut(photo, map_, mode)[0][..., 3].astype("float32")
            cells.append(f"{specks(alpha).sum()}, {(alpha - median_filter(alpha, 3) > DOT).sum()}")
        print(f"| {path.stem} | {' | '.join(cells)} |", flush=True)
    bench.close()


def raccoon(width, height):
    """A sample whose map is unsure nearly everywhere, JPEG."""
    encoded = io.BytesIO()
    photo = Image.open(scenes.SAMPLES / "raccoon.jpg").convert("RGB")
    photo.resize((width, height), Image.Resampling.LANCZOS).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()


def shares(arguments):
    """What each takes of `POST /v1/cutouts`, in turns, and of its memory."""
    import photos

    print("\n| job | edges | median | of the job without | CPU | of the job without | PNG | peak memory |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for megapixels in arguments.sizes:
        size = SIZES[megapixels]
        for name, jpeg in (("portrait", photos.portrait(*size)), ("raccoon", raccoon(*size))):
            share(arguments, f"{megapixels} MP, {name}", jpeg)


def share(arguments, job, jpeg):
    import photos
    import servers

    # A server for each, so that each has a peak of its own.
    all_ = {}
    for mode in MODES:
        all_[mode] = servers.Warmcut(arguments.warmcut)
        all_[mode].options = f"format=png&edges={mode}"
        all_[mode].until(all_[mode].ready)
    times, cpu = ({mode: [] for mode in MODES} for _ in range(2))
    for turn in range(arguments.turns + 2):
        for mode, server in all_.items():
            time.sleep(0.1)
            worked = server.worked()
            took = server.cut(photos.fresh(jpeg))
            if turn >= 2:
                times[mode].append(took)
                cpu[mode].append(server.worked() - worked)
    for mode, server in all_.items():
        size = len(server.cutout(photos.fresh(jpeg))) / 1e6
        cells = []
        for values in (times, cpu):
            median, without = numpy.median(values[mode]), numpy.median(values["off"])
            cells += [f"{median:.0f} ms", f"{(median / without - 1) * 100:+.1f} %"]
        print(f"| {job} | {mode} | {' | '.join(cells)} | {size:.2f} MB | {server.peak() / 1e6:.0f} MB |", flush=True)
        server.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--bench", "--network", "--warmcut"):
        parser.add_argument(name)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--sides", nargs="*", type=int, default=SIDES)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--each", action="store_true", help="a row for each scene")
    parser.add_argument("--strip", help="where the pictures go instead of docs/edges.jpg")
    parser.add_argument("--only", nargs="*", help=", ".join(PARTS))
    arguments = parser.parse_args()
    versions = [f"{package} {importlib.metadata.version(package)}" for package in ("pymatting", "numpy")]
    print(f"{', '.join(versions)}; errors in levels of 255\n")
    for name, part in PARTS.items():
        if arguments.only is None or name in arguments.only:
            part(arguments)


def pictures(arguments):
    import strip

    strip.draw(arguments)


PARTS = {"accuracy": accuracy, "samples": samples, "shares": shares, "strip": pictures}

if __name__ == "__main__":
    main()
