"""A platform whose containers are Docker's: from a deployment to the end, in order and not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.live import Platform, residents, running, until
from support import docker

from instainfer.docker import node_of

pytestmark = pytest.mark.acceptance

CODE = """
import os, pathlib

def load():
    global weights
    weights = pathlib.Path("net.bin").read_text()

def main(args):
    kept = pathlib.Path(os.environ["XDG_CACHE_HOME"], "kept")
    before = kept.read_text() if kept.exists() else ""
    kept.write_text("by the last call")
    print("called")
    return {"weights": weights, "kept": before, "alone": os.getpid() < 1000}
"""
FILES = {
    "function.toml": 'name = "f"\nhandler = "handler"\nweights = ["net.bin"]\n',
    "handler.py": CODE,
    "net.bin": "the weights",
    "sample.json": "{}",
}


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    env = {"INSTAINFER_DOCKER__IMAGE": docker.image().name}
    with running(tmp_path, "--backend", "docker", **env) as up:
        yield up
    assert everything_of(up) == []


def everything_of(platform: Platform) -> list[str]:
    """The containers and networks of a platform."""
    label = f"label=instainfer.node={node_of(platform.home)}"
    found = []
    for words in (["ps", "-aq"], ["network", "ls", "-q"]):
        told = subprocess.run(["docker", *words, "--filter", label], check=True, capture_output=True, text=True)
        found += told.stdout.split()
    return found


def test_a_function_is_deployed_called_and_found_again_after_the_platform_was_killed(platform: Platform) -> None:
    platform.deploy("f", FILES)
    first = platform.call("f", result="true")
    assert first.json() == {"weights": "the weights", "kept": "by the last call", "alone": True}, "the sample was first"
    assert platform.status()["nodes"][0]["backend"] == "docker"
    assert residents(platform.status())["f"] == "loaded"
    assert any("called" in line for line in platform.cli("logs", "f").out.splitlines())
    assert len(everything_of(platform)) >= 2

    platform.kill()
    until(lambda: len(everything_of(platform)) == 1)  # the containers end by themselves, and the network is left
    platform.start()
    assert platform.call("f", result="true").json()["weights"] == "the weights"
    platform.says("network: open")


def test_without_the_image_the_start_says_how_it_is_made(tmp_path: Path) -> None:
    docker.image()
    platform = Platform(tmp_path, INSTAINFER_DOCKER__IMAGE="nowhere:latest")
    said = platform.cli("up", "--backend", "docker", "--port", "0", code=1)
    assert "instainfer image build --tag nowhere:latest" in said.err
