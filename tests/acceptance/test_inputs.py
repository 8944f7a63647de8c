"""What users have on their disks and send is taken: files in any encoding, tools, lists, and images of several MB."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from live import HELLO, Platform, running, write

pytestmark = pytest.mark.acceptance

MIB = 1024 * 1024


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


@pytest.mark.parametrize("size", [5 * MIB, 31 * MIB])
def test_an_image_of_several_mb_goes_in_and_out(platform: Platform, size: int) -> None:
    platform.put("image", "def main(args):\n    return {'image': args['image'], 'first': args['image'][:3]}")
    image = "iVB" + "x" * (size - 3)
    answer = platform.call("image", {"image": image}, result="true")
    assert answer.status_code == 200, answer.text[:1000]
    assert answer.json() == {"image": image, "first": "iVB"}
    whole = platform.call("image", {"image": image})
    assert whole.json()["response"]["result"] == {"image": image, "first": "iVB"}
    kept = platform.record(whole.headers["x-openwhisk-activation-id"])
    assert "went to the caller" in kept["response"]["result"]["omitted"]
    assert platform.ended_record(platform.accept("image", {"image": image}))["response"]["result"]["image"] == image
    too_large = platform.call("image", {"image": "x" * 33 * MIB})
    assert too_large.status_code == 413
    assert "server.max_body_bytes" in too_large.json()["error"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_as_the_reference_has_it(platform: Platform) -> None:
    platform.put("hello", HELLO)
    url = "$APIHOST/api/v1/namespaces/_/actions/hello?blocking=true&result=true"
    command = f""". home/credentials; curl -s -u "$AUTH" "{url}" -d '{{"name": "Ada"}}'"""
    ran = subprocess.run(["sh", "-c", command], cwd=platform.folder, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == {"hello": "Ada"}
    assert json.loads(platform.cli("activations", "--last", "--name", "hello", "--json").out)["name"] == "hello"
