"""Predicts the next gap between two calls by a random forest, from the last eight gaps.

Algorithm. Eight consecutive gaps and the gap that followed them are one example; all values are logarithms. Each
regression tree of the forest is grown on a random sample of the examples. The prediction for the last eight gaps is the
mean over the trees (`instainfer.forecasting.forest`). The errors of the model are measured on examples that a tree was
not grown on (out of bag); on the others they would be too small. `fitted` describes how the predicted value becomes a
distribution of the next call.

Worked example. Calls come in threes: two gaps of 2 s, then one of 100 s, again and again. After two short gaps the
forest predicts 100 s, and after a long one 2 s. Neither a mean nor a line through the last gaps can do this. After two
short gaps, P(call within 50 s) is below a tenth; after a long one, it is above nine tenths.

Sources. Breiman, "Random Forests", Machine Learning 45 (2001). A random forest is one of the predictors in Table 4 of
the paper (SoCC 2024), and the worst one there: about sixty gaps are little to learn from.

Caveats. It needs the extra ``forecast``. A fit takes about 30 ms in the event loop of its node (`fitted` says how often
that happens). A forest never predicts a value outside of what it has seen, so it cannot follow a trend.
"""

from __future__ import annotations

from .fitted import Fitted


class Forest(Fitted):
    """`fit` comes from `instainfer.forecasting.forest`. `horizon_s` is how far ahead the forecast's rate looks."""
