"""Make the Lava environment hold the same code as the environment that calls it.

Lava lives in a Python 3.10 environment of its own. ``depends`` in tox only orders environments that are
named in one call, so ``tox run -e py311`` alone would test new code against whatever an earlier run installed
there. This script compares the installed files of both sides and has tox rebuild the Lava environment when
they differ. It exits with an error when they still differ afterwards: a stale environment never answers.

Usage: ``python tools/fresh_lava.py TOX_WORK_DIR`` (from a tox environment with the package installed),
``python tools/fresh_lava.py --digest`` (prints the digest of the package installed beside this interpreter).
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

DISTRIBUTION = "spikejelly-pack"
PACKAGES = ("spikejelly_pack", "cupy_kernels", "lava_bridge")


def installed_digest() -> str:
    """Return a sha256 over the installed packages and their metadata, or "" if they are not installed."""
    try:
        files = distribution(DISTRIBUTION).files or []
    except PackageNotFoundError:
        return ""
    counted = [f for f in files if f.parts[0] in PACKAGES or f.name == "METADATA"]
    digest = hashlib.sha256()
    for file in sorted(f for f in counted if f.suffix != ".pyc"):
        content = Path(str(file.locate()))
        if not content.is_file():
            return ""
        digest.update(file.as_posix().encode() + b"\0" + hashlib.sha256(content.read_bytes()).digest())
    return digest.hexdigest()


def lava_digest(lava_python: Path) -> str:
    """Return the digest of the Lava environment, or "" if it has none (not built, broken, half installed)."""
    if not lava_python.exists():
        return ""
    command = [str(lava_python), "-I", __file__, "--digest"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""


def refresh(work_dir: Path) -> str | None:
    """Rebuild the Lava environment if it holds other code than this one.

    Args:
        work_dir: tox's work directory, in which the environment ``lava`` lies.

    Returns:
        None when both sides are equal, else one sentence that says what is wrong.
    """
    here = installed_digest()
    if not here:
        return f"{DISTRIBUTION} must be installed in {sys.prefix}; run this through tox."
    lava_python = work_dir / "lava" / "bin" / "python"
    work_dir.mkdir(parents=True, exist_ok=True)
    # One lock for all: environments that run in parallel rebuild it once, never under another's tests.
    with (work_dir / "fresh_lava.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if lava_digest(lava_python) == here:
            return None
        print("fresh_lava: the Lava environment holds no or other code: building it", flush=True)
        command = [sys.executable, "-m", "tox", "run", "--workdir", str(work_dir), "-e", "lava", "--notest"]
        code = subprocess.run(command, check=False).returncode
        if code != 0:
            return f"the Lava environment could not be built (tox exit code {code}); see its lines above."
        if lava_digest(lava_python) != here:
            return f"{lava_python} holds other code than {sys.prefix} after a rebuild; remove {work_dir}."
    return None


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: fresh_lava.py TOX_WORK_DIR | --digest")
    if sys.argv[1] == "--digest":
        print(installed_digest())
    else:
        trouble = refresh(Path(sys.argv[1]))
        if trouble:
            sys.exit(f"fresh_lava: {trouble}")
