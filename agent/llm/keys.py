"""Where the keys of providers come from, and how they stay out of every text.

``OPENAI_API_KEY``, ``ANTHROPIC_API_KEY`` and ``COMPATIBLE_API_KEY``, or the key file
``KERNELITE_KEYS`` names (``~/.config/kernelite/keys.toml`` by default): a line
``openai = "..."`` per provider, readable by its owner alone.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernelite.errors import UsageError

FILE = "KERNELITE_KEYS"
HIDDEN = "[key]"
SHORTEST = 6  # what is shorter is a placeholder, and would hide innocent words


@dataclass(frozen=True, slots=True)
class Key:
    """A secret; no ``repr``, error or traceback of ours shows it.

    Attributes:
        origin: The variable or file that it was read from.
    """

    value: str = field(repr=False)
    origin: str

    def hide(self, text: str) -> str:
        """``text`` with the key struck out; servers repeat what they were sent."""
        return text.replace(self.value, HIDDEN) if len(self.value) >= SHORTEST else text


def variable(provider: str) -> str:
    """The environment variable that holds a provider's key."""
    return f"{provider.upper()}_API_KEY"


def find(provider: str, environment: Mapping[str, str]) -> Key | None:
    """The provider's key; None if there is none.

    Raises:
        UsageError: the key file cannot be read, or others may read it.
    """
    name = variable(provider)
    if value := environment.get(name, "").strip():
        return Key(value, name)
    path, table = _file(environment)
    kept = table.get(provider, "")
    if not isinstance(kept, str):
        raise UsageError(f"{provider} in the key file {path} is no text")
    return Key(kept, str(path)) if kept else None


def needed(provider: str, environment: Mapping[str, str]) -> Key:
    """The provider's key.

    Raises:
        UsageError: there is none, or the key file cannot be used.
    """
    if (key := find(provider, environment)) is None:
        path, _ = _file(environment)
        raise UsageError(f"no key for {provider}: set {variable(provider)}, or write it to {path}")
    return key


def forget(environment: MutableMapping[str, str]) -> None:
    """Take every key out, so that no process which is started from now on has one."""
    for name in [name for name in environment if name.endswith("_API_KEY") or name == FILE]:
        del environment[name]


def _file(environment: Mapping[str, str]) -> tuple[Path, Mapping[str, Any]]:
    home = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME", "~"), ".config"))
    named = environment.get(FILE)
    path = Path(named or Path(home, "kernelite", "keys.toml")).expanduser()
    try:
        if not path.exists() and not named:
            return path, {}
        if path.stat().st_mode & 0o077:
            raise UsageError(f"others can read the key file {path}; type: chmod 600 {path}")
        return path, tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"cannot read the key file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise UsageError(f"the key file {path} is not TOML") from None  # the error quotes a line
