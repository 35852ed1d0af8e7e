"""Guards of several runs at once: the last one to end puts the limit back."""

from __future__ import annotations

import resource
import sys
import threading
from collections.abc import Iterator

import pytest

from lava_bridge.guard import guarded_children

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guards need Linux")


def limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@pytest.fixture
def low() -> Iterator[int]:
    """A soft limit below what a guard asks for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= 1000:
        pytest.skip("the hard limit leaves nothing to raise")
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
    yield 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_run_that_ends_takes_no_descriptors_from_another(low: int) -> None:
    entered, leave = threading.Event(), threading.Event()

    def other_run() -> None:
        with guarded_children():
            entered.set()
            leave.wait(60)

    other = threading.Thread(target=other_run)
    with guarded_children():
        other.start()
        assert entered.wait(60)
        raised = limit()
        assert raised > low
    still = limit()
    leave.set()
    other.join()
    assert still == raised
    assert limit() == low


def test_a_failing_run_puts_the_limit_back(low: int) -> None:
    with pytest.raises(KeyError), guarded_children():
        raise KeyError
    assert limit() == low
