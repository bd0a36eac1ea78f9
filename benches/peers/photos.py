"""Photos as phones make them."""

import io
import itertools

import numpy
import skimage.data
from PIL import Image

# Levels of 255; a phone's 12 megapixels are then a file of 3 MB.
GRAIN = 5

_COUNTER = itertools.count()


def portrait(width, height, **encoding):
    """A file of this size, a JPEG unless `encoding` says otherwise: NASA's portrait of Eileen Collins (public
    domain, 512×512, as scikit-image ships it), scaled, with the grain that a sensor adds and scaling takes away."""
    square = Image.fromarray(skimage.data.astronaut())
    side = square.height
    across = side * width // height
    left = (side - across) // 2
    cut = square.crop((left, 0, left + across, side))
    scaled = numpy.asarray(cut.resize((width, height), Image.Resampling.LANCZOS)).astype("float32")
    grain = numpy.random.default_rng(1).normal(0, GRAIN, (height, width, 1)).astype("float32")
    pixels = (scaled + grain).clip(0, 255).astype("uint8")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **(encoding or {"format": "JPEG", "quality": 90, "subsampling": "4:2:0"}))
    return file.getvalue()


def fresh(jpeg):
    """The same photo as a file that nobody has seen: what comes after the end marker is no picture."""
    return jpeg + next(_COUNTER).to_bytes(8, "little")
