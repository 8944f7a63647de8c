"""The configuration as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from instainfer.config import EnvironmentsConfig, load_config


def test_folders_are_absolute_wherever_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative home made every call fail: a container works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INSTAINFER_HOME", "here")
    monkeypatch.delenv("INSTAINFER_CACHE", raising=False)
    config = load_config()
    assert (config.home, config.cache_dir) == (tmp_path / "here", tmp_path / "here" / "cache")
    assert load_config(cache="there").cache_dir == tmp_path / "there"


def test_variables_for_all_functions_are_a_table_and_may_be_any_that_can_be_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("instainfer.toml").write_text('[node.env]\nOMP_NUM_THREADS = "1"\nhttp_proxy = "http://here:3128"\n')
    assert load_config().node.env == {"OMP_NUM_THREADS": "1", "http_proxy": "http://here:3128"}
    monkeypatch.setenv("INSTAINFER_NODE__ENV", '{"MIRROR": "x"}')
    assert load_config().node.env["MIRROR"] == "x"
    with pytest.raises(ValidationError, match="'A=B' cannot be a variable"):
        load_config(node={"env": {"A=B": "1"}})


def test_where_packages_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("instainfer.toml").write_text(
        '[environments]\nconstraints = "c.txt"\nindex_url = "http://a/simple"\nextra_index_urls = ["http://b/simple"]\n'
    )
    wanted = load_config().environments
    assert wanted.constraints == tmp_path / "c.txt"
    assert (wanted.index_url, wanted.extra_index_urls) == ("http://a/simple", ("http://b/simple",))
    assert EnvironmentsConfig(hosts=("files.example.org", "a:8080")).hosts == ("files.example.org", "a:8080")
    for host in ("https://a", "a/b", "a:b", "a:0", "a:70000", "", ":80", "me@a"):
        with pytest.raises(ValidationError, match="is not a host; write NAME or NAME:PORT"):
            EnvironmentsConfig(hosts=(host,))
    for wrong in ({"index_url": "http://a b"}, {"extra_index_urls": ["http://a\n"]}):
        with pytest.raises(ValidationError, match="is not an address"):
            load_config(environments=wrong)
