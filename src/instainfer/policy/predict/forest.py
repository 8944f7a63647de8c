"""Gaps by example: a random forest from the last eight gaps to the next one.

Algorithm. Every eight consecutive gaps (their logarithms) and the one that followed them are an example. A forest of
regression trees, each grown on a sample of the examples, is asked what follows the last eight; it answers with the
mean over its trees (`instainfer.forecasting.forest`). Its errors are those on examples that a tree had not been shown
(out of bag), or they would be flattering. How the forecast of a value becomes a distribution of the next call stands
in `fitted`.

Worked example. Calls come in threes: two gaps of 2 s, one of 100 s, and again. After two short gaps the forest says
100 s, after a long one 2 s, which neither a mean nor a line through the last gaps can do. With two short gaps behind
it, P(call within 50 s) is below a tenth; with a long one, above nine tenths.

Sources. Breiman, "Random Forests", Machine Learning 45 (2001). A random forest is a predictor of Table 4 of the paper
(SoCC 2024), where it comes last: with some sixty gaps to learn from there is little to find.

Caveats. Needs the extra ``forecast``. A fit takes some 30 ms (see `fitted` for how rarely) in the event loop of its
node. A forest never says what it has not seen: it does not follow a trend beyond the gaps in memory.
"""

from __future__ import annotations

from .fitted import Fitted


class Forest(Fitted):
    """`fit`: `instainfer.forecasting.forest.fitter`; `horizon_s`: how far ahead the forecast's rate looks."""
