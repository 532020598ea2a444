"""One picture file: looked at before it is decoded, then read as whole-number pixels."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from chainrule.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from PIL.Image import Image

#: a decoded picture of this size takes 150 MB; cameras make at most 200 million, telephones 12
MAX_PIXELS = 50_000_000
#: files that are larger are refused unread: no picture of ``MAX_PIXELS`` needs as much
MAX_FILE_BYTES = 200_000_000
FORMATS = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg")}
ENDINGS = tuple(ending for endings in FORMATS.values() for ending in endings)
#: Pillow's word for the pixels, and how many numbers each has
MODES = {"RGB": ("RGB", 3), "grey": ("L", 1)}

Mode = Literal["RGB", "grey"]
Fitting = Literal["crop", "stretch"]


def read_image(
    path: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    mode: Mode = "RGB",
    fit: Fitting = "crop",
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Read a PNG or JPEG file.

    The size that the header claims is checked before anything is decoded. Pictures are turned
    upright as their EXIF entry says.

    Args:
        path: The file.
        size: Height and width to scale to, or one number for both; None: as it is.
        mode: ``"RGB"`` or ``"grey"``; what has other colours is converted, transparency dropped.
        fit: ``"crop"``: scale the shorter side, then cut the middle out; ``"stretch"``: scale
            both sides, whatever the proportions.
        max_pixels: Refuse larger pictures.

    Shape: uint8 (3, height, width), or (1, height, width) for ``"grey"``.

    Raises:
        ArgumentError: An option is unknown or out of range.
        DataError: The file is missing, is no PNG or JPEG, is damaged, or is too large.

    Example:
        >>> import os, tempfile
        >>> from PIL import Image
        >>> name = os.path.join(tempfile.mkdtemp(), "a.png")
        >>> Image.new("RGB", (40, 20), (255, 0, 0)).save(name)
        >>> read_image(name).shape, read_image(name, size=8, mode="grey").shape
        ((3, 20, 40), (1, 8, 8))
    """
    check_options(size, mode, fit)
    path = Path(path)
    try:
        return decode(path, as_pair(size), mode, fit, max_pixels)
    except ValueError as error:  # never of the arguments: those were checked
        raise DataError(
            f"{path} can not be read as a picture",
            expected=f"an intact PNG or JPEG file of at most {max_pixels:,} pixels",
            got=str(error),
        ) from None


def check_options(size: Any, mode: Any, fit: Any) -> None:
    """Refuse options that ``read_image`` does not know.

    Raises:
        ArgumentError: One is unknown or out of range.
    """
    pair = as_pair(size)
    whole = pair is None or (len(pair) == 2 and all(isinstance(n, int) and n >= 1 for n in pair))
    if not whole:
        raise ArgumentError(
            "size is out of range",
            expected="a number of pixels ≥ 1, or (height, width)",
            got=repr(size),
        )
    for name, value, known in (("mode", mode, tuple(MODES)), ("fit", fit, ("crop", "stretch"))):
        if value not in known:
            raise ArgumentError(
                f"there is no {name} {value!r}",
                expected=" or ".join(map(repr, known)),
                got=repr(value),
            )


def as_pair(size: Any) -> tuple[int, int] | None:
    """Height and width from one number or two."""
    if size is None:
        return None
    return tuple(size) if isinstance(size, tuple | list) else (size, size)


def decode(
    path: Path, size: tuple[int, int] | None, mode: Mode, fit: Fitting, max_pixels: int
) -> np.ndarray:
    """Do what ``read_image`` describes, with options that were checked.

    Raises:
        ValueError: Whatever is wrong with the file, in words.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            # the size is checked right here, and metadata that is odd harms no pixel
            warnings.simplefilter("ignore")
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ValueError(f"{path.stat().st_size:,} bytes, too many for a picture")
            with Image.open(path, formats=tuple(FORMATS)) as picture:
                if picture.width * picture.height > max_pixels:
                    raise ValueError(
                        f"{picture.width} × {picture.height} pixels, more than {max_pixels:,}"
                    )
                if size is not None:  # JPEG can leave out detail that scaling would drop
                    picture.draft(None, (2 * size[1], 2 * size[0]))
                upright = ImageOps.exif_transpose(picture)
                return _as_array(_scaled(_converted(upright, mode), size, fit))
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from None
    except ValueError:
        raise
    except Exception as error:  # hostile files make Pillow raise all kinds
        raise ValueError(str(error) or type(error).__name__) from None


def _converted(picture: Image, mode: Mode) -> Image:
    from PIL import Image

    wanted, _ = MODES[mode]
    if picture.mode.startswith("I"):  # 16 bits: the high eight; a plain conversion would clip
        levels = np.asarray(picture)
        picture = Image.fromarray((levels.astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    elif picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture if picture.mode == wanted else picture.convert(wanted)


def _scaled(picture: Image, size: tuple[int, int] | None, fit: Fitting) -> Image:
    from PIL import Image

    if size is None or picture.size == size[::-1]:
        return picture
    height, width = size
    box = (0.0, 0.0, float(picture.width), float(picture.height))
    if fit == "crop":
        # the largest part in the middle that has the wanted proportions
        scale = min(picture.width / width, picture.height / height)
        left, top = (picture.width - scale * width) / 2, (picture.height - scale * height) / 2
        box = (left, top, left + scale * width, top + scale * height)
    return picture.resize((width, height), Image.Resampling.BICUBIC, box=box)


def _as_array(picture: Image) -> np.ndarray:
    pixels = np.asarray(picture, dtype=np.uint8)
    if pixels.ndim == 2:
        return pixels[None]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
