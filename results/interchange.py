"""A verdict in the formats that other tools read: JUnit XML and SARIF 2.1.0."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from kernelite.errors import MachineError

SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


def junit(document: Mapping[str, Any]) -> str:
    """One test case per stage of a ``kernelite.check`` document."""
    stages = document["stages"]
    count = {status: sum(s["status"] == status for s in stages) for status in ("failed", "skipped")}
    suite = ElementTree.Element(
        "testsuite", name=_printable(document["problem"]["name"]), tests=str(len(stages)),
        failures=str(count["failed"]), skipped=str(count["skipped"]),
        time=f"{sum(s['seconds'] for s in stages):.3f}",
    )  # fmt: skip
    for stage in stages:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_printable(document["candidate"]), name=stage["name"],
            time=f"{stage['seconds']:.3f}",
        )  # fmt: skip
        evidence = _printable(stage["evidence"])
        if stage["status"] == "failed":
            failure = ElementTree.SubElement(case, "failure", type=document["reason"])
            failure.text = evidence
        elif stage["status"] == "skipped":
            ElementTree.SubElement(case, "skipped", message=evidence)
        else:
            ElementTree.SubElement(case, "system-out").text = evidence
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def sarif(document: Mapping[str, Any]) -> str:
    """What the static stage found in the candidate's source, by line."""
    results = [
        {
            "ruleId": found["why"], "level": "error" if found["fatal"] else "note",
            "message": {"text": f"{found['what']}: {found['why']}"},
            "locations": [{"physicalLocation": {
                "artifactLocation": {"uri": document["candidate"]},
                "region": {"startLine": found["line"]},
            }}],
        }
        for found in document["findings"]
    ]  # fmt: skip
    rules = [{"id": why} for why in dict.fromkeys(f["why"] for f in document["findings"])]
    driver = {"name": "kernelite", "rules": rules}
    run = {"tool": {"driver": driver}, "results": results}
    return json.dumps({"$schema": SARIF, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def write(path: Path, text: str) -> None:
    """Write a file that the user named.

    Raises:
        MachineError: it cannot be written.
    """
    try:
        path.write_text(text)
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}") from error


def _printable(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(c if c in "\t\n" or ord(c) >= 32 else " " for c in text)
