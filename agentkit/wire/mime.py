"""What kind of data bytes are, by how they begin."""

from __future__ import annotations

import codecs
import io
import mimetypes
from typing import Any

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"FLV\x01", "video/x-flv"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/avi"}
_FTYP = {b"heic": "image/heic", b"mif1": "image/heif", b"avif": "image/avif", b"qt  ": "video/quicktime"}
_FTYP |= dict.fromkeys((b"M4A ", b"M4B "), "audio/mp4")
_FTYP |= dict.fromkeys((b"3gp4", b"3gp5", b"3gp6"), "video/3gpp")
_FTYP |= dict.fromkeys(
    (b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V "), "video/mp4"
)


def sniff(data: bytes) -> str | None:
    """Return the MIME type of a picture, a sound, a video or a PDF; None of anything else."""
    for magic, mime_type in _MAGIC:
        if data.startswith(magic):
            return mime_type
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12])
    if data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return "audio/aiff"
    return _FTYP.get(data[8:12]) if data[4:8] == b"ftyp" else None


def text_in_bytes(data: bytes, *, is_whole: bool = True, name: str | None = None) -> str | None:
    """Return the text that bytes are, or begin with; None if they are none.

    UTF-8 and, with a mark at the beginning, UTF-16; of a file whose name says that it is a text, also Latin-1.
    """
    encodings = ["utf-16"] if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ["utf-8-sig"]
    if (mimetypes.guess_type(name or "")[0] or "").startswith("text/"):
        encodings.append("latin-1")
    for encoding in encodings:
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(data, final=is_whole)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    return None


def is_pil(value: Any) -> bool:
    """Return whether a value is an image of Pillow, which is not imported for it."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(value).__mro__)


def encode_pil(image: Any) -> tuple[bytes, str]:
    """Encode an image of Pillow, as what it was read from where Gemini takes that, else as PNG."""
    kind = image.format if image.format in ("PNG", "JPEG", "WEBP") else "PNG"
    if kind == "PNG" and image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, format=kind)
    return file.getvalue(), f"image/{kind.lower()}"
