"""Tests the service against its OpenAPI document, with valid and invalid requests."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.lengths import length
from tests.support.processes import ROOT, running_server, serve_command

pytestmark = pytest.mark.slow

KEY = "admin-key"
CASES = length(2000, 500)
"""Minimum number of test cases."""
PER_OPERATION = length(60, 5)

HOOKS = ROOT / "tests/service/http/openapi_hooks.py"


def statuses(exposition: str) -> Counter[int]:
    """Return the number of responses by status, from the service's metrics."""
    found: Counter[int] = Counter()
    pattern = r'^kindred_requests_total\{.*status="(\d+)"\} (\S+)$'
    for status, count in re.findall(pattern, exposition, re.MULTILINE):
        found[int(status)] += round(float(count))
    return found


@pytest.mark.soak
def test_every_response_conforms_to_the_document_and_none_is_5xx(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run all checks of schemathesis over a socket, with keys and a fixed seed."""
    report = tmp_path / "report.json"
    with running_server(
        serve_command(bundle_path),
        KINDRED_API_KEYS="reader-key",
        KINDRED_ADMIN_KEYS=KEY,
        KINDRED_MAX_BATCH_SIZE="4",
    ) as http:
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run"),
                f"{http.base_url}/openapi.json",
                *("--header", f"Authorization: Bearer {KEY}"),
                *("--checks", "all", "--continue-on-failure"),
                *("--max-examples", str(PER_OPERATION), "--no-shrink"),
                *("--seed", "0", "--generation-deterministic"),
                *("--report-json-path", str(report), "--no-color"),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": str(ROOT / "tests/service/http/openapi_hooks.py"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        answered = statuses(http.get("/metrics").text)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = json.loads(report.read_text())
    cases = results["test_cases"]["generated"]
    with capsys.disabled():
        print(
            f"\nschemathesis: {cases:,} cases of {results['operations']['tested']} operations in "
            f"{results['running_time']:.0f} s; statuses {dict(sorted(answered.items()))}"
        )
    assert cases >= CASES
    assert results["operations"]["tested"] == results["operations"]["total"]
    assert max(answered) < 500
