"""What a worker or a candidate interpreter says, altered: understood, or one sentence, or not ours."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lava_bridge.worker.client import Worker, answer
from lava_bridge.worker.find import Interpreter, described
from lava_bridge.worker.protocol import MARK, from_line, load_arrays, save_arrays, to_line
from spikejelly_pack.spec.errors import RunError, SpikePackError

EXAMPLES = pytest.mark.parametrize("examples", [200, pytest.param(100_000, marks=pytest.mark.fuzz)])
MESSAGES = {
    "progress": {"kind": "progress", "done": 3, "samples": 8},
    "error": {"kind": "error", "type": "BoundError", "text": "too wide", "trace": "Traceback"},
    "result": {
        "kind": "result", "codes": {"x": "codes-0.npy"}, "membranes": {"out": "membranes-0.npy"},
        "overflows": {}, "seconds": 0.5, "steps": 9, "processes": 3, "lava": "0.10.0",
    },
}  # fmt: skip


@EXAMPLES
def test_altered_messages(fuzzing: Any, examples: int) -> None:
    """A message of another form is none: the worker's end is then what is told."""
    contents = {name: fuzzing.altered_json(message) for name, message in MESSAGES.items()}
    damages = {f"{n}-bytes": fuzzing.altered_bytes(to_line(m).encode()) for n, m in MESSAGES.items()}
    seen: list[tuple[int, int]] = []

    def check(made: tuple[str, Any]) -> None:
        line = made[1].decode("utf-8", "replace") if "-" in made[0] else MARK + json.dumps(made[1]) + "\n"

        def understood(text: str) -> Any:
            message = from_line(text)
            return None if message is None else answer(message, lambda done, of: seen.append((done, of)))

        found, said = fuzzing.outcome(understood, line, SpikePackError)
        assert said or found is None or set(found) == set(MESSAGES["result"])

    fuzzing.run(fuzzing.choice_of({**contents, **damages}), check, examples)
    assert all(type(number) is int for pair in seen for number in pair)


@EXAMPLES
def test_altered_arrays(tmp_path: Path, fuzzing: Any, examples: int) -> None:
    """A worker that was ended while it wrote leaves such files."""
    files = save_arrays(tmp_path, "codes", {"x": np.arange(6, dtype=np.int8)})
    path = tmp_path / files["x"]

    def check(data: bytes) -> None:
        fuzzing.put(path, data)
        found, said = fuzzing.outcome(lambda folder: load_arrays(folder, files), tmp_path, RunError)
        assert said or isinstance(found["x"], np.ndarray)

    fuzzing.run(fuzzing.altered_bytes(path.read_bytes()), check, examples)


@EXAMPLES
def test_altered_description_of_an_interpreter(fuzzing: Any, examples: int) -> None:
    """What a program named python3.10 prints when it is asked who it is."""
    original = {"version": [3, 10, 14], "lava": "0.10.0", "fingerprint": "0" * 16}
    content, damage = fuzzing.altered_json(original), fuzzing.altered_bytes(json.dumps(original).encode())
    makes = {"content": lambda random: json.dumps(content(random)).encode(), "bytes": damage}

    def check(made: tuple[str, bytes]) -> None:
        found = described(made[1].decode("utf-8", "replace"))
        assert found is None or all(isinstance(found[key], str | None) for key in ("lava", "fingerprint"))
        assert found is None or isinstance(found["python"], str)

    fuzzing.run(fuzzing.choice_of(makes), check, examples)


def test_a_worker_that_talks_nonsense_is_told(tmp_path: Path) -> None:
    """Lines with our mark and another content; the process ends without a result."""
    script = tmp_path / "python"
    lines = [
        MARK + "{}",
        MARK + '{"kind": "result"}',
        MARK + "[" * 9000,
        MARK + '{"kind": "error", "type": "os"}',
    ]
    script.write_text(f"#!{sys.executable}\nfor line in {lines!r}: print(line)\n")
    script.chmod(0o755)
    with (
        Worker(Interpreter(str(script), "3.10.0", "0.10.0")) as worker,
        pytest.raises(RunError, match="ended without a result"),
    ):
        worker.run({}, 20.0, lambda _done, _samples: None)
