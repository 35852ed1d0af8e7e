"""The mutation checks themselves (tools/mutate.py): what is made, left out, judged and counted."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("tomllib")  # the tools run on Python 3.11 and newer
EQUATION = "def f(a, b):\n    return a + b\n"


@pytest.fixture(scope="module")
def tool(repository: Path) -> Any:
    """Return a function that imports a module of ``tools/mutation``."""
    sys.path.insert(0, str(repository / "tools"))
    yield lambda name: importlib.import_module(f"mutation.{name}")
    sys.path.remove(str(repository / "tools"))


@pytest.fixture(scope="module")
def report(tool: Any) -> ModuleType:
    return tool("report")


def mutants(report: ModuleType, count: int) -> list[Any]:
    return [report.Mutant("a.py", line, f"x = {line}", f"x = {line} + 1") for line in range(1, count + 1)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('raise ValueError("too small", 1)', 'raise ValueError("too small", 2)'),
        ('return whole(a, "pass a number")', "return whole(a, None)"),
        ('check_choice("Neuron", "carry", a, b)', 'check_choice("XXNeuronXX", "carry", a, b)'),
        ('check_choice("Neuron", "carry", a, b)', 'check_choice(None, "carry", a, b)'),
        ("check_choice(self.label, name, a, b)", "check_choice(None, name, a, b)"),
        ("return integer(owner, a, b, remedy)", "return integer(owner, a, b, None)"),
        ('return f"{a:{b}} {1 + 1}"', 'return f"{a:{b}} {1 - 1}"'),
        ("return list(zip(a, b, strict=True))", "return list(zip(a, b, strict=False))"),
        ("return list(zip(a, b, strict=True))", "return list(zip(a, b, ))"),
    ],
)
def test_text_for_people_is_left_out(tool: Any, before: str, after: str) -> None:
    function = "def f(a, b):\n    {}\n"
    assert tool("prose").cannot_matter("f", function.format(before), function.format(after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("return a + b", "return a - b"),
        ("return a[0]", "return a[1]"),
        ("return a", "return None"),
        ('return a == "membrane"', 'return a == "XXmembraneXX"'),
        ('return {"codes": a}', 'return {"CODES": a}'),
        ('check_choice("Neuron", "carry", a, b)', 'check_choice("Neuron", "carry", None, b)'),
        ("return list(zip(a, b, strict=True))", "return list(zip(b, strict=True))"),
        ("return a.clip(0, 1)", "return a.clip(0)"),
        ("return load(owner)", "return load(None)"),
        ("check_name(self.kind, self.name)", "check_name(self.kind, None)"),
        ("check_size(self.label, a)", "check_size(self.label, None)"),
    ],
)
def test_everything_else_is_judged(tool: Any, before: str, after: str) -> None:
    function = "def f(a, b):\n    {}\n"
    assert not tool("prose").cannot_matter("f", function.format(before), function.format(after))


def test_what_people_read_and_what_runs_at_import_is_left_out(tool: Any) -> None:
    changed = EQUATION.replace("+", "-")
    names = ["__repr__", "_state_text", "register", "f"]
    assert [tool("prose").cannot_matter(name, EQUATION, changed) for name in names] == [
        True,
        True,
        True,
        False,
    ]


def test_a_seed_names_a_sample(report: ModuleType) -> None:
    every = mutants(report, 50)
    one, again, other = (report.sample(every[::-1], 9, seed) for seed in (3, 3, 4))
    assert one == again
    assert set(one) != set(other)
    assert set(one) < set(every)
    assert len(set(one)) == 9
    assert report.sample(every[::-1], None, 0) == report.sample(every, 50, 1) == every


@pytest.mark.parametrize(("fail_under", "status"), [(50.0, 0), (50.1, 1)])
def test_the_score_counts_what_can_be_killed(
    report: ModuleType, fail_under: float, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["killed", "killed", "survived", "survived", "survived", "invalid"]
    verdicts = dict(zip(mutants(report, 6), words, strict=True))
    reasons = {("a.py", "x = 3", "x = 3 + 1"): "nothing reads x"}
    assert report.summary(verdicts, fail_under, reasons) == status
    said = capsys.readouterr().out
    assert "6 mutants: 2 killed, 2 survived, 1 equivalent, 1 invalid; score 50.0 %" in said
    assert "survived: a.py:4\n    - x = 4\n    + x = 4 + 1" in said
    assert "a.py:3\n" not in said


def test_an_equivalent_mutant_that_a_test_kills_is_an_error(
    report: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    [mutant] = mutants(report, 1)
    assert report.summary({mutant: "killed"}, 0.0, {mutant.key: "surely"}) == 1
    assert "listed as equivalent, but a test fails: a.py:1" in capsys.readouterr().out


def test_the_list_of_equivalent_mutants_is_of_these_sources(report: ModuleType) -> None:
    """A line that changed takes its entries along: nobody has looked at the new one."""
    assert report.stale(report.equivalents()) == []


def test_an_entry_without_its_line_is_named(report: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = [\n    1,\n]\n", encoding="utf-8")
    listed = [("a.py", "x = [ 1,", "x = [ 2,"), ("a.py", "x = 2", "x = 3")]
    assert report.stale(listed, tmp_path) == ["a.py: x = 2 -> x = 3"]


@pytest.mark.parametrize(
    "text", ['reason = " "', 'reason = "same"\n[[group]]\nfile = "a"\nmutants = [["b", "c"]]']
)
def test_an_equivalent_mutant_needs_one_reason(report: ModuleType, tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.toml"
    path.write_text(
        f'[[group]]\nfile = "a"\nmutants = [["b", "c"]]\n{text}\nreason = "x"\n'.replace(
            '" "\nreason = "x"', '" "'
        ),
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match="once and with a reason"):
        report.equivalents(path)


def ended(mutant: Any, folder: Path) -> int:
    """Stand in for the tests: each line of the file ends them in another way."""
    if mutant.line == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if mutant.line == 4:
        os.write(1, b"cannot build it")
    if mutant.line == 5:
        raise OSError("no tests at all")
    if mutant.line == 6:
        return 70
    return 0 if mutant.line == 1 else 1


def test_how_the_tests_end_is_the_verdict(tool: Any, report: ModuleType, tmp_path: Path) -> None:
    forks = tool("forks")
    chosen = [m for m in mutants(report, 6) if m.line != 5]
    verdicts = forks.judge(ended, chosen, tmp_path, 2, "cannot build it")
    assert [verdicts[m] for m in chosen] == ["survived", "killed", "killed", "invalid", "killed"]
    assert list(tmp_path.iterdir()) == []


def test_a_barrier_that_not_all_reach_is_a_kill(tool: Any, repository: Path) -> None:
    """The exit status of the emulation: not the one that says that no test ran."""
    forks = tool("forks")
    header = repository / "cupy_kernels" / "emulation" / "cuda_on_cpu.h"
    assert f"std::_Exit({forks.STOPPED});" in header.read_text(encoding="utf-8")
    assert forks.NOT_RUN != forks.STOPPED


def test_tests_that_did_not_run_are_no_verdict(tool: Any, report: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no tests at all"):
        tool("forks").judge(ended, mutants(report, 5)[4:], tmp_path, 1)


def test_a_mutant_that_never_ends_is_killed(
    tool: Any, report: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turn(mutant: Any, folder: Path) -> int:
        while True:
            pass

    monkeypatch.setattr(tool("forks"), "CPU_SECONDS", 1)
    [mutant] = mutants(report, 1)
    assert tool("forks").judge(turn, [mutant], tmp_path, 1) == {mutant: "killed"}


def test_a_copy_is_changed_never_the_source(
    tool: Any, report: ModuleType, tmp_path: Path, repository: Path
) -> None:
    source = repository / "spikejelly_pack" / "spec"
    path = source / "windows.py"
    lines = path.read_text(encoding="utf-8").splitlines()
    line = next(number for number, text in enumerate(lines, start=1) if "windows == 1" in text)
    before = lines[line - 1].strip()
    mutant = report.Mutant("spikejelly_pack/spec/windows.py", line, before, before.replace("== 1", "== 2"))
    tool("forks").mutated_copy(mutant, source, tmp_path / "spec")
    copied = (tmp_path / "spec" / "windows.py").read_text(encoding="utf-8").splitlines()
    assert [a for a, b in zip(copied, lines, strict=True) if a != b] == [
        lines[line - 1].replace("== 1", "== 2")
    ]
    assert path.read_text(encoding="utf-8").splitlines() == lines
    wrong = report.Mutant(mutant.file, line, "something else", "x")
    with pytest.raises(ValueError, match="expected 'something else'"):
        tool("forks").mutated_copy(wrong, source, tmp_path / "again")


def test_every_kernel_source_has_its_tests(tool: Any, repository: Path) -> None:
    kernels = tool("kernels")
    assert set(kernels.TESTS) == {path.name for path in kernels.CUDA.glob("*.cu")}
    rooms = {f"test_{name}.py" for names in kernels.TESTS.values() for name in names}
    assert rooms <= {path.name for path in (repository / "tests" / "kernels").glob("test_*.py")}


def test_kernel_mutants_are_of_lines_a_cpu_builds(tool: Any, repository: Path) -> None:
    pytest.importorskip("universalmutator", reason="the libraries of tox run -e mutation")
    made = tool("kernels").make()
    assert len(made) > 1000
    assert all(mutant.before != mutant.after for mutant in made)
    changed = {(Path(mutant.file).name, mutant.before) for mutant in made}
    assert ("arithmetic.cu", "SPK_INLINE f32 add(f32 a, f32 b) { return a + b; }") in changed
    assert not any("asm" in before or before.startswith(("//", "#")) for _, before in changed)
    assert ("arithmetic.cu", "return r != 0;") not in changed  # beside the assembly of ge, on a GPU only


def test_properties_constants_and_registration_are_judged_line_by_line(tool: Any) -> None:
    pytest.importorskip("universalmutator", reason="the libraries of tox run -e mutation")
    made = {(Path(mutant.file).name, mutant.after) for mutant in tool("lines").make()}
    assert ("parameters.py", "return (1 << self.time_steps) + 1") in made
    assert ("parameters.py", "MAX_TIME_STEPS = (16 + 1)") in made
    assert ("base.py", "OPS[kind] = None") in made
    assert not any(after.startswith(("def ", '"""')) for _, after in made)
