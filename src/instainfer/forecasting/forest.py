"""Random forests, grown by scikit-learn. Our own Python code walks down the trees, which for a single question is a
hundred times faster than the library's interface.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from . import missing

LAGS: Final = 8
"""Number of latest values from which a tree predicts the next."""
TREES: Final = 30
LEAST_IN_LEAF: Final = 2
SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Tree:
    """A decision tree: each tuple has an entry for each node, the root first. Leaves have a negative feature."""

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    low: tuple[int, ...]
    """Next node when the feature is at most the threshold."""
    high: tuple[int, ...]
    value: tuple[float, ...]

    def answer(self, question: Sequence[float]) -> float:
        node = 0
        while (feature := self.feature[node]) >= 0:
            node = self.low[node] if question[feature] <= self.threshold[node] else self.high[node]
        return self.value[node]


@dataclass(frozen=True, slots=True)
class ForestModel:
    trees: tuple[Tree, ...]
    errors: tuple[float, ...]

    def next(self, series: Sequence[float]) -> float:
        question = series[-LAGS:]
        return fmean(tree.answer(question) for tree in self.trees)


def fitter() -> Callable[[Sequence[float]], ForestModel]:
    """Return a function that fits a series of more than `LAGS` values. Raises `HostError` without scikit-learn."""
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ModuleNotFoundError as error:
        raise missing("forest", "scikit-learn") from error

    def fit(series: Sequence[float]) -> ForestModel:
        questions = [series[n : n + LAGS] for n in range(len(series) - LAGS)]
        answers = series[LAGS:]
        forest = RandomForestRegressor(TREES, min_samples_leaf=LEAST_IN_LEAF, oob_score=True, random_state=SEED)
        forest.fit(questions, answers)
        said = map(float, forest.oob_prediction_)
        errors = tuple(answer - was for answer, was in zip(answers, said, strict=True))
        return ForestModel(tuple(_tree(each.tree_) for each in forest.estimators_), errors)

    return fit


def _tree(tree: Any) -> Tree:
    return Tree(
        tuple(tree.feature.tolist()),
        tuple(tree.threshold.tolist()),
        tuple(tree.children_left.tolist()),
        tuple(tree.children_right.tolist()),
        tuple(tree.value[:, 0, 0].tolist()),
    )
