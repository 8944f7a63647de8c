"""What users have on their disks and send is taken: files in any encoding, tools, lists, and images of several MB."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from live import Platform, running, write

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running(tmp_path_factory.mktemp("inputs")) as up:
        yield up


def test_a_folder_from_another_system_with_a_tool_of_its_own(platform: Platform) -> None:
    folder = platform.folder / "functions" / "tool"
    handler = """
        import subprocess
        def main(args):
            return [args["text"], subprocess.run(["bin/tool"], capture_output=True, text=True).stdout]
    """
    write(folder, {"handler.py": handler, "bin/tool": "#!/bin/sh\necho done\n"})
    (folder / "bin/tool").chmod(0o700)
    (folder / "function.toml").write_text('name = "tool"\n', encoding="utf-16")
    (folder / "requirements.txt").write_text("# none\n", encoding="utf-8-sig")
    (folder / "sample.json").write_text('{"text": "ü"}', encoding="utf-16")
    assert "sample.json is answered" in platform.cli("deploy", str(folder)).err
    said = platform.cli("invoke", "tool", "--data", f"@{folder / 'sample.json'}")
    assert json.loads(said.out) == ["ü", "done\n"]
    assert "start-up" in said.err
