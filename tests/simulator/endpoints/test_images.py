"""Images that every reader takes."""

import base64
import json
import struct
import zlib

import httpx
import openai
import pytest
from openai.types import ImagesResponse

from headworks.simulator import SimulatedPrice, SimulatorConfig, running
from headworks.simulator.asked import Upload
from headworks.simulator.pictures import picture, size_of
from headworks.simulator.problems import Refusal
from tests.simulator.endpoints.bureau import Bureau
from tests.simulator.endpoints.shapes import shaped

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
PRICES = {
    "gpt-image-1.5": SimulatedPrice(input=8_000, output=32_000),
    "gpt-image-2": SimulatedPrice(input=8_000, output=30_000),
    "gpt-image-2.5-flare": SimulatedPrice(input=8_000, output=30_000),
}
RIVER = "A quiet river"
SQUARE = picture("square", 64, 64, "png")


@pytest.fixture
def bureau():
    return Bureau(prices=PRICES, models={"dall-e-2": None, "dall-e-3": None})


@pytest.fixture(scope="module")
def server():
    config = SimulatorConfig(prices=PRICES, models={"dall-e-2": None, "dall-e-3": None})
    with running(config) as running_simulator:
        yield running_simulator


@pytest.fixture
def client(server):
    server.reset()
    with openai.OpenAI(base_url=server.base_url, api_key="sk-simulator", max_retries=0) as client:
        yield client


def draw(bureau, **fields):
    return bureau.post(GENERATIONS, {"model": "gpt-image-2", "prompt": RIVER, **fields})


