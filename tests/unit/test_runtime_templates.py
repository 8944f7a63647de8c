"""What a manager knows of its templates."""

from __future__ import annotations

from instainfer.runtime.templates import MOST_ATTEMPTS, Templates
from instainfer.wire.messages import Template

TEMPLATE = Template("template:guest/e", "/env/bin/python", ["numpy", "numpy.linalg", "torch"], ["/code/f"])


def test_a_module_that_does_harm_is_left_out_with_what_is_in_it() -> None:
    templates = Templates()
    assert templates.leave_out(TEMPLATE, "numpy", "it starts a thread")
    assert templates.modules(TEMPLATE) == ["torch"]


def test_a_template_that_blames_what_it_was_not_to_import_is_given_up() -> None:
    """It would be made anew without end."""
    templates = Templates()
    assert templates.leave_out(TEMPLATE, "numpy", "it starts a thread")
    assert not templates.leave_out(TEMPLATE, "numpy", "it starts a thread")
    attempts = [templates.leave_out(TEMPLATE, f"nothing_{number}", "so it says") for number in range(10)]
    assert attempts.count(True) < MOST_ATTEMPTS
