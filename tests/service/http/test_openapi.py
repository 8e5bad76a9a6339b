"""The OpenAPI document is held to: whatever it allows is asked, and much that it does not."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.lengths import length
from tests.support.processes import ROOT, serve_bundle, serving

KEY = "admin-key"
CASES = length(2000, 500)
"""At least so many are to be tried."""
PER_OPERATION = length(60, 15)

HOOKS = ROOT / "tests/service/http/openapi_hooks.py"


def statuses(exposition: str) -> Counter[int]:
    """How often each status was answered, from the service's own metrics."""
    found: Counter[int] = Counter()
    pattern = r'^kindred_requests_total\{.*status="(\d+)"\} (\S+)$'
    for status, count in re.findall(pattern, exposition, re.MULTILINE):
        found[int(status)] += round(float(count))
    return found


@pytest.mark.soak
def test_every_answer_is_as_documented_and_none_is_a_failure(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All checks of schemathesis over a real socket, with keys and without chance."""
    report = tmp_path / "report.json"
    with serving(
        serve_bundle(bundle_path),
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
    told = json.loads(report.read_text())
    cases = told["test_cases"]["generated"]
    with capsys.disabled():
        print(
            f"\nschemathesis: {cases:,} cases of {told['operations']['tested']} operations in "
            f"{told['running_time']:.0f} s; statuses {dict(sorted(answered.items()))}"
        )
    assert cases >= CASES
    assert told["operations"]["tested"] == told["operations"]["total"]
    assert max(answered) < 500