def pixels(png):
    """Return the rows of a PNG of one bit a pixel, after every check that a reader makes."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(png):
        size, kind = struct.unpack(">I4s", png[place : place + 8])
        content = png[place + 8 : place + 8 + size]
        assert zlib.crc32(kind + content) == int.from_bytes(
            png[place + 8 + size : place + 12 + size]
        )
        chunks[kind] = content
        place += 12 + size
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour, len(chunks[b"PLTE"]), chunks[b"IEND"]) == (1, 3, 6, b"")
    lines = zlib.decompress(chunks[b"IDAT"])
    stride = 1 + -(-width // 8)
    assert len(lines) == stride * height
    rows = [lines[start + 1 : start + stride] for start in range(0, len(lines), stride)]
    return rows, chunks


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (256, 256), (1024, 1536)], ids=str)
def test_a_png_is_whole(size):
    """The file has the size that it says, in every chunk and row."""
    rows, chunks = pixels(picture("river", *size, "png"))

    assert size_of(picture("river", *size, "png")) == size
    assert len(rows) == size[1]
    assert b"tRNS" not in chunks
    assert b"tRNS" in pixels(picture("river", *size, "png", is_clear=True))[1]


def test_a_jpeg_says_its_size():
    """The head of the file is that of a grey JPEG, and the scan has the bits of every block."""
    content = picture("river", 1536, 1024, "jpeg")
    frame = content.index(b"\xff\xc0")

    assert (content[:2], content[-2:]) == (b"\xff\xd8", b"\xff\xd9")
    assert struct.unpack(">HBHHB", content[frame + 2 : frame + 10]) == (11, 8, 1024, 1536, 1)
    scan = content[content.index(b"\xff\xda") + 10 : -2].replace(b"\xff\0", b"\xff")
    assert len(scan) == -(-(10 + 2 * (192 * 128 - 1)) // 8)


def test_a_webp_says_its_size():
    """The lengths of the file fit, and its head has the size."""
    content = picture("river", 1536, 1024, "webp")
    bits = int.from_bytes(content[21:25], "little")

    assert (content[:4], content[8:16]) == (b"RIFF", b"WEBPVP8L")
    assert int.from_bytes(content[4:8], "little") == len(content) - 8
    assert content[20] == 0x2F
    assert (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)) == (1536, 1024)


def test_an_answer_has_the_images_that_were_asked_for(bureau):
    """As many images as wanted, all different, of the wanted size; and what they cost."""
    answer = draw(bureau, n=3, size="1024x1536", quality="high")
    images = [base64.b64decode(item["b64_json"]) for item in answer["data"]]
    told = shaped(ImagesResponse, answer)

    assert len(set(images)) == 3
    assert {size_of(image) for image in images} == {(1024, 1536)}
    assert (told.size, told.quality, told.output_format) == ("1024x1536", "high", "png")
    assert told.background == "opaque"
    assert (told.usage.input_tokens, told.usage.output_tokens) == (3, 3 * 6_240)
    assert told.usage.input_tokens_details.text_tokens == 3
    assert told.usage.total_tokens == 3 + 3 * 6_240


def test_the_prompt_decides_the_image(bureau):
    """The same prompt has the same image, another one another."""

    def one(prompt):
        return draw(bureau, prompt=prompt)["data"]

    assert one(RIVER) == one(RIVER) != one("A mill")


@pytest.mark.parametrize(
    ("size", "quality", "tokens"),
    [
        ("1024x1024", "low", 272),
        ("auto", "medium", 1_056),
        ("1024x1024", "auto", 1_056),
        ("1024x1536", "low", 408),
        ("1536x1024", "low", 400),
        ("1536x1024", "high", 6_208),
        ("512x512", "high", 1_040),
    ],
)
def test_larger_and_better_images_cost_more(bureau, size, quality, tokens):
    """Output tokens follow the table of the real one."""
    assert draw(bureau, size=size, quality=quality)["usage"]["output_tokens"] == tokens


@pytest.mark.parametrize(
    ("form", "start"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8"), ("webp", b"RIFF")]
)
def test_the_format_is_the_one_that_was_asked_for(bureau, form, start):
    """PNG, JPEG and WebP are made."""
    answer = draw(bureau, output_format=form, output_compression=50)

    assert base64.b64decode(answer["data"][0]["b64_json"]).startswith(start)
    assert answer["output_format"] == form


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": None}, "Missing required parameter: 'prompt'"),
        ({"prompt": "a" * 32_001}, "string too long"),
        ({"model": "nobody"}, "The model `nobody` does not exist"),
        ({"model": 5}, "Invalid type for 'model'"),
        ({"n": 11}, "above maximum value"),
        ({"n": 0}, "below minimum value"),
        ({"size": "100x100"}, "sides divisible by 16"),
        ({"size": "3840x2176"}, "sides divisible by 16, up to 3840x2160"),
        ({"size": "1600x160"}, "aspect ratio"),
        ({"size": "large"}, "Invalid value: 'large'"),
        ({"size": 5}, "Invalid type for 'size'"),
        ({"model": "gpt-image-1.5", "size": "512x512"}, "Supported values are: '1024x1024'"),
        ({"quality": "max"}, "Invalid value: 'max'"),
        ({"background": "red"}, "Invalid value: 'red'"),
        ({"background": "transparent", "output_format": "jpeg"}, "Transparent background"),
        ({"output_format": "gif"}, "does not have access to output_format 'gif'"),
        ({"output_format": "bmp"}, "Invalid value: 'bmp'"),
        ({"output_compression": 101}, "above maximum value"),
        ({"stream": "yes"}, "Invalid type for 'stream'"),
        ({"stream": True, "partial_images": 4}, "above maximum value"),
        ({"response_format": "url"}, "Unknown parameter: 'response_format'"),
        ({"x": 1}, "Unknown parameter: 'x'"),
    ],
    ids=str,
)
def test_wrong_fields_are_refused(bureau, fields, message):
    """What the model cannot draw is refused."""
    with pytest.raises(Refusal) as caught:
        draw(bureau, **fields)

    assert message in str(caught.value)


def test_what_is_unsafe_is_blocked(bureau):
    """A prompt that moderation would flag is refused, unless a low level lets it pass."""
    with pytest.raises(Refusal, match=r"safety_violations=\[violence\]") as caught:
        draw(bureau, prompt="A murder in the mill")

    assert caught.value.error["code"] == "moderation_blocked"
    assert caught.value.error["type"] == "image_generation_user_error"
    assert draw(bureau, prompt="A murder in the mill", moderation="low")["data"]
    with pytest.raises(Refusal, match="safety system"):
        draw(bureau, prompt="A severed head", moderation="low")


def test_a_newer_model_knows_better_qualities(bureau):
    """The finest qualities belong to the newest models."""
    answer = draw(bureau, model="gpt-image-2.5-flare", quality="max")

    assert answer["quality"] == "max"


def test_a_stream_shows_the_image_in_the_making(client, server):
    """Partial images come first, each at its price, then the image with its usage."""
    events = list(
        client.images.generate(
            model="gpt-image-2", prompt=RIVER, stream=True, partial_images=2, quality="low"
        )
    )
    whole = client.images.generate(model="gpt-image-2", prompt=RIVER, quality="low")

    kinds = [event.type.removeprefix("image_generation.") for event in events]
    assert kinds == ["partial_image", "partial_image", "completed"]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert len({event.b64_json for event in events}) == 3
    assert events[-1].b64_json == whole.data[0].b64_json
    assert events[-1].usage.output_tokens == 272 + 200
    usages = [attempt["usage"]["output"] for attempt in server.attempts()]
    assert usages == [472, 272]
    assert server.invoice()["nano_usd"] == 2 * 3 * 8_000 + (472 + 272) * 30_000


def test_images_are_edited(client):
    """One image or several, with a mask over the first, make a new one; they cost input tokens."""
    other = picture("other", 128, 64, "png")
    one = client.images.edit(model="gpt-image-2", image=("a.png", SQUARE), prompt=RIVER, n=2)
    both = client.images.edit(model="gpt-image-2", image=[SQUARE, other], mask=SQUARE, prompt=RIVER)
    events = list(client.images.edit(model="gpt-image-2", image=SQUARE, prompt=RIVER, stream=True))

    assert len(one.data) == 2
    assert one.usage.input_tokens_details.image_tokens == 65 + 129
    assert both.usage.input_tokens_details.image_tokens == 2 * 65 + 3 * 129
    assert one.data[0].b64_json != both.data[0].b64_json
    assert [event.type for event in events] == ["image_edit.completed"]
    assert events[0].b64_json == one.data[0].b64_json


def test_an_edit_may_name_kept_files(bureau):
    """In JSON, as in batches, images are files that were uploaded before."""
    file = bureau.upload(SQUARE, "a.png", "vision")
    fields = {"model": "gpt-image-2", "prompt": RIVER}
    by_name = bureau.post(EDITS, {**fields, "images": [{"file_id": file}]})
    by_form = bureau.post(EDITS, fields, uploads={"image": [Upload("a.png", SQUARE)]})

    assert by_name["data"] == by_form["data"]
    with pytest.raises(Refusal, match="No such File object"):
        bureau.post(EDITS, {**fields, "images": [{"file_id": "file-1"}]})


@pytest.mark.parametrize(
    ("uploads", "message"),
    [
        ({}, "Missing required parameter: 'image'"),
        ({"image": [b"hello"]}, "Invalid image file or mode for image 1"),
        ({"image": [SQUARE, b""]}, "Invalid image file or mode for image 2"),
        ({"image": [SQUARE] * 17}, "at most 16 images"),
        ({"image": [SQUARE], "mask": [b"x"]}, "mask size does not match"),
        ({"image": [SQUARE], "mask": [picture("m", 8, 8, "png")]}, "mask size does not match"),
    ],
    ids=["nothing", "text", "an empty file", "many", "no mask", "a small mask"],
)
def test_what_is_no_image_is_refused(bureau, uploads, message):
    """Files that cannot be edited are refused, by their number."""
    files = {name: [Upload("a.png", each) for each in listed] for name, listed in uploads.items()}
    with pytest.raises(Refusal) as caught:
        bureau.post(EDITS, {"model": "gpt-image-2", "prompt": RIVER}, uploads=files)

    assert (caught.value.status, message in str(caught.value)) == (400, True)


def test_retired_models_answer_with_an_address(client):
    """Where a configuration still serves them, the address leads to the image, without a key."""
    made = client.images.generate(model="dall-e-3", prompt=RIVER, size="1792x1024")
    with pytest.deprecated_call():
        varied = client.images.create_variation(image=SQUARE, n=2, size="256x256")
    inline = client.images.generate(
        model="dall-e-2", prompt=RIVER, size="512x512", response_format="b64_json"
    )

    found = httpx.get(made.data[0].url)
    assert (found.status_code, found.headers["content-type"]) == (200, "image/png")
    assert size_of(found.content) == (1792, 1024)
    assert [size_of(httpx.get(each.url).content) for each in varied.data] == [(256, 256)] * 2
    assert size_of(base64.b64decode(inline.data[0].b64_json)) == (512, 512)
    assert (made.usage, made.data[0].revised_prompt) == (None, RIVER)


def test_images_without_a_price_are_no_free_images(client, server):
    """What a model without a price draws is unpriced on the invoice, and a model unnamed is named."""
    client.images.generate(model="dall-e-2", prompt=RIVER, size="256x256")
    client.images.generate(prompt=RIVER, quality="low")

    invoice = server.invoice()
    assert invoice["unpriced"] == invoice["models"]["dall-e-2"]["unpriced"] == 1
    assert invoice["nano_usd"] == 3 * 8_000 + 272 * 30_000
    assert invoice["models"].keys() == {"dall-e-2", "gpt-image-2"}


def test_only_squares_are_varied(bureau):
    """A variation wants a square PNG."""
    files = {"image": [Upload("a.png", picture("a", 64, 32, "png"))]}
    with pytest.raises(Refusal, match="must be a PNG, square"):
        bureau.post("/v1/images/variations", {}, uploads=files)


def test_a_batch_draws(bureau):
    """Images can be asked for in batches."""
    body = {"model": "gpt-image-2", "prompt": RIVER, "quality": "low"}
    line = {"custom_id": "a", "method": "POST", "url": GENERATIONS, "body": body}
    batch = bureau.batch(bureau.begin([line], endpoint=GENERATIONS))

    [found] = bureau.lines(batch["output_file_id"])
    assert found["response"]["body"]["data"] == draw(bureau, quality="low")["data"]
    assert batch["usage"]["output_tokens"] == 272


def test_a_cut_stream_is_paid_up_to_its_cut(client, server):
    """A stream that breaks after the first partial image costs that image."""
    headers = {"x-simulator-fault": "error_event=1"}
    with pytest.raises(openai.APIError):
        list(
            client.images.generate(
                model="gpt-image-2",
                prompt=RIVER,
                stream=True,
                partial_images=2,
                extra_headers=headers,
            )
        )

    [attempt] = server.attempts()
    assert (attempt["usage"]["output"], attempt["outcome"]) == (100, "cut")
    assert json.dumps(attempt["fault"]).strip('"').startswith("error_event")
