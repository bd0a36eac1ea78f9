"""Photos whose transparency and colours are known: things with difficult edges, before busy grounds.

Everything is drawn by formula but for the sample photos (CC0 and public domain, see static/samples). Sizes are
shares of the photo, so that a strand is as wide a part of a small photo as of a large one.
"""

import dataclasses
import functools
import io
import math
import pathlib

import numpy
from PIL import Image, ImageDraw, ImageFilter

SAMPLES = pathlib.Path(__file__).parents[2] / "static" / "samples"

# A sensor's grain, levels of 255.
GRAIN = 2.5

# Pixels of the photo on the shorter side that the shapes' widths are told for.
SIDE = 1086


@dataclasses.dataclass
class Scene:
    name: str
    photo: numpy.ndarray  # RGB8, as a JPEG decoder gives it
    alpha: numpy.ndarray  # f32, 0 to 1
    front: numpy.ndarray  # RGB8, the subject's own colours everywhere


class Canvas:
    """Draws transparency at a multiple of the photo's size; widths and places are shares of it."""

    def __init__(self, size, seed):
        self.size = size
        self.unit = min(size) / SIDE
        self.times = 4 if size[0] * size[1] < 4e6 else 2
        self.image = Image.new("L", [side * self.times for side in size])
        self.draw = ImageDraw.Draw(self.image)
        self.random = numpy.random.default_rng(seed)

    def at(self, x, y):
        return x * self.image.width, y * self.image.height

    def ellipse(self, x, y, across, down, level=255):
        (left, top), (right, bottom) = self.at(x - across, y - down), self.at(x + across, y + down)
        self.draw.ellipse([left, top, right, bottom], fill=level)

    def line(self, points, width, level=255):
        """`width` in pixels of a photo of the size that widths are told for."""
        wide = max(1, round(width * self.unit * self.times))
        self.draw.line([self.at(*point) for point in points], fill=level, width=wide, joint="curve")

    def strand(self, x, y, angle, length, curl, width, level):
        """A line that goes on for a share of the photo's height and bends on its way."""
        shape = self.image.height / self.image.width
        points, steps = [(x, y)], 16
        for _ in range(steps):
            x += math.cos(angle) * length / steps * shape
            y += math.sin(angle) * length / steps
            angle += curl / steps
            points.append((x, y))
        self.line(points, width, level)

    def done(self, blur=0.0):
        image = self.image.reduce(self.times)
        if blur:
            image = image.filter(ImageFilter.GaussianBlur(blur * self.unit))
        return numpy.asarray(image, "float32") / 255


def hair(size, seed):
    """A head and shoulders with loose hair."""
    canvas = Canvas(size, seed)
    chance = canvas.random
    canvas.ellipse(0.5, 1.05, 0.42, 0.3)
    canvas.ellipse(0.5, 0.5, 0.2, 0.2)
    for _ in range(900):
        around = chance.uniform(0, 2 * math.pi)
        x, y = 0.5 + 0.19 * math.cos(around), 0.5 + 0.19 * math.sin(around)
        canvas.strand(
            x, y, around + chance.normal(0, 0.5), chance.uniform(0.03, 0.2), chance.normal(0, 1.6),
            chance.uniform(0.7, 2.2), int(chance.uniform(110, 255)),
        )
    return canvas.done()


def fur(size, seed):
    """Short soft hair all around."""
    canvas = Canvas(size, seed)
    chance = canvas.random
    canvas.ellipse(0.5, 0.55, 0.29, 0.29)
    for _ in range(9000):
        around = chance.uniform(0, 2 * math.pi)
        x, y = 0.5 + 0.285 * math.cos(around), 0.55 + 0.285 * math.sin(around)
        canvas.strand(
            x, y, around + chance.normal(0, 0.6), chance.uniform(0.008, 0.035), chance.normal(0, 0.8),
            chance.uniform(0.7, 1.6), int(chance.uniform(140, 255)),
        )
    return canvas.done(0.6)


def straps(size, seed):
    """A bag, its handles, and threads as thin as a pixel or two."""
    canvas = Canvas(size, seed)
    left, top = canvas.at(0.22, 0.55)
    right, bottom = canvas.at(0.78, 0.93)
    canvas.draw.rounded_rectangle([left, top, right, bottom], radius=canvas.image.width * 0.05, fill=255)
    for inner, width in ((0.0, 12), (0.06, 7), (0.11, 4)):
        turns = numpy.linspace(math.pi, 2 * math.pi, 60)
        canvas.line([(0.5 + (0.22 - inner) * math.cos(t), 0.58 + (0.48 - inner) * math.sin(t)) for t in turns], width)
    for n in range(9):
        x = 0.28 + 0.055 * n
        canvas.line([(x, 0.6), (x + 0.05 * math.sin(n), 0.12)], 1.2 + 0.25 * n)
    return canvas.done()


