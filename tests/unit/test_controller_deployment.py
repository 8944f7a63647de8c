"""What a node is told of a function that was put: its template, and whether its models are built for loading."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.controllers import archive, standing

from instainfer.backends.base import FunctionSpec, TemplateSpec
from instainfer.core.model import Function, template_key


def registered(
    home: Path, manifest: str, *weights: str, modules: Sequence[str] = (), **parts: Any
) -> tuple[Function, FunctionSpec]:
    async def run() -> tuple[Function, FunctionSpec]:
        async with standing(home, **parts) as stand:
            files = {"handler.py": "def main(args):\n    return {}\n", "function.toml": manifest}
            files |= dict.fromkeys([f"{name}.py" for name in modules], "") | dict.fromkeys(weights, "w")
            code = archive(files)
            response = await stand.put("f", exec={"kind": "python:3", "code": code, "binary": True})
            assert response.status_code == 200, response.text
            ((function, spec, _),) = stand.link.functions.values()
            return function, spec

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("manifest", "fast_init", "modules"),
    [("", False, ()), ('fast_init = true\ntemplate = ["json", "os.path"]\n', True, ("json", "os.path"))],
)
def test_a_template_is_that_of_namespace_and_environment(
    tmp_path: Path, manifest: str, fast_init: bool, modules: tuple[str, ...]
) -> None:
    function, spec = registered(tmp_path, manifest)
    assert function.templated
    assert function.template == template_key(function.namespace, "env-0-own")
    assert spec.fast_init is fast_init
    assert spec.template == TemplateSpec(function.template, spec.python, modules)


def test_a_function_with_variables_of_its_own_has_no_template(tmp_path: Path) -> None:
    function, spec = registered(tmp_path, 'template = ["json"]\n[env]\nOMP_NUM_THREADS = "1"\n')
    assert not function.templated
    assert spec.template is None
    assert spec.env["OMP_NUM_THREADS"] == "1"


def test_what_is_known_of_an_action_is_in_its_variables_before_the_first_call(tmp_path: Path) -> None:
    _, spec = registered(tmp_path, "")
    assert spec.env == {
        "__OW_API_HOST": "http://127.0.0.1:3233",
        "__OW_NAMESPACE": "guest",
        "__OW_ACTION_NAME": "/guest/f",
        "__OW_ACTION_VERSION": "0.0.1",
    }


@pytest.mark.parametrize(("own", "is_templated"), [("queue", False), ("my_queue", True)])
def test_a_function_whose_module_hides_a_library_has_no_template(tmp_path: Path, own: str, is_templated: bool) -> None:
    function, spec = registered(tmp_path, "", modules=(own,))
    assert function.templated is is_templated
    assert (spec.template is not None) is is_templated


HUB = "models/hub/models--acme--tiny/snapshots/1/model.safetensors"


@pytest.mark.parametrize("own", ["", '[env]\nHF_HUB_OFFLINE = "0"\n'])
def test_hubs_of_models_among_the_weights_are_found_without_a_network(tmp_path: Path, own: str) -> None:
    function, spec = registered(tmp_path, f'weights = ["{HUB}"]\n{own}', HUB)
    offline = "0" if own else "1"
    hub = str(spec.folder / "models" / "hub")
    told = {name: value for name, value in spec.env.items() if not name.startswith("__OW_")}
    assert told == {"HF_HUB_CACHE": hub, "HF_HUB_OFFLINE": offline, "TRANSFORMERS_OFFLINE": "1"}
    assert not function.templated, "a library template has read these variables before"


@pytest.mark.parametrize(
    ("manifest", "cache_mb", "lasts"), [("", 1024, True), ("fresh = true\n", 1024, False), ("", 0, False)]
)
def test_a_cache_lasts_unless_nothing_of_a_call_may_reach_the_next(
    tmp_path: Path, manifest: str, cache_mb: int, lasts: bool
) -> None:
    _, spec = registered(tmp_path, manifest, limits={"cache_mb": cache_mb})
    assert (spec.cache is not None and (spec.cache / "common").is_dir()) is lasts
