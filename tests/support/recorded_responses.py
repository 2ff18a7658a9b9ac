"""Recorded responses of Prefect 3, as httpx returns them."""

import json
from pathlib import Path

import httpx

_FOLDER = Path(__file__).parents[1] / "recorded" / "prefect3"


def recorded_response(name: str) -> httpx.Response:
    """Return a recorded response."""
    exchange = json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))
    body = exchange["response"]
    content = body if isinstance(body, str) else json.dumps(body)
    headers = {"content-type": "application/json"}
    return httpx.Response(exchange["status"], content=content, headers=headers)