def holes(size, seed):
    """A sheet with holes of many sizes, sharp on the left, out of focus on the right."""
    canvas = Canvas(size, seed)
    left, top = canvas.at(0.12, 0.12)
    right, bottom = canvas.at(0.88, 0.88)
    canvas.draw.rounded_rectangle([left, top, right, bottom], radius=canvas.image.width * 0.06, fill=255)
    for row in range(9):
        for column in range(8):
            hole = (0.004 + 0.0034 * ((row * 5 + column * 3) % 8)) * size[0] / size[1]
            canvas.ellipse(0.19 + 0.088 * column, 0.19 + 0.078 * row, hole * size[1] / size[0], hole, 0)
    sharp = canvas.done()
    soft = numpy.asarray(
        Image.fromarray(numpy.uint8(sharp * 255)).filter(ImageFilter.GaussianBlur(5 * canvas.unit)), "float32"
    ) / 255
    middle = size[0] // 2
    return numpy.concatenate([sharp[:, :middle], soft[:, middle:]], 1)


def noise(size, cell, seed):
    """Soft noise of -1 to 1, one octave: a value each `cell` pixels."""
    small = [max(2, math.ceil(side / cell)) for side in size]
    values = numpy.random.default_rng(seed).uniform(-1, 1, (small[1], small[0])).astype("float32")
    return numpy.asarray(Image.fromarray(values).resize(size, Image.Resampling.BICUBIC))


def tinted(size, base, seed, strength, cells):
    """A colour with noise of several sizes, stretched by (across, down)."""
    unit = min(size) / SIDE
    out = numpy.empty((size[1], size[0], 3), "float32")
    out[:] = base
    for n, (cell, aspect) in enumerate(cells):
        squeezed = (size[0], max(2, round(size[1] / aspect)))
        layer = Image.fromarray(noise(squeezed, cell * unit, seed + n)).resize(size, Image.Resampling.BILINEAR)
        out += strength * numpy.asarray(layer)[..., None] * numpy.array([1, 0.9, 0.75], "float32")
    return numpy.uint8(out.clip(0, 255))


def stripes(size, seed):
    """Three colours of cloth, aslant, with creases."""
    unit = min(size) / SIDE
    y, x = numpy.mgrid[0 : size[1], 0 : size[0]].astype("float32")
    at = (x + 0.6 * y) / unit + 14 * noise(size, 150 * unit, seed)
    which = numpy.floor(at / 17).astype("int32") % 3
    colours = numpy.array([[206, 60, 52], [240, 232, 214], [38, 70, 120]], "float32")
    return numpy.uint8((colours[which] + 14 * noise(size, 3 * unit, seed + 1)[..., None]).clip(0, 255))


def foliage(size, seed):
    """Leaves over leaves."""
    chance = numpy.random.default_rng(seed)
    unit = min(size) / SIDE
    image = Image.fromarray(tinted(size, (42, 62, 30), seed, 26, [(60, 1), (9, 1), (3, 1)]))
    draw = ImageDraw.Draw(image)
    for _ in range(2600):
        x, y = chance.uniform(0, size[0]), chance.uniform(0, size[1])
        long, wide, turn = chance.uniform(8, 46) * unit, chance.uniform(2, 12) * unit, chance.uniform(0, math.pi)
        ahead, aside = numpy.array([math.cos(turn), math.sin(turn)]), numpy.array([-math.sin(turn), math.cos(turn)])
        turns = numpy.linspace(0, 2 * math.pi, 14)
        points = [tuple((x, y) + ahead * long * math.cos(t) + aside * wide * math.sin(t)) for t in turns]
        green = chance.uniform(50, 210)
        draw.polygon(points, fill=(int(green * chance.uniform(0.4, 0.95)), int(green), int(green * chance.uniform(0.1, 0.5))))
    return numpy.asarray(image)


def sample(size, name, _seed=0):
    """A sample photo, its mirrored copies side by side where it is small, enlarged at most three times."""
    image = Image.open(SAMPLES / name).convert("RGB")
    cover = max(size[0] / image.width, size[1] / image.height)
    times = min(cover, 3)
    image = image.resize((round(image.width * times), round(image.height * times)), Image.Resampling.LANCZOS)
    pixels = numpy.asarray(image)
    for axis in (0, 1):
        wanted = size[1 - axis]
        parts = [pixels if n % 2 == 0 else numpy.flip(pixels, axis) for n in range(math.ceil(wanted / pixels.shape[axis]))]
        pixels = numpy.concatenate(parts, axis)
        pixels = pixels[:wanted] if axis == 0 else pixels[:, :wanted]
    return pixels


def brown(size, seed):
    return tinted(size, (58, 38, 28), seed, 16, [(2, 20), (40, 4)])


def blond(size, seed):
    return tinted(size, (206, 170, 116), seed, 22, [(2, 20), (40, 4)])


