"""What clients get to see of our tools and their results."""

from __future__ import annotations

from typing import Any

from agentkit.tooling.invoke import Outcome
from agentkit.tooling.results import to_text
from agentkit.tooling.tool import Tool
from agentkit.wire.content import JsonObject


def schema_of(tool: Tool) -> JsonObject:
    """Return the schema of a tool's arguments; one that is written as OpenAPI becomes JSON Schema."""
    declaration: Any = tool.declaration
    schema = declaration.get("parametersJsonSchema") or _plain(declaration.get("parameters") or {})
    return {**schema, "type": "object", "properties": schema.get("properties") or {}}


def _plain(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: _plain(value) for key, value in schema.items() if key not in ("nullable", "propertyOrdering")
    }
    if isinstance(made.get("type"), str):
        made["type"] = made["type"].lower()
    return {"anyOf": [made, {"type": "null"}]} if schema.get("nullable") is True else made


def annotations_of(tool: Tool) -> Any:
    """Return what a client is told of a tool: only what was said of it, as hints."""
    from mcp.types import ToolAnnotations

    return ToolAnnotations(
        read_only_hint=None if tool.effect is None else tool.effect == "read",
        destructive_hint=True if tool.approval else None,
        open_world_hint=True if tool.untrusted else None,
    )


def content_of(outcome: Outcome) -> Any:
    """Return the result of a call as the protocol has it: text, structured content where it is an object, media."""
    from mcp.types import CallToolResult, TextContent

    response: Any = outcome.part["functionResponse"]
    if "error" in response["response"]:
        return CallToolResult(content=[TextContent(text=response["response"]["error"])], is_error=True)
    output = response["response"]["output"]
    text = output if isinstance(output, str) else to_text(output)
    media = [_media(part) for part in response.get("parts", ())]
    structured = output if isinstance(output, dict) else None  # until 2025-11-25 it must be an object
    return CallToolResult(content=[TextContent(text=text), *media], structured_content=structured)


def _media(part: JsonObject) -> Any:
    from mcp.types import AudioContent, BlobResourceContents, EmbeddedResource, ImageContent, ResourceLink

    if "inlineData" not in part:
        file = part["fileData"]
        return ResourceLink(
            uri=file["fileUri"], name=file.get("displayName") or "file", mime_type=file.get("mimeType")
        )
    blob = part["inlineData"]
    kind, data = blob["mimeType"], blob["data"]
    if kind.startswith("image/"):
        return ImageContent(data=data, mime_type=kind)
    if kind.startswith("audio/"):
        return AudioContent(data=data, mime_type=kind)
    uri = f"attachment:{blob.get('displayName') or 'file'}"
    return EmbeddedResource(resource=BlobResourceContents(uri=uri, blob=data, mime_type=kind))
