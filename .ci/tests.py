"""Run the tests: the browser's beside all others, because they mostly wait for pages.

Every argument goes to pytest. The output of the browser's tests follows that of the others. The
tests marked ``long`` are left out. The status is that of the first part that fails; a part of which
the arguments select no test does not fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NONE_SELECTED = 5
"""Pytest's status when no test is selected."""


def pytest(*arguments: str) -> list[str]:
    return [str(ROOT / ".venv/bin/python"), "-m", "pytest", *arguments, *sys.argv[1:]]


def main() -> int:
    chromium = subprocess.run([ROOT / ".ci/chromium"], stdout=subprocess.PIPE)
    passive = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    watching = {**passive, "REGVQ_CHROMIUM": chromium.stdout.decode().strip()}
    # The browser's tests of a file share an app, so that a file is not divided; of the others, a
    # process that is done takes some of another's.
    pages = pytest("-n", "2", "--dist", "loadfile", "-m", "browser and not long")
    code = pytest("-n", "auto", "--dist", "worksteal", "-m", "not browser and not long")
    with tempfile.TemporaryFile() as output:
        beside = subprocess.Popen(pages, cwd=ROOT, env=watching, stdout=output, stderr=output)
        try:
            statuses = [subprocess.call(code, cwd=ROOT, env={**passive, "OMP_NUM_THREADS": "1"})]
            if beside.poll() is None:
                print("The browser's tests are not done yet; their output follows.", flush=True)
            statuses.append(beside.wait())
        except KeyboardInterrupt:  # both parts have got it too
            beside.wait()
            return 130
        output.seek(0)
        sys.stdout.write(output.read().decode(errors="replace"))
    return next((one for one in statuses if one not in (0, NONE_SELECTED)), 0)


if __name__ == "__main__":
    sys.exit(main())
