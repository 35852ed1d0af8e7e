"""Moving digits before a simulated event camera: small data whose label cannot be told without time order.

A scanned digit runs along an arc of a circle, clockwise or counterclockwise; it is either brighter or darker
than its background. The class is digit x sense of rotation (20 classes).

Why time is needed. An event camera answers to changes of log intensity: brighter gives ON, darker OFF events.
Running a film backwards swaps ON and OFF and the order of the frames; inverting its contrast swaps ON and OFF
back. So a bright digit running clockwise and a dark one running counterclockwise along the same arc give the
same frames in the opposite order. Half of the clips, drawn independently of turn and contrast, are recorded
as that mirrored scene and played backwards, which makes this exact in distribution: whatever looks at the
frames without their order (their sum over time, one frame at a random place) tells the turn with probability
1/2, however clever it is, and so at best half of the 20 classes. The digit, too, is told better by several
frames: edges along the motion give no events, and the arc turns the motion.

The camera: each pixel keeps the log intensity of its last event and sends one event per crossed contrast
threshold; thresholds differ between pixels (3 %), and background activity adds events. These are the effects
that simulators such as ESIM and v2e model first. Frames count events per real time step, pixel and polarity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..spec.errors import ParameterError
from .scenes import digit_scans
from .splits import Split, split_scans

__all__ = ["COUNT_SCALE", "EventClips", "event_clips", "event_digits", "simulate_camera"]

Floats = NDArray[np.float64]

#: Events per pixel and real time step that :func:`event_digits` maps to 1.
COUNT_SCALE = 4.0
_MICRO_STEPS = 4  # renderings per real time step
_CONTRAST = 1.2  # log intensity between ink and background
_THRESHOLD = 0.3  # log intensity per event
_MISMATCH = 0.03  # relative standard deviation of the threshold between pixels
_SCAN = 8  # pixels of a scan's side


@dataclass(frozen=True)
class EventClips:
    """Clips of an event camera, with what is behind them.

    Attributes:
        frames: uint8 ``[N, W, 2, size, size]``: ON and OFF events per real time step and pixel.
        digits: int64 ``[N]``: the digit, 0..9.
        turns: int64 ``[N]``: 0 clockwise, 1 counterclockwise (image coordinates, y down).
        bright: bool ``[N]``: the digit is brighter than its background.
        backwards: bool ``[N]``: recorded with the other turn and contrast, played backwards.
        scans: int64 ``[N]``: index of the digit's scan.
    """

    frames: NDArray[np.uint8]
    digits: NDArray[np.int64]
    turns: NDArray[np.int64]
    bright: NDArray[np.bool_]
    backwards: NDArray[np.bool_]
    scans: NDArray[np.int64]

    @property
    def classes(self) -> NDArray[np.int64]:
        """``digit + 10 * turn``, int64 ``[N]``."""
        return self.digits + 10 * self.turns


def event_digits(*, windows: int = 8, size: int = 16, noise: float = 0.01, seed: int = 0) -> Split:
    """One clip of every scan: ``[N, W, 2, size, size]``, event counts / 4 (:data:`COUNT_SCALE`), 20 classes.

    A clip's W frames are real time steps. They stay windows of the network (input ``[W, N, 2, H, W']``, nodes
    with ``leak`` and ``carry="membrane"``); the T digits of a code only code one window's value.

    Args:
        windows: W, real time steps per clip, 2 or more.
        size: Height and width of the camera in pixels, at least 14.
        noise: Background events per pixel, polarity and real time step, 0 or more.
        seed: Another seed, other arcs and noise; the scans of the split stay.

    Returns:
        The split: 1,347 clips to train, 450 to test, no scan in both; ``windowed`` is True. Two to three
        seconds of work.

    Raises:
        ParameterError: A parameter is outside its range.
    """
    import torch

    parts = []
    for part, scans in enumerate(split_scans()):
        clips = event_clips(scans, windows=windows, size=size, noise=noise, seed=[seed, part])
        parts += [torch.from_numpy(clips.frames).float() / COUNT_SCALE, torch.from_numpy(clips.classes)]
    return Split(*parts, num_classes=20, windowed=True)


def event_clips(
    scans: NDArray[np.int64],
    *,
    windows: int = 8,
    size: int = 16,
    noise: float = 0.01,
    seed: int | list[int] = 0,
) -> EventClips:
    """One clip of each named scan; turn and contrast are balanced within every digit.

    Args:
        scans: int64 ``[N]``: indices into :func:`.digit_scans`.
        windows: As :func:`event_digits`.
        size: As there.
        noise: As there.
        seed: Seed of arcs, turns, contrasts and noise.

    Raises:
        ParameterError: A parameter is outside its range.
    """
    _check(windows, size, noise)
    rng = np.random.default_rng(seed)
    images, digits = digit_scans()
    digits = digits[scans]
    kind = _balanced(rng, digits, 8)
    backwards = kind >= 4
    recorded_turns, recorded_bright = kind % 2, kind % 4 >= 2
    corners = _arcs(rng, recorded_turns, windows * _MICRO_STEPS + 1, size)
    film = _render(images[scans], corners, size)
    film *= np.where(recorded_bright, _CONTRAST, -_CONTRAST)[:, None, None, None]
    counts = simulate_camera(film, _MICRO_STEPS, rng, mismatch=_MISMATCH)
    counts += rng.poisson(noise, counts.shape)
    counts[backwards] = counts[backwards, ::-1]
    turns = np.where(backwards, 1 - recorded_turns, recorded_turns)
    bright = recorded_bright ^ backwards
    frames = np.minimum(counts, 255).astype(np.uint8)
    return EventClips(frames, digits, turns, bright, backwards, np.array(scans))


def simulate_camera(
    film: Floats, micro_steps: int, rng: np.random.Generator, *, mismatch: float = 0.0
) -> NDArray[np.int64]:
    """Events of a film of log intensities.

    Args:
        film: ``[N, M + 1, H, W']``, log intensity at M + 1 instants; nothing happens before the first.
        micro_steps: Instants per counted frame; divides M.
        rng: Draws the pixels' thresholds.
        mismatch: Relative standard deviation of the thresholds.

    Returns:
        Counts ``[N, M / micro_steps, 2, H, W']``, ON then OFF.
    """
    samples, instants, height, width = film.shape
    threshold = _THRESHOLD * np.maximum(1 + mismatch * rng.standard_normal((samples, height, width)), 0.5)
    frames = (instants - 1) // micro_steps
    counts = np.zeros((samples, frames, 2, height, width), np.int64)
    reference = film[:, 0].copy()
    for instant in range(1, instants):
        crossed = np.trunc((film[:, instant] - reference) / threshold)
        reference += crossed * threshold
        frame = counts[:, (instant - 1) // micro_steps]
        frame[:, 0] += np.maximum(crossed, 0).astype(np.int64)
        frame[:, 1] += np.maximum(-crossed, 0).astype(np.int64)
    return counts


def _check(windows: int, size: int, noise: float) -> None:
    if isinstance(windows, bool) or not isinstance(windows, int) or windows < 2:
        raise ParameterError(f"event_digits: windows must be an integer >= 2, got {windows!r}; raise it.")
    if isinstance(size, bool) or not isinstance(size, int) or size < _SCAN + 6:
        raise ParameterError(f"event_digits: size must be an integer >= {_SCAN + 6}, got {size!r}; raise it.")
    if not 0 <= noise < np.inf:
        raise ParameterError(f"event_digits: noise must be a number >= 0, got {noise!r}; pass such a one.")


def _balanced(rng: np.random.Generator, digits: NDArray[np.int64], kinds: int) -> NDArray[np.int64]:
    """Kinds 0..kinds-1, shuffled, equally often within every digit (up to one)."""
    found = np.zeros(len(digits), np.int64)
    for digit in range(10):
        places = np.flatnonzero(digits == digit)
        found[places] = rng.permutation(np.arange(len(places)) % kinds)
    return found


def _arcs(rng: np.random.Generator, turns: NDArray[np.int64], instants: int, size: int) -> Floats:
    """Upper left corners ``[N, instants, 2]`` (y, x) of the scans along random arcs inside the picture."""
    samples = len(turns)
    middle = (size - _SCAN) / 2
    radius = rng.uniform(0.6, 0.9, samples) * (middle - 0.25)
    start = rng.uniform(0, 2 * np.pi, samples)
    sweep = rng.uniform(0.45, 0.8, samples) * 2 * np.pi
    angle = start[:, None] + np.where(turns == 0, sweep, -sweep)[:, None] * np.linspace(0, 1, instants)
    circle = np.stack([np.sin(angle), np.cos(angle)], -1)  # y down: growing angles run clockwise
    centre = middle + rng.uniform(-0.25, 0.25, (samples, 1, 2))
    return centre + radius[:, None, None] * circle


def _render(scans: Floats, corners: Floats, size: int) -> Floats:
    """Ink ``[N, instants, size, size]`` in 0..1 of scans moved to sub-pixel corners (bilinear)."""
    rows = _placement(corners[..., 0], size)
    columns = _placement(corners[..., 1], size)
    return rows @ scans[:, None] @ np.swapaxes(columns, -1, -2)


def _placement(corner: Floats, size: int) -> Floats:
    """Matrices ``[N, instants, size, 8]`` that put a scan's lines at a sub-pixel offset."""
    pixel = np.arange(size)[:, None] - np.arange(_SCAN)
    return np.maximum(1 - np.abs(pixel - corner[..., None, None]), 0)
