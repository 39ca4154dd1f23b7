"""What a request for images may say, and what it comes to in tokens."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, cast

from headworks.simulator import problems
from headworks.simulator.asked import Asked
from headworks.simulator.fields import (
    check_text,
    flag,
    is_list,
    is_map,
    needed,
    one_of,
    whole_number,
)
from headworks.simulator.pictures import Format, size_of
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider

PAGE = re.compile(r"/_simulator/images/(\d{2,4})x(\d{2,4})-([0-9a-f]{32})\.png")

_BOTH = frozenset(
    {
        *("prompt", "model", "n", "size", "quality", "background", "output_format", "user"),
        *("output_compression", "partial_images", "stream", "response_format", "complexity"),
        "safety_identifier",
    }
)
GENERATION = _BOTH | {"moderation", "style", "prompt_rewriter"}
EDIT = _BOTH | {"image", "images", "mask", "input_fidelity", "markup"}
VARIATION = frozenset({"image", "model", "n", "size", "response_format", "user"})

_USUAL = "gpt-image-2"
_FIXED = re.compile(r"gpt-image-1(?:[.-]|$)|chatgpt-image")
_FINE = re.compile(r"gpt-image-(?:2\.[5-9]|[3-9])")
_SIZES = ("1024x1024", "1024x1536", "1536x1024", "auto")
_OLD_SIZES = {
    "dall-e-2": ("256x256", "512x512", "1024x1024"),
    "dall-e-3": ("1024x1024", "1792x1024", "1024x1792"),
}
_FOREIGN = {"dall-e-2": "quality"}
_QUALITIES = ("low", "medium", "high", "auto")
_OLD_QUALITIES = ("standard", "hd", "auto")
_TOKENS = {"low": 272, "medium": 1_056, "high": 4_160, "xhigh": 8_320, "max": 16_640}
"""Output tokens of a square image of 1,024 pixels a side; the guide tells the first three."""

_WIDE = {"low": 400, "medium": 1_568, "high": 6_208}
_STEP, _LONGEST, _MOST_PIXELS, _RATIO = 16, 3_840, 3_840 * 2_160, 3
_MOST, _MOST_PARTIAL, _MOST_IMAGES = 10, 3, 16
_LONGEST_PROMPT = 32_000
_LARGEST, _LARGEST_OLD = 50_000_000, 4_000_000
_BASE, _TILE = 65, 129
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be drawn.

    Attributes:
        key: Decides every picture.
        is_metered: Whether the model counts tokens and answers with the image itself.
        is_linked: Whether it answers with an address.
        tokens: Output tokens of one image.
    """

    model: str
    prompt: str
    key: str
    count: int
    width: int
    height: int
    form: Format
    quality: str
    background: str
    partial: int
    streams: bool
    is_metered: bool
    is_linked: bool

    @property
    def tokens(self) -> int:
        """Output tokens of one image, 0 for a model that does not count them."""
        if not self.is_metered:
            return 0
        if (self.width, self.height) == (1536, 1024) and self.quality in _WIDE:
            return _WIDE[self.quality]
        return ceil(_TOKENS[self.quality] * self.width * self.height / 1024**2)


def plan(fields: Mapping[str, Any]) -> Plan:
    """Return what a request wants drawn, or raise its refusal."""
    model = fields.get("model") or _USUAL
    check_text("model", model)
    check_text("prompt", needed(fields, "prompt"), _LONGEST_PROMPT)
    is_metered = not model.startswith("dall-e")
    _refuse_foreign(fields, "response_format" if is_metered else _FOREIGN.get(model, ""))
    size = _size(fields, model)
    width, height = (1024, 1024) if size == "auto" else map(int, size.split("x"))
    quality = one_of(fields, "quality", _qualities(model)) or "auto"
    streams, partial = bool(flag(fields, "stream")), 0
    if streams:
        partial = whole_number(fields, "partial_images", _MOST_PARTIAL, least=0) or 0
    prompt: str = fields["prompt"]
    return Plan(
        model=model,
        prompt=prompt,
        key=f"{model}\0{prompt}",
        count=whole_number(fields, "n", 1 if model == "dall-e-3" else _MOST) or 1,
        width=width,
        height=height,
        form=_form(fields),
        quality="medium" if quality == "auto" else quality,
        background=_background(fields),
        partial=partial,
        streams=streams and is_metered,
        is_metered=is_metered,
        is_linked=one_of(fields, "response_format", ("url", "b64_json")) != "b64_json",
    )


