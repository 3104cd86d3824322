"""Workspaces of this user that have sent events: a tocsin of the same user finds what still waits there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tocsin.sdk.sending.spool import made_state_folder, state_folder


def note(folder: Path) -> None:
    """Remember a workspace's folder. Where that cannot be kept, `tocsin run sync` still finds the workspace."""
    data = os.fsencode(folder)
    name = hashlib.sha256(data).hexdigest()[:24]
    try:
        if not (state_folder() / "workspaces" / name).exists():
            notes = made_state_folder() / "workspaces"
            notes.mkdir(exist_ok=True, mode=0o700)
            (notes / name).write_bytes(data)
    except OSError:
        pass  # it only makes events later


def known() -> list[Path]:
    """Folders that were noted and are workspaces still; others are forgotten."""
    out = []
    try:
        files = sorted((state_folder() / "workspaces").iterdir())
    except OSError:
        return []
    for file in files:
        try:
            folder = Path(os.fsdecode(file.read_bytes()))
            if (folder / ".tocsin").is_dir():
                out.append(folder)
            else:
                file.unlink()
        except (OSError, ValueError):
            continue
    return out
