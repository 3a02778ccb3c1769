"""Media in a result: found wherever they are, whatever they are, and sent as media beside the rest."""

import base64
import io
import json
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.dataclasses import dataclass as pydantic_dataclass

from agentkit.tooling.media import split_media
from agentkit.tooling.results import Media, to_json

DATA = b"\x89PNG\r\n\x1a\n" + b"\xff" * 40
TEXT = base64.b64encode(DATA).decode()
PNG = {"inlineData": {"mimeType": "image/png", "data": TEXT}}
FILE = {"fileData": {"fileUri": "gs://b/a.png", "mimeType": "image/png"}}


class Model(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="allow")
    caption: str = "c"
    item: Any = None
    hidden: Any = Field(default=None, exclude=True)


class Typed(BaseModel):
    image: bytes
    pictures: list[types.Image] = []


class Root(RootModel[list[Any]]):
    pass


@dataclass(frozen=True, slots=True)
class Frozen:
    item: Any
    n: int = 1
    more: list[Any] = field(default_factory=list)


@pydantic_dataclass
class Checked:
    item: Any


class Pair(NamedTuple):
    item: Any
    n: int = 1


INLINE: dict[str, Any] = {
    "Media": Media(DATA, "image/png"),
    "bytes": DATA,
    "bytearray": bytearray(DATA),
    "memoryview": memoryview(DATA),
    "types.Image": types.Image(image_bytes=DATA, mime_type="image/png"),
    "types.Image without a type": types.Image(image_bytes=DATA),
    "types.Video": types.Video(video_bytes=DATA, mime_type="image/png"),
    "types.Blob": types.Blob(data=DATA, mime_type="image/png"),
    "types.Part": types.Part.from_bytes(data=DATA, mime_type="image/png"),
    "types.FunctionResponsePart": types.FunctionResponsePart.from_bytes(data=DATA, mime_type="image/png"),
    "wire JSON": PNG,
    "wire JSON in snake_case": {"inline_data": {"mime_type": "image/png", "data": DATA}},
    "a signed part": {**PNG, "thoughtSignature": "c2ln"},
}
FILES: dict[str, Any] = {
    "types.Image": types.Image(gcs_uri="gs://b/a.png", mime_type="image/png"),
    "types.FileData": types.FileData(file_uri="gs://b/a.png", mime_type="image/png"),
    "types.File": types.File(uri="gs://b/a.png", mime_type="image/png", name="files/1"),
    "types.Video": types.Video(uri="gs://b/a.png", mime_type="image/png"),
    "types.Part": types.Part.from_uri(file_uri="gs://b/a.png", mime_type="image/png"),
    "wire JSON": FILE,
    "wire JSON in snake_case": {"file_data": {"file_uri": "gs://b/a.png", "mime_type": "image/png"}},
}
PLACES: dict[str, Any] = {
    "dict": lambda media: {"a": 1, "b": media},
    "nested": lambda media: {"a": [1, {"b": [media]}]},
    "list": lambda media: [[media, 2]],
    "tuple": lambda media: ("x", (1, media)),
    "deque": lambda media: {"a": deque([media])},
    "iterator": lambda media: {"a": iter([1, media])},
    "values": lambda media: {"a": {"b": media}.values()},
    "model": lambda media: Model(item=media),
    "model within": lambda media: Model(item=[Model(item=media)]),
    "extra": lambda media: Model.model_validate({"extra": media}),
    "root model": lambda media: Root([1, media]),
    "dataclass": lambda media: {"a": Frozen(media)},
    "dataclass within": lambda media: Frozen(1, more=[Frozen(media)]),
    "pydantic dataclass": lambda media: Checked(media),
    "named tuple": lambda media: {"a": Pair(media)},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("media", "part"),
    [(each, PNG) for each in INLINE.values()] + [(each, FILE) for each in FILES.values()],
    ids=[*INLINE, *(f"{name}, a file" for name in FILES)],
)
def test_media_become_parts_wherever_they_are(place: str, media: Any, part: Any) -> None:
    rest, parts = split_media(PLACES[place](media))
    assert parts == [part]
    written = json.dumps(to_json(rest))
    assert TEXT[:30] not in written
    assert written.count("attached: ") == 1
    without, none = split_media(PLACES[place]("attached: "))
    assert none == []
    name = "image/png" if part is PNG else "gs://b/a.png (image/png)"
    assert written == json.dumps(to_json(without)).replace("attached: ", f"attached: {name}")


