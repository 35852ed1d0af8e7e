"""The search: sensitivities, the integer program, and a check of what it chose by running it.

Sensitivities add up only near the choice they were measured at. So they are measured at several: at the most
precise choice and at uniform ones about the budget; then at the best choice so far, from which the program
may change a few places, as long as that helps. Every choice is run before it counts, and the best uniform one
takes part: a plan is never worse than it on the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from .allocate import Near, Problem, allocate, check_budget, smallest_cost
from .resources import Resource, problem_of
from .sensitivity import Tables, sensitivities
from .structure import Structure
from .trial import Choice, Measured, Trial, measured

__all__ = ["Found", "Search", "Uniform"]

_ROUNDS = 8
#: Places that may change at once from a choice; None: all. Sensitivities hold best for few.
_CHANGES = (2, 3, 4, None)
#: Uniform choices above the budget from which the program also starts.
_ABOVE = (1.5, 2.5)


@dataclass(frozen=True)
class Found:
    """A choice with its cost and its measured loss; ``predicted`` is what the program expected, else None."""

    choice: Choice
    cost: float
    loss: float
    predicted: float | None = None


@dataclass(frozen=True)
class Uniform:
    """One T and one width for all layers."""

    time_steps: int
    weight_bits: int
    cost: float
    loss: float


class Search:
    """Plans for any number of budgets over the same measurements.

    Args:
        trial: The network.
        structure: What can be chosen.
        data: What it is measured on.
        resource: What is limited.
        progress: Show a bar.
        owner: Name for messages.
    """

    def __init__(
        self,
        trial: Trial,
        structure: Structure,
        data: Measured,
        resource: Resource,
        *,
        progress: bool = True,
        owner: str = "budget plan",
    ) -> None:
        self.trial, self.structure, self.data = trial, structure, data
        self.resource, self.progress, self.owner = resource, progress, owner
        self._tables: dict[Choice, Tables] = {}
        self._losses: dict[Choice, float] = {}
        zeros = [[0.0] * len(trial.bits) for _ in structure.layers]
        self._costs = self._problem(([[0.0] * len(trial.steps)] * len(structure.groups), zeros))  # type: ignore[arg-type]

    def loss(self, choice: Choice) -> float:
        """Measured loss of a choice; each is measured once."""
        if choice not in self._losses:
            self._losses[choice] = measured(self.trial, self.data, choice)
        return self._losses[choice]

    def cost(self, choice: Choice) -> float:
        """Cost of a choice."""
        fixed = (0,) * (len(self._costs.layers) - len(choice[1]))
        return self._costs.cost(choice[0], (*choice[1], *fixed))

    @property
    def smallest(self) -> float:
        """The least any choice costs."""
        return smallest_cost(self._costs)

    def uniform(self) -> list[Uniform]:
        """Every uniform choice, measured."""
        pairs = [(t, b) for t in range(len(self.trial.steps)) for b in range(len(self.trial.bits))]
        found = []
        for t, b in tqdm(pairs, desc="uniform choices", disable=not self.progress, leave=False):
            choice = self.same(t, b)
            steps, bits = self.trial.steps[t], self.trial.bits[b]
            found.append(Uniform(steps, bits, self.cost(choice), self.loss(choice)))
        return found

    def same(self, t: int, b: int) -> Choice:
        """The uniform choice of these indices."""
        return (t,) * len(self.structure.groups), (b,) * len(self.structure.layers)

    def plan(self, budget: float) -> Found:
        """The best choice found whose cost is at most ``budget``.

        Raises:
            ParameterError: There is none; the message says the smallest reachable.
        """
        check_budget(self._costs, budget, self.owner)
        precise = self.same(_largest(self.trial.steps), _largest(self.trial.bits))
        uniform = [self._best_uniform(budget * factor) for factor in (1.0, *_ABOVE)]
        starts = dict.fromkeys([precise, *(found.choice for found in uniform if found is not None)])
        tried = [self._solved(at, budget) for at in starts]
        best = min([*tried, *(found for found in uniform[:1] if found is not None)], key=_by_loss)
        for _ in range(_ROUNDS):
            near = [self._solved(best.choice, budget, changes) for changes in _CHANGES]
            found = min(near, key=_by_loss)
            if found.loss >= best.loss:
                break
            best = found
        return best

    def _best_uniform(self, budget: float) -> Found | None:
        fitting = [u for u in self.uniform() if u.cost <= budget]
        if not fitting:
            return None
        best = min(fitting, key=lambda u: u.loss)
        choice = self.same(self.trial.steps.index(best.time_steps), self.trial.bits.index(best.weight_bits))
        return Found(choice, best.cost, best.loss)

    def at(self, choice: Choice) -> Tables:
        """Sensitivities at a choice; each is measured once."""
        if choice not in self._tables:
            total = len(choice[0]) * (len(self.trial.steps) - 1) + len(choice[1]) * (len(self.trial.bits) - 1)
            with tqdm(total=total, desc="sensitivities", disable=not self.progress, leave=False) as bar:
                tick: Callable[[], object] = bar.update
                self._tables[choice] = sensitivities(self.trial, self.data, choice, tick)
        return self._tables[choice]

    def near(self, choice: Choice, budget: float, changes: int) -> Found:
        """What the program finds best among choices that differ from one in at most so many places."""
        return self._solved(choice, budget, changes)

    def _solved(self, at: Choice, budget: float, changes: int | None = None) -> Found:
        problem = self._problem(self.at(at))
        near = None if changes is None else Near(*at, changes)
        found = allocate(problem, budget, near=near, owner=self.owner)
        choice = found.steps, found.widths[: len(self.structure.layers)]
        return Found(choice, found.cost, self.loss(choice), found.loss)

    def _problem(self, tables: Tables) -> Problem:
        return problem_of(self.structure, self.trial.steps, self.trial.bits, self.resource, *tables)


def _by_loss(found: Found) -> float:
    return found.loss


def _largest(values: Sequence[int]) -> int:
    return max(range(len(values)), key=values.__getitem__)
