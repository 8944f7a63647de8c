"""Where packages come from on this host: what pip's and uv's own configuration says, and what follows from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from instainfer.environments import origins
from instainfer.environments.origins import Host, Origins, host_origins
from instainfer.errors import HostError

PUBLIC = {Host("pypi.org", 443, is_named=False), Host("files.pythonhosted.org", 443, is_named=False)}


@pytest.fixture(autouse=True)
def bare_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with nothing configured, whose user's files are in the folder."""
    taken = ("PIP_", "UV_", "XDG_", "SSL_", "NETRC", "REQUESTS_CA", "CURL_CA", "LD_LIBRARY", "SOURCE_DATE")
    for name in [name for name in os.environ if name.startswith(taken)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(origins, "pip_configuration_files", lambda: [tmp_path / "pip.conf"])
    return tmp_path


def test_of_the_platforms_variables_only_those_for_tools_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"INSTAINFER_KEY": "k", "AWS_SECRET_ACCESS_KEY": "s", "PIP_TARGET": "/x", "PIP_RETRIES": "2", "TZ": "UTC"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = host_origins({}).variables
    assert found["PIP_RETRIES"] == "2"
    assert found["TZ"] == "UTC"
    assert set(found) <= {"LANG", "LC_ALL", "LC_CTYPE", "PATH", "TZ", "PIP_RETRIES"}


def test_without_configuration_packages_come_from_the_public_index() -> None:
    assert host_origins({}).hosts() == PUBLIC
    assert host_origins({"PIP_INDEX_URL": "https://packages.example.org/simple"}).hosts(["other", "a.b:81"]) == {
        Host("packages.example.org", 443),
        Host("other", None),
        Host("a.b", 81),
    }


def test_pips_files_become_variables(bare_host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    links = bare_host / "links"
    links.mkdir()
    (bare_host / "pip.conf").write_text(
        "[global]\nindex-url = http://one.example.org:8080/simple\nfind-links =\n    ~/links\n    /nonexistent\n"
        "no-binary = x\n[install]\ntrusted_host = one.example.org\n[download]\nretries = 9\n"
    )
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://two.example.org/simple")
    found = host_origins({})
    variables = {name: value for name, value in found.variables.items() if name.startswith("PIP_")}
    assert variables == {
        "PIP_INDEX_URL": "http://one.example.org:8080/simple",
        "PIP_FIND_LINKS": f"{links} /nonexistent",
        "PIP_TRUSTED_HOST": "one.example.org",
        "PIP_EXTRA_INDEX_URL": "https://two.example.org/simple",
    }
    assert found.hosts() == {Host("one.example.org", 8080), Host("two.example.org", 443)}
    assert found.paths() == [links]


def test_a_damaged_file_is_named(bare_host: Path) -> None:
    (bare_host / "pip.conf").write_text("index-url = x\n")
    with pytest.raises(HostError, match="the configuration of pip cannot be read"):
        host_origins({})


def test_an_index_in_a_folder_is_seen_with_its_files(bare_host: Path) -> None:
    index = bare_host / "mirror" / "simple"
    index.mkdir(parents=True)
    found = host_origins({"PIP_INDEX_URL": index.as_uri()})
    assert found.paths() == [index.parent, index]
    assert found.hosts() == frozenset()


def test_uvs_own_file(bare_host: Path) -> None:
    file = bare_host / ".config" / "uv" / "uv.toml"
    file.parent.mkdir(parents=True)
    cache = bare_host / "secret"
    cache.mkdir()
    file.write_text(
        f'cache-dir = "{cache}"\n[[index]]\nurl = "https://u:p@packages.example.org/simple"\ndefault = true\n'
    )
    found = host_origins({})
    assert found.hosts() == {Host("packages.example.org", 443)}
    assert found.paths() == []
    assert "u:p@" in found.uv_file
    assert "u:p@" not in found.without_secrets().uv_file
    file.write_text("index-url = ")
    with pytest.raises(HostError, match="the configuration of uv cannot be read"):
        host_origins({}).hosts()


def test_secrets_are_left_out_for_code_of_packages(bare_host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare_host / ".netrc").write_text(
        "machine packages.example.org login me password hidden1\nmachine mail.example.org login me password hidden2\n"
    )
    (bare_host / ".netrc").chmod(0o600)
    monkeypatch.setenv("UV_INDEX_OWN_PASSWORD", "hidden3")
    monkeypatch.setenv("PIP_CLIENT_CERT", "/hidden4.pem")
    found = host_origins(
        {"PIP_INDEX_URL": "https://packages.example.org/simple", "UV_INDEX": "https://me:hidden5@other.example.org/"}
    )
    assert found.logins == "machine packages.example.org login me password hidden1\n"
    bare = found.without_secrets()
    assert "hidden" not in str(bare)
    assert bare.variables["UV_INDEX"] == "https://other.example.org/"
    assert bare.hosts() == found.hosts() == {Host("packages.example.org", 443), Host("other.example.org", 443)}


def test_sources_given_as_arguments() -> None:
    assert Origins({}).with_arguments(["--no-index", "--find-links", "/usr"]).paths() == [Path("/usr")]
    assert Origins({}).with_arguments(["--no-index"]).hosts() == frozenset()
    assert Origins({}).with_arguments(["--index-url", "http://127.0.0.1:9/"]).hosts() >= {Host("127.0.0.1", 9)}
