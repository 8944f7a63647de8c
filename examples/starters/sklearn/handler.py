"""Tell the species of an iris from the sizes of its sepal and petal in cm, with scikit-learn.

{"flower": [5.1, 3.5, 1.4, 0.2]}  ->  {"species": "setosa", "probability": 0.98}
"""

from __future__ import annotations

import functools
from typing import Any

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

SPECIES = ("setosa", "versicolor", "virginica")


@functools.cache
def load() -> Pipeline:
    """The model, ready to answer. Called before the first request."""
    # It is small enough to be trained here. For a model of your own: return joblib.load("model.joblib")
    flowers, species = load_iris(return_X_y=True)
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(flowers, species)


def main(args: dict[str, Any]) -> dict[str, Any]:
    """Answer one request."""
    flower = args.get("flower")
    if not isinstance(flower, list) or len(flower) != 4:
        return {"error": 'the request needs a "flower" of four numbers'}
    chances = load().predict_proba([flower])[0]
    best = int(chances.argmax())
    return {"species": SPECIES[best], "probability": float(chances[best])}
