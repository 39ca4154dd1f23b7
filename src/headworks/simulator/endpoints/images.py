"""The paths under /v1/images: small valid pictures that the prompt decides."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import msgspec
from typing_extensions import override

from headworks.simulator import problems
from headworks.simulator.asked import Asked
from headworks.simulator.endpoints import images_checks as checks
from headworks.simulator.endpoints.images_checks import Plan
from headworks.simulator.endpoints.moderations import Judged, flags
from headworks.simulator.fields import check_known
from headworks.simulator.forms import typed
from headworks.simulator.pictures import Format, picture
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Reply, Step
from headworks.types import Usage

_PARTIAL = 100
"""Output tokens of each partial image, as the guide says."""

_GRAVE = frozenset({"sexual/minors", "violence/graphic"})
_TYPES: Mapping[str, type] = {
    "n": int,
    "partial_images": int,
    "output_compression": int,
    "stream": bool,
}


@dataclass(frozen=True, slots=True)
class Given:
    """What an image is made from besides its prompt: image tokens, and a digest of the images."""

    tokens: int = 0
    digest: str = ""


def generations(provider: Provider, asked: Asked) -> "ImagesReply":
    """Draw what a prompt says."""
    check_known(asked.fields, checks.GENERATION)
    return _drawn(provider, asked, asked.fields, "image_generation", Given())


def edits(provider: Provider, asked: Asked) -> "ImagesReply":
    """Draw other images anew."""
    fields = typed(asked.fields, _TYPES) if asked.uploads else asked.fields
    check_known(fields, checks.EDIT)
    images = checks.images(provider, asked)
    checks.check_mask(asked, images)
    given = Given(sum(map(checks.image_tokens, images)), checks.digest(images))
    return _drawn(provider, asked, fields, "image_edit", given)


def variations(provider: Provider, asked: Asked) -> "ImagesReply":
    """Draw an image anew, as the retired models do."""
    fields = typed(asked.fields, _TYPES)
    check_known(fields, checks.VARIATION)
    images = checks.images(provider, asked)
    checks.check_square(images[0])
    fields = {"model": "dall-e-2", **fields, "prompt": ""}
    return _drawn(provider, asked, fields, "image_edit", Given(0, checks.digest(images)))


Kind = Literal["image_generation", "image_edit"]


def _drawn(
    provider: Provider, asked: Asked, fields: Mapping[str, Any], kind: Kind, given: Given
) -> "ImagesReply":
    plan = checks.plan(fields)
    if not provider.models.is_served(plan.model):
        raise problems.unknown_model(plan.model, "images")
    marked = flags(Judged([plan.prompt]))
    if marked & _GRAVE if fields.get("moderation") == "low" else marked:
        raise _blocked(sorted(marked))
    words = provider.tokenizer.count(plan.prompt, "o200k_base")
    return ImagesReply(plan, kind, Usage(words + given.tokens), given, asked)


@final
class ImagesReply(Reply):
    """The images of one request."""

    def __init__(self, plan: Plan, kind: Kind, usage: Usage, given: Given, asked: Asked) -> None:
        self._plan, self._kind, self._given, self._asked = plan, kind, given, asked
        self.model = plan.model
        partial = plan.partial if plan.streams else 0
        output = plan.count * plan.tokens + _PARTIAL * partial if plan.is_metered else 0
        self.usage = msgspec.structs.replace(usage, output=output)

    @override
    def is_streamed(self, fields: Mapping[str, Any]) -> bool:
        """Return whether the images come as events."""
        return self._plan.streams

    @override
    def whole(self, *, usage: bool) -> bytes:
        """Return the list of images."""
        plan = self._plan
        body: dict[str, Any] = {"created": self._asked.created}
        if plan.is_metered:
            body |= self._look()
        body["data"] = [self._image(index) for index in range(plan.count)]
        if usage and plan.is_metered:
            body["usage"] = {**self._usage(), "output_tokens_details": self._output()}
        return msgspec.json.encode(body)

    @override
    def steps(self, *, usage: bool) -> Iterator[Step]:
        """Yield the partial images and then each image that is ready."""
        plan = self._plan
        for index in range(plan.partial):
            more: dict[str, Any] = {"partial_image_index": index}
            yield Step("token", self._event("partial_image", f"partial {index}", more), _PARTIAL)
        more = {"usage": self._usage()} if usage else {}
        for index in range(plan.count):
            kind: Literal["token", "done"] = "done" if index == plan.count - 1 else "token"
            yield Step(kind, self._event("completed", str(index), more), plan.tokens)

    @override
    def error(self, refusal: Refusal, sent: int) -> bytes:
        """Return an event that ends the stream as failed."""
        return b"event: error\ndata: " + msgspec.json.encode({"error": refusal.error}) + b"\n\n"

    def _image(self, index: int) -> dict[str, Any]:
        plan = self._plan
        if plan.is_metered:
            return {"b64_json": self._drawing(str(index))}
        told = {"revised_prompt": plan.prompt} if plan.model == "dall-e-3" else {}
        if plan.is_linked:
            name = checks.digest([plan.key.encode(), self._given.digest.encode(), bytes([index])])
            page = f"/_simulator/images/{plan.width}x{plan.height}-{name}.png"
            return {**told, "url": self._asked.origin + page}
        return {**told, "b64_json": self._drawing(str(index))}

    def _drawing(self, part: str) -> str:
        plan = self._plan
        seed = f"{plan.key}\0{self._given.digest}\0{part}"
        is_clear = plan.background == "transparent"
        drawn = picture(seed, plan.width, plan.height, plan.form, is_clear=is_clear)
        return base64.b64encode(drawn).decode()

    def _look(self) -> dict[str, str]:
        plan = self._plan
        return {
            "background": plan.background,
            "output_format": plan.form,
            "quality": plan.quality,
            "size": f"{plan.width}x{plan.height}",
        }

    def _event(self, what: str, part: str, more: Mapping[str, Any]) -> bytes:
        kind = f"{self._kind}.{what}"
        body = {
            "type": kind,
            "b64_json": self._drawing(part),
            "created_at": self._asked.created,
            **self._look(),
            **more,
        }
        return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(body) + b"\n\n"

    def _usage(self) -> dict[str, Any]:
        usage, images = self.usage, self._given.tokens
        return {
            "input_tokens": usage.input,
            "input_tokens_details": {"image_tokens": images, "text_tokens": usage.input - images},
            "output_tokens": usage.output,
            "total_tokens": usage.input + usage.output,
        }

    def _output(self) -> dict[str, int]:
        return {"image_tokens": self.usage.output, "text_tokens": 0}


def drawn_page(path: str) -> bytes | None:
    """Return the picture at an address that an answer named, None for any other path."""
    found = checks.PAGE.fullmatch(path)
    if found is None:
        return None
    form: Format = "png"
    return picture(found[3], int(found[1]), int(found[2]), form)


def _blocked(marked: Sequence[str]) -> Refusal:
    return Refusal(
        400,
        "Your request was rejected by the safety system. If you believe this is an error, contact "
        "us at help.openai.com and include the request ID. "
        f"safety_violations=[{', '.join(marked)}].",
        type="image_generation_user_error",
        code="moderation_blocked",
    )
