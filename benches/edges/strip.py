"""Pictures to look at: what stands in the table, and real photos with the real network's map."""

import pathlib
import subprocess
import tempfile

import numpy
from PIL import Image, ImageDraw

import measure
import scenes

OUT = pathlib.Path(__file__).parents[2] / "docs" / "edges.jpg"

# Pixels of a tile, of what is said above it, and between two.
TILE, HEAD, GAP = 232, 22, 4

WAYS = ("photo", *measure.MODES, "pymatting")

# Scene, size, the map's side, the crop's middle as shares of the photo, its pixels for one of the tile's, the ground.
DRAWN = (
    ("hair, leaves", "12", 320, (0.24, 0.42), 2.5, (236, 236, 232)),
    ("hair, raccoon", "12", 1024, (0.74, 0.4), 2.5, (30, 70, 90)),
    ("fur, stripes", "12", 320, (0.79, 0.45), 2, (24, 90, 60)),
    ("straps, leaves", "1.5", 320, (0.35, 0.3), 1, (240, 236, 228)),
    ("holes, stripes", "1.5", 320, (0.62, 0.4), 1.2, (20, 60, 160)),
)

# Sample photo, the crop's middle, its pixels for one of the tile's, the ground.
REAL = (
    ("raccoon.jpg", (0.9, 0.1), 1, (235, 90, 160)),
    ("cat.jpg", (0.3, 0.75), 0.8, (30, 160, 90)),
    ("photographer.jpg", (0.42, 0.28), 0.8, (240, 200, 60)),
)


def network(arguments, photo):
    """The real network's map."""
    square = numpy.asarray(Image.fromarray(photo).resize((320, 320), Image.Resampling.LANCZOS))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "seen.rgb"
        square.tofile(path)
        subprocess.run([arguments.network, "--on-request"], input=f"{path}\n", text=True, check=True, capture_output=True)
        map_ = numpy.fromfile(path.with_suffix(".map"), "float32").reshape(320, 320)
    return (map_ - map_.min()) / (map_.max() - map_.min())


def tiles(bench, photo, map_, middle, factor, ground):
    """The crop in each way."""
    height, width = photo.shape[:2]
    reach = round(TILE * factor / 2)
    x = min(max(round(middle[0] * width), reach), width - reach)
    y = min(max(round(middle[1] * height), reach), height - reach)
    part = numpy.s_[y - reach : y + reach, x - reach : x + reach]
    cut = {mode: bench.cut(photo, map_, mode)[0] for mode in measure.MODES}
    alpha = cut["decontaminate"][..., 3]
    cut["pymatting"] = numpy.dstack([measure.foreground(photo, alpha)[0], alpha])
    for way in WAYS:
        if way == "photo":
            shown = photo[part]
        else:
            pixels = cut[way][part].astype("float32")
            there = pixels[..., 3:] / 255
            shown = numpy.uint8(there * pixels[..., :3] + (1 - there) * numpy.array(ground) + 0.5)
        yield Image.fromarray(shown).resize((TILE, TILE), Image.Resampling.LANCZOS)


def draw(arguments):
    bench = measure.Bench(arguments.bench)
    rows = []
    for name, size, side, *where in DRAWN:
        scene = scenes.made(name, measure.SIZES[size])
        rows.append((f"{name}, {size} MP, map of {side}", tiles(bench, scene.photo, scenes.map_of(scene.alpha, side), *where)))
    for name, *where in REAL:
        photo = numpy.asarray(Image.open(scenes.SAMPLES / name).convert("RGB"))
        rows.append((f"{name}, U2-NetP's map", tiles(bench, photo, network(arguments, photo), *where)))
    strip = Image.new("RGB", (len(WAYS) * (TILE + GAP) + GAP, len(rows) * (TILE + HEAD + GAP) + GAP), (250, 250, 250))
    pen = ImageDraw.Draw(strip)
    for row, (title, shown) in enumerate(rows):
        top = GAP + row * (TILE + HEAD + GAP)
        for column, (way, tile) in enumerate(zip(WAYS, shown)):
            left = GAP + column * (TILE + GAP)
            pen.text((left + 2, top + 3), title if way == "photo" else f"edges={way}" if way in measure.MODES else way,
                     fill=(20, 20, 20), font_size=13)
            strip.paste(tile, (left, top + HEAD))
    strip.save(arguments.strip or OUT, quality=84, optimize=True)
    bench.close()
