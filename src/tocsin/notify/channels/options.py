"""What the options of several channels are made of."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field


def _url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError(f"'{value}' is no URL; write https://…")
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Url = Annotated[str, AfterValidator(_url)]
Urls = Annotated[tuple[Url, ...], BeforeValidator(_listed), Field(min_length=1)]
File = Annotated[str, Field(min_length=1)]
"""Relative to the project directory; a trailing newline of its content is cut."""
