"""Lava engines, spike modes and the convolution model against one another, samples streamed.

``run()`` starts the Python 3.10 that holds Lava once; there (``simulate_lava.py``) every contender is
compared with the numpy reference, integer for integer, before it is timed, and all contenders of a
comparison alternate. Times are those of the time steps, without compilation and start-up.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import machine, ratio, spread
from lava_bridge.worker.find import find, worker_environment
from spikejelly_pack.spec.errors import ParameterError, RunError

__all__ = ["FAST", "run", "table"]

# A smoke test, no measurement.
FAST: dict[str, Any] = {"rounds": 1, "samples": 2, "images": 1, "channels": 4, "side": 6}
# Slower contender, faster contender, what is compared.
PAIRS = {
    "inline": ("loihi, serial", "inline, serial", "engine `loihi` / engine `inline`, serial spikes"),
    "async": ("loihi, serial", "async, serial", "engine `loihi` / engine `async`, serial spikes"),
    "graded_inline": ("inline, serial", "inline, graded", "serial / graded spikes, engine `inline`"),
    "graded_loihi": ("loihi, serial", "loihi, graded", "serial / graded spikes, engine `loihi`"),
    "graded_async": ("async, serial", "async, graded", "serial / graded spikes, engine `async`"),
    "batch_inline": ("inline, serial", "inline, serial, batch 32", "batch of 1 / of 32, engine `inline`"),
    "batch_loihi": ("loihi, serial", "loihi, serial, batch 32", "batch of 1 / of 32, engine `loihi`"),
}


def run(
    rounds: int = 7,
    samples: int = 32,
    time_steps: int = 8,
    images: int = 2,
    channels: int = 32,
    side: int = 16,
    python: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Check, then time the contenders.

    Args:
        rounds: Timed rounds; each runs every contender once.
        samples: Samples streamed through the three-layer network.
        time_steps: T.
        images: Images streamed through the convolution.
        channels: Input channels of the convolution; it doubles them.
        side: Height and width of its images.
        python: Python 3.10 with Lava, as in ``lava_bridge.simulate``.
        progress: Called with one line per stage.

    Returns:
        Seconds per sample and contender, ratios of pairs (median, min, max over rounds), the machine.
        JSON-ready.

    Raises:
        ParameterError: A size is not positive.
        EnvironmentMissingError: No Python 3.10 with Lava.
        RunError: A contender differs from the numpy reference, or failed; nothing is timed.
    """
    sizes = {
        "rounds": rounds,
        "samples": samples,
        "time_steps": time_steps,
        "images": images,
        "channels": channels,
        "side": side,
    }
    for name, value in sizes.items():
        if value < 1:
            raise ParameterError(f"bench simulate: {name} must be positive, got {value}; raise it.")
    seconds = _beside_lava(sizes, python, progress or (lambda _: None))
    mlp, conv = seconds["mlp"], seconds["conv"]
    ratios = {name: ratio(mlp[slow], mlp[fast]) for name, (slow, fast, _) in PAIRS.items()}
    return {
        **sizes,
        "network": "dense 64-128-64-10, weights of 8 bits",
        "seconds_per_sample": {name: spread(values) for name, values in mlp.items()},
        "conv_seconds_per_sample": {name: spread(values) for name, values in conv.items()},
        "ratios": {**ratios, "conv": ratio(conv["stock"], conv["ours"])},
        "machine": machine(),
    }


def _beside_lava(sizes: dict[str, int], python: str | None, say: Callable[[str], None]) -> dict[str, Any]:
    interpreter = find(python)
    script = Path(__file__).with_name("simulate_lava.py")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seconds.json"
        command = [interpreter.executable, "-I", str(script), json.dumps(sizes), str(out)]
        said = ""
        with subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=worker_environment(),
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                said = line.strip() or said
                say(said)
        if process.returncode:
            raise RunError(
                f"bench simulate: the runs beside Lava must end well, got {said!r}; mend that first."
            )
        return json.loads(out.read_text("utf-8"))


def table(result: dict[str, Any]) -> str:
    """Ratios and milliseconds of :func:`run` as Markdown tables."""
    texts = {name: text for name, (_, _, text) in PAIRS.items()}
    channels, side = result["channels"], result["side"]
    texts["conv"] = (
        f"Lava's model of `Conv` / ours, {channels} to {2 * channels} channels, 3 x 3 on {side} x {side}"
    )
    lines = [
        f"| T = {result['time_steps']} | times faster, median (smallest to largest) |",
        "|---|---:|",
    ]
    for name in result["ratios"]:  # a result stored earlier may hold fewer pairs
        text = texts[name]
        lines.append("| {} | {median:.1f} ({min:.1f} to {max:.1f}) |".format(text, **result["ratios"][name]))
    lines += ["", "| three-layer network | ms per sample |", "|---|---:|"]
    for name, values in result["seconds_per_sample"].items():
        low, middle, high = (1e3 * values[key] for key in ("min", "median", "max"))
        lines.append(f"| {name} | {middle:.2f} ({low:.2f} to {high:.2f}) |")
    return "\n".join(lines)
