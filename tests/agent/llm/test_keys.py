from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kernelite.agent.llm import keys
from kernelite.errors import UsageError


def key_file(folder: Path, text: str, mode: int = 0o600) -> dict[str, str]:
    path = folder / "keys.toml"
    path.write_text(text)
    path.chmod(mode)
    return {"KERNELITE_KEYS": str(path)}


def test_the_environment_goes_before_the_key_file(tmp_path: Path) -> None:
    environment = key_file(tmp_path, "openai = 'from-the-file'\nanthropic = 'other'")
    assert keys.needed("anthropic", environment).value == "other"
    environment["OPENAI_API_KEY"] = "from-the-variable"
    assert keys.needed("openai", environment) == keys.Key("from-the-variable", "OPENAI_API_KEY")


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="chmod 600"):
        keys.find("openai", key_file(tmp_path, "openai = 'abcdefgh'", 0o640))


def test_no_complaint_about_a_key_file_shows_what_is_in_it(tmp_path: Path) -> None:
    for text in ("openai = sk-secret-123456", "openai = ['sk-secret-123456']"):
        with pytest.raises(UsageError) as caught:
            keys.find("openai", key_file(tmp_path, text))
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_who_has_no_key_learns_where_to_put_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"set OPENAI_API_KEY, or write it to .*keys\.toml"):
        keys.needed("openai", {"HOME": str(tmp_path)})
    assert keys.find("openai", {"HOME": str(tmp_path)}) is None


def test_a_named_key_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the key file"):
        keys.find("openai", {"KERNELITE_KEYS": str(tmp_path / "gone")})


def test_a_key_shows_itself_to_nobody() -> None:
    key = keys.Key("sk-secret-123456", "X")
    assert "secret" not in f"{key} {key!r}"
    assert key.hide("a sk-secret-123456 b") == "a [key] b"


def test_forgotten_keys_are_in_no_process_that_starts_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("OPENAI_API_KEY", "COMPATIBLE_API_KEY"):
        monkeypatch.setenv(name, "sk-secret-123456")
    monkeypatch.setenv("KERNELITE_KEYS", str(tmp_path / "keys.toml"))
    keys.forget(os.environ)
    done = subprocess.run(["env"], capture_output=True, text=True, check=True)
    assert "PATH=" in done.stdout
    assert "secret" not in done.stdout
    assert "keys.toml" not in done.stdout