@pytest.mark.parametrize("media", INLINE.values(), ids=INLINE)
def test_media_alone_leave_a_line_that_names_them(media: Any) -> None:
    assert split_media(media) == ("attached: image/png", [PNG])
    assert split_media(["a caption", media]) == ("a caption", [PNG])


def test_the_value_that_a_tool_returned_is_not_changed() -> None:
    model, data, box = Model(item=Media(DATA, "image/png")), {"a": [Media(DATA, "image/png")]}, Frozen(DATA)
    split_media([model, data, box])
    assert (model.item, data["a"], box.item) == (Media(DATA, "image/png"), [Media(DATA, "image/png")], DATA)


def test_what_models_keep_to_themselves_is_not_sent() -> None:
    assert split_media(Model(hidden=Media(DATA, "image/png")))[1] == []


def test_fields_with_types_of_their_own_are_taken_out_without_a_warning() -> None:
    made = Typed(image=DATA, pictures=[types.Image(image_bytes=DATA)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rest, parts = split_media(made)
        assert to_json(rest) == {"image": "attached: image/png", "pictures": ["attached: image/png"]}
    assert parts == [PNG, PNG]


def test_what_an_image_model_returned_is_its_pictures() -> None:
    picture = types.Image(image_bytes=DATA, mime_type="image/png")
    reply = types.GenerateImagesResponse(generated_images=[types.GeneratedImage(image=picture)] * 2)
    rest, parts = split_media(reply)
    assert (to_json(rest), parts) == ({"generatedImages": [{"image": "attached: image/png"}] * 2}, [PNG, PNG])
    content = types.Content(
        role="model", parts=[types.Part(text="Here."), types.Part(inline_data=types.Blob(data=DATA))]
    )
    rest, parts = split_media(content)
    assert to_json(rest) == {"role": "model", "parts": [{"text": "Here."}, "attached: image/png"]}


def test_words_beside_media_stay() -> None:
    rest, parts = split_media({**PNG, "caption": "A fox."})
    assert (rest, parts) == ({"inlineData": "attached: image/png", "caption": "A fox."}, [PNG])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "F", "HSV"])
def test_an_image_of_pillow_is_a_picture(mode: str) -> None:
    rest, (part,) = split_media({"chart": Image.new(mode, (3, 2))})
    assert rest == {"chart": "attached: image/png"}
    read = Image.open(io.BytesIO(base64.b64decode(part["inlineData"]["data"])))
    assert (read.format, read.size) == ("PNG", (3, 2))


@pytest.mark.parametrize(
    ("kind", "sent"), [("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("BMP", "image/png")]
)
def test_an_image_of_pillow_stays_what_it_was_read_from_where_gemini_takes_that(kind: str, sent: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (3, 2)).save(file, format=kind)
    (part,) = split_media(Image.open(file))[1]
    assert part["inlineData"]["mimeType"] == sent


@pytest.mark.parametrize(
    "value",
    [
        b"plain bytes",
        {"a": b"\xff\x00"},
        {"inlineData": {"mimeType": "image/png"}},
        {"inlineData": {"data": 5}},
        {"inlineData": "no"},
        {"fileData": {"fileUri": None}},
        {"mimeType": "text/plain", "data": "words"},
        types.File(name="files/1"),
        types.Part(text="hi"),
        Model(item=b"words"),
        Frozen(1),
        "iVBORw0KGgo=",
    ],
    ids=repr,
)
def test_what_is_no_media_is_left_as_it_is(value: Any) -> None:
    rest, parts = split_media(value)
    assert rest is value
    assert parts == []


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(list(INLINE.values())),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
        st.builds(Frozen, inner),
        st.builds(Checked, inner),
        st.builds(lambda item: Model(item=item), inner),
    ),
    max_leaves=8,
)


def media_in(value: Any) -> Iterator[Any]:
    if any(value is each for each in INLINE.values()):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from media_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from media_in(item)
    elif isinstance(value, (Frozen, Checked, Model)):
        yield from media_in(value.item)


@settings(deadline=None)
@given(VALUES)
def test_as_many_parts_come_out_as_there_are_media_and_no_base64_is_left(value: Any) -> None:
    rest, parts = split_media(value)
    assert parts == [PNG] * len(list(media_in(value)))
    assert TEXT[:30] not in json.dumps(to_json(rest))
