"""What kind of file is this? Magika's trained network looks at the content alone.

    {"text": "import os ..."}  or  {"content": "<bytes in base64>"}
        ->  {"type": "python", "mime_type": "text/x-python", "score": 0.99}

The network (3 MB) comes with the package magika and runs on onnxruntime.
"""

from __future__ import annotations

import base64
import binascii
import functools
from typing import Any

from magika import Magika


@functools.cache
def load() -> Magika:
    """The detector with its weights, ready to answer."""
    return Magika()


def main(args: dict[str, Any]) -> dict[str, Any]:
    """Answer one request."""
    text, content = args.get("text"), args.get("content")
    if isinstance(text, str) and content is None:
        data = text.encode("utf-8", "surrogatepass")
    elif isinstance(content, str) and text is None:
        try:
            data = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError) as error:
            return {"error": f'"content" is not base64: {error}'}
    else:
        return {"error": 'the request needs either "text" or "content" (the file in base64)'}
    found = load().identify_bytes(data)
    return {"type": str(found.output.label), "mime_type": found.output.mime_type, "score": found.score}