def _refuse_foreign(fields: Mapping[str, Any], name: str) -> None:
    """Refuse what other models know and this one does not."""
    if name in fields:
        message = f"Unknown parameter: '{name}'."
        raise Refusal(400, message, param=name, code="unknown_parameter")


def images(provider: Provider, asked: Asked) -> Sequence[bytes]:
    """Return the images of a request: in its form, or kept as files that its JSON names."""
    found = [upload.content for upload in asked.uploads.get("image", ())]
    listed = asked.fields.get("images")
    for place, item in enumerate(listed if is_list(listed) else []):
        name = item.get("file_id") if is_map(item) else None
        if not isinstance(name, str):
            raise problems.missing(f"images[{place}].file_id")
        found.append(provider.storage.find(name, asked.credential).content)
    if not found:
        raise problems.missing("image")
    if len(found) > _MOST_IMAGES:
        raise problems.wrong_value("image", f"at most {_MOST_IMAGES} images", len(found))
    for place, content in enumerate(found, 1):
        if not content.startswith(_STARTS) or len(content) > _LARGEST:
            raise _unreadable(place)
    return found


def check_mask(asked: Asked, given: Sequence[bytes]) -> None:
    """Refuse a mask that does not lie over the first image."""
    mask = asked.upload("mask")
    if mask is None:
        return
    size, wanted = size_of(mask.content), size_of(given[0])
    if size is None or (wanted is not None and size != wanted):
        message = "Invalid mask image format - mask size does not match image size."
        raise Refusal(400, message, param="mask", code="invalid_image_format")


def check_square(image: bytes) -> None:
    """Refuse what is no square PNG of less than 4 MB."""
    size = size_of(image)
    if size is None or size[0] != size[1] or len(image) >= _LARGEST_OLD:
        message = "Uploaded image must be a PNG, square and less than 4 MB."
        raise Refusal(400, message, param="image", code="invalid_image_format")


def image_tokens(image: bytes) -> int:
    """Return the input tokens of an image: by tiles, its shorter side being 512 pixels."""
    size = size_of(image) or (1, 1)
    if min(size) < 1:
        return _BASE + _TILE
    return _BASE + _TILE * ceil(max(size) / min(size))


def digest(parts: Sequence[bytes]) -> str:
    """Return 32 hexadecimal digits that no other parts have."""
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        made.update(len(part).to_bytes(8) + part)
    return made.hexdigest()


def _size(fields: Mapping[str, Any], model: str) -> str:
    given = fields.get("size") or "auto"
    check_text("size", given)
    if model in _OLD_SIZES:
        return one_of(fields, "size", _OLD_SIZES[model]) or "1024x1024"
    if given in _SIZES or not re.fullmatch(r"\d{2,4}x\d{2,4}", given) or _FIXED.match(model):
        return one_of({"size": given}, "size", _SIZES) or "auto"
    width, height = map(int, given.split("x"))
    sides = sorted((width, height))
    if width % _STEP or height % _STEP or sides[1] > _LONGEST or width * height > _MOST_PIXELS:
        wanted = f"sides divisible by {_STEP}, up to 3840x2160 pixels"
        raise problems.wrong_value("size", wanted, f"'{given}'")
    if sides[1] > _RATIO * sides[0]:
        raise problems.wrong_value("size", "an aspect ratio from 1:3 to 3:1", f"'{given}'")
    return str(given)


def _qualities(model: str) -> Sequence[str]:
    if model in _OLD_SIZES:
        return _OLD_QUALITIES
    return (*_QUALITIES, "xhigh", "max") if _FINE.match(model) else _QUALITIES


def _form(fields: Mapping[str, Any]) -> Format:
    form = one_of(fields, "output_format", ("png", "webp", "jpeg", "gif", "svg")) or "png"
    if form in {"gif", "svg"}:
        message = f"Your organization does not have access to output_format '{form}'."
        raise Refusal(403, message, param="output_format")
    whole_number(fields, "output_compression", 100, least=0)
    return cast("Format", form)


def _background(fields: Mapping[str, Any]) -> str:
    background = one_of(fields, "background", ("transparent", "opaque", "auto")) or "auto"
    if background == "transparent" and fields.get("output_format") == "jpeg":
        message = "Transparent background is not supported for JPEG output format."
        raise Refusal(400, message, param="background", code="invalid_value")
    return "opaque" if background == "auto" else background


def _unreadable(place: int) -> Refusal:
    message = f"Invalid image file or mode for image {place}, please check your image file."
    return Refusal(400, message, param="image", code="invalid_image_file")