def leather(size, seed):
    return tinted(size, (150, 44, 60), seed, 14, [(4, 1), (90, 1)])


def wicker(size, seed):
    unit = min(size) / SIDE
    y, x = numpy.mgrid[0 : size[1], 0 : size[0]].astype("float32")
    weave = numpy.sin(x / unit / 5) * numpy.sin(y / unit / 3.5)
    base = tinted(size, (186, 142, 88), seed, 12, [(3, 1), (70, 1)]).astype("float32")
    return numpy.uint8((base + 26 * weave[..., None]).clip(0, 255))


def named(name):
    return functools.partial(sample, name=name)


# What, its colours, what is behind it.
SCENES = {
    "hair, leaves": (hair, brown, foliage),
    "hair, raccoon": (hair, blond, named("raccoon.jpg")),
    "fur, stripes": (fur, named("cat.jpg"), stripes),
    "fur, coffee": (fur, blond, named("coffee.jpg")),
    "straps, leaves": (straps, leather, foliage),
    "straps, raccoon": (straps, wicker, named("raccoon.jpg")),
    "holes, stripes": (holes, wicker, stripes),
    "holes, camera": (holes, leather, named("photographer.jpg")),
}


def made(name, size):
    """A scene by its name, `size` as width and height."""
    shape, colours, ground = SCENES[name]
    seed = sum(name.encode())
    alpha = shape(size, seed)
    front, back = (numpy.asarray(make(size, seed=seed + 1) if not isinstance(make, functools.partial) else make(size))
                   for make in (colours, ground))
    mixed = alpha[..., None] * front + (1 - alpha[..., None]) * back
    mixed += numpy.random.default_rng(seed).normal(0, GRAIN, (size[1], size[0], 1)).astype("float32")
    file = io.BytesIO()
    Image.fromarray(numpy.uint8(mixed.clip(0, 255) + 0.5)).save(file, "JPEG", quality=92, subsampling="4:2:0")
    return Scene(name, numpy.asarray(Image.open(file).convert("RGB")), alpha, front)


def map_of(alpha, side, seed=7):
    """What a network says of such a transparency: `side` values a side, f32.

    It sees its square only, its edges are soft and waver by a part of a place, thin things come out fainter or not at
    all, here and there it is in doubt, what is sure is nearly 0 and 1, and there is some noise where it is not sure.
    """
    square = numpy.asarray(Image.fromarray(alpha).resize((side, side), Image.Resampling.BOX))
    waver = [1.2 * noise((side, side), 9, seed + n) * 0.5 for n in range(2)]
    y, x = numpy.mgrid[0:side, 0:side].astype("float32")
    y, x = (y + waver[0]).clip(0, side - 1.001), (x + waver[1]).clip(0, side - 1.001)
    top, left = y.astype(int), x.astype(int)
    down, across = y - top, x - left
    moved = (
        square[top, left] * (1 - down) * (1 - across) + square[top, left + 1] * (1 - down) * across
        + square[top + 1, left] * down * (1 - across) + square[top + 1, left + 1] * down * across
    )
    soft = blurred(moved, SOFT)
    chance = numpy.random.default_rng(seed + 5)
    rim = numpy.argwhere((square > 0.2) & (square < 0.8))
    for down, across in rim[chance.integers(0, len(rim), DOUBTS)]:
        y, x = numpy.mgrid[0:side, 0:side].astype("float32") * (320 / side)
        far = (y - down * 320 / side) ** 2 + (x - across * 320 / side) ** 2
        soft += 0.4 * (0.5 - soft) * numpy.exp(-far / (2 * 14**2))
    sure = 1 / (1 + numpy.exp(-7.5 * (soft - 0.5)))
    ends = 1 / (1 + numpy.exp(3.75)), 1 / (1 + numpy.exp(-3.75))
    sure = (sure - ends[0]) / (ends[1] - ends[0])
    unsure = 4 * sure * (1 - sure)
    grain = numpy.random.default_rng(seed + 9).normal(0, 1, (side, side)).astype("float32")
    return numpy.float32((sure + unsure * 0.05 * blurred(grain, 0.7) * 2).clip(0, 1))


# Of a network's edge, in places of its map: the standard deviation. U²-NetP's sharp edges go from 10 to 90 % in 2 to
# 4 places of 320, these in 2.5 to 3.
SOFT = 1.2

# How many places of its edge it is in doubt about.
DOUBTS = 3


def blurred(values, deviation):
    reach = math.ceil(3 * deviation)
    at = numpy.arange(-reach, reach + 1)
    weights = numpy.exp(-0.5 * (at / deviation) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        padded = numpy.pad(values, [(reach, reach) if n == axis else (0, 0) for n in range(2)], "edge")
        length = values.shape[axis]
        values = sum(
            weight * (padded[n : n + length] if axis == 0 else padded[:, n : n + length])
            for n, weight in enumerate(weights)
        )
    return numpy.float32(values)
