"""What is there of a file when it is to be sent."""

from __future__ import annotations

import time
from dataclasses import replace

from agentkit.errors import ConfigurationError
from agentkit.model import Model
from agentkit.wire.files import LocalFile, UploadedFile, local_file

_MARGIN = 60.0
"""Seconds: a file that expires within them may be gone when it is read."""


def to_send(file: LocalFile | UploadedFile, model: Model) -> LocalFile | UploadedFile | None:
    """Return an uploaded file if a model's server still has it; else what is to be uploaded; None if that has changed.

    This looks at the clock and may read the whole file.
    """
    if isinstance(file, LocalFile):
        return file
    mine = file.at in ("", model.uploads_to)
    if mine and (file.expires is None or file.expires > time.time() + _MARGIN):
        return file
    if file.path is None or model.uploads_to is None:
        return None
    try:
        found = local_file(file.path, file.name or None)
        if found.sha256() != file.sha256:
            return None
    except (OSError, ConfigurationError):
        return None
    return replace(found, mime_type=file.mime_type, lost=file.uri)
