#!/usr/bin/env python3
"""Make the photos beside this script: good ones of every kind, and bad ones.

    python tests/data/make.py

Deterministic for one version of Pillow. Needs: numpy, pillow. README.md says what each
file is for.
"""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent
CAT = Image.open(HERE.parents[1] / "static/samples/cat.jpg").convert("RGB")
LANCZOS = Image.Resampling.LANCZOS
ORIENTATION = 0x0112

# What turns an upright photo into the stored one, by EXIF orientation.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def write(name, data):
    (HERE / name).write_bytes(data)


def encode(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def jpeg(image, **options):
    return encode(image, "JPEG", **{"quality": 85, "optimize": True, **options})


def png(image, **options):
    return encode(image, "PNG", optimize=True, **options)


def small_cat(width=300, height=200):
    return CAT.crop((0, 0, 450, 300)).resize((width, height), LANCZOS)


def turned(upright, orientation, **options):
    """A JPEG stored turned, with the EXIF orientation that turns it upright again."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    how = STORED[orientation]
    stored = upright if how is None else upright.transpose(how)
    data = jpeg(stored, exif=exif.tobytes(), **options)
    assert ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size == upright.size
    return data


def quadrants():
    """64×48: red, green / blue, yellow. No turn or flip leaves it as it is."""
    image = Image.new("RGB", (64, 48))
    colours = [(220, 30, 30), (30, 180, 30), (30, 30, 220), (230, 220, 30)]
    for n, colour in enumerate(colours):
        image.paste(colour, (n % 2 * 32, n // 2 * 24, n % 2 * 32 + 32, n // 2 * 24 + 24))
    return image


def png_chunks(width, height, depth, colour_type, idat):
    """A PNG by hand, for what Pillow can't write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", idat) + chunk(b"IEND", b"")


def png16(pixels):
    """16-bit PNG of an array [H, W, 1 or 3]."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png_chunks(width, height, 16, {1: 0, 3: 2}[channels], zlib.compress(rows, 9))


def gradient16(channels):
    """60×40 whose low bytes matter: a ramp to the right, by row and channel."""
    y, x = np.mgrid[0:40, 0:60]
    planes = [x * 1092 + (y * 17 + c * 5000) for c in range(channels)]
    return np.stack(planes, -1).clip(0, 65535).astype(np.uint16)


def bomb(side=30000):
    """A valid 1-bit PNG of 900 megapixels in about 110 kB."""
    deflate = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    idat = b"".join(deflate.compress(row * 1000) for _ in range(side // 1000)) + deflate.flush()
    return png_chunks(side, side, 1, 0, idat)


# --- Display P3 -----------------------------------------------------------------------

# Primaries adapted to D50 and the curve of sRGB, as Apple's profile has them.
P3_D50 = np.array(
    [[0.515102, 0.291965, 0.157153], [0.241182, 0.692236, 0.066582], [-0.001050, 0.041882, 0.784378]]
)
SRGB_D50 = np.array(
    [[0.436066, 0.385147, 0.143066], [0.222488, 0.716873, 0.060608], [0.013916, 0.097076, 0.714096]]
)
D50 = (0.964203, 1.0, 0.824905)


def p3_profile():
    """A minimal ICC v4 display profile: matrix and parametric curve."""

    def s15f16(*values):
        return b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    def text(value):
        utf16 = value.encode("utf-16-be")
        return b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, len(utf16), 28) + utf16

    def xyz(values):
        return b"XYZ \0\0\0\0" + s15f16(*values)

    curve = b"para\0\0\0\0\0\3\0\0" + s15f16(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    tags = {
        b"desc": text("Wide gamut test (P3 primaries)"),
        b"cprt": text("CC0"),
        b"wtpt": xyz(D50),
        b"rXYZ": xyz(P3_D50[:, 0]),
        b"gXYZ": xyz(P3_D50[:, 1]),
        b"bXYZ": xyz(P3_D50[:, 2]),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(
        ">I4sI4s4s4s6H4s4sI4s4sQI", start + len(body), b"\0" * 4, 0x04000000, b"mntr", b"RGB ",
        b"XYZ ", 2026, 1, 1, 0, 0, 0, b"acsp", b"\0" * 4, 0, b"\0" * 4, b"\0" * 4, 0, 0,
    ) + s15f16(*D50)  # fmt: skip
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def p3_to_srgb(rgb):
    """8-bit Display P3 to 8-bit sRGB, colours out of gamut clipped by channel."""
    v = np.array(rgb) / 255
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.linalg.inv(SRGB_D50) @ P3_D50 @ linear, 0, 1)
    v = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return [int(c) for c in np.rint(v * 255)]


def p3():
    """Solid patches of 32×32 in a row, and what they are in sRGB."""
    colours = [
        (255, 255, 255), (128, 128, 128), (234, 51, 35), (117, 251, 76),
        (200, 100, 60), (60, 120, 200), (90, 160, 90), (255, 0, 0),
    ]  # fmt: skip
    image = Image.new("RGB", (32 * len(colours), 32))
    for n, colour in enumerate(colours):
        image.paste(colour, (n * 32, 0, n * 32 + 32, 32))
    data = jpeg(image, quality=98, subsampling=0, icc_profile=p3_profile())
    decoded = Image.open(io.BytesIO(data)).convert("RGB")
    patches = []
    for n in range(len(colours)):
        x, y = n * 32 + 16, 16
        stored = decoded.getpixel((x, y))
        patches.append({"x": x, "y": y, "p3": list(stored), "srgb": p3_to_srgb(stored)})
    note = "the pixel at x, y is p3 as stored and srgb once converted; a few levels off are rounding"
    return data, json.dumps({"note": note, "patches": patches}, indent=1) + "\n"


# --------------------------------------------------------------------------------------


def good():
    cat = small_cat()
    tiny = small_cat(150, 100)
    mask = Image.radial_gradient("L").resize(tiny.size).point(lambda v: 255 - v)
    with_alpha = tiny.copy()
    with_alpha.putalpha(mask)

    big = CAT.crop((25, 0, 425, 300)).resize((1448, 1086), LANCZOS)
    write("cat.jpg", jpeg(big))
    write("cat_upright.jpg", jpeg(cat, quality=95, subsampling=0))
    write("cat_exif6.jpg", turned(cat, 6, quality=95, subsampling=0))
    for orientation in STORED:
        write(f"orient_{orientation}.jpg", turned(quadrants(), orientation, quality=95, subsampling=0))
    write("grey.jpg", jpeg(cat.convert("L")))
    write("cmyk.jpg", jpeg(tiny.convert("CMYK")))
    write("rgba.png", png(with_alpha))
    palette = tiny.quantize(64, dither=Image.Dither.NONE)
    write("palette.png", png(palette, transparency=0))
    write("rgb16.png", png16(gradient16(3)))
    write("grey16.png", png16(gradient16(1)))
    write("cat.webp", encode(cat, "WEBP", quality=80, method=6))
    write("lossless_alpha.webp", encode(with_alpha, "WEBP", lossless=True, exact=True, method=6))
    frames = [Image.new("RGB", tiny.size, c) for c in ((200, 40, 40), (40, 40, 200))]
    write(
        "animated.webp",
        encode(tiny, "WEBP", save_all=True, append_images=frames, duration=100, quality=80, method=6),
    )
    photo, values = p3()
    write("p3.jpg", photo)
    write("p3.json", values.encode())
    write("1x1.png", png(Image.new("RGB", (1, 1), (200, 40, 40))))
    write("1x5000.png", png(Image.linear_gradient("L").resize((1, 5000)).convert("RGB")))


def bad():
    write("empty", b"")
    write("text.jpg", b"This is no photo, whatever its name says.\n")
    for name, whole in (
        ("truncated.jpg", "cat_upright.jpg"),
        ("truncated.png", "rgba.png"),
        ("truncated.webp", "cat.webp"),
    ):
        data = (HERE / whole).read_bytes()
        write(name, data[: len(data) // 2])
    write("bomb.png", bomb())
    write("gif.gif", encode(small_cat(60, 40).quantize(32), "GIF"))


if __name__ == "__main__":
    good()
    bad()
