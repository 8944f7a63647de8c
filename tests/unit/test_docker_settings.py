"""What the Engine is asked for, and what is known without asking it."""

from __future__ import annotations

import importlib
import io
import json
import sys
import tarfile
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from instainfer.backends.docker import images, networks
from instainfer.backends.docker.settings import BESIDE_BYTES, CAPABILITIES, Mount, limits, manager_settings, sealed
from instainfer.core.model import MIB
from instainfer.errors import BadInput, HostError


def test_a_container_can_gain_nothing_and_writes_nowhere_but_where_it_may() -> None:
    settings = sealed("image", [Mount(Path("/read")), Mount(Path("/write"), writable=True)], network="none")
    host = settings["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] == []
    assert host["ReadonlyRootfs"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert {mount["Target"]: mount["ReadOnly"] for mount in host["Mounts"]} == {"/read": True, "/write": False}
    assert all(mount["Source"] == mount["Target"] for mount in host["Mounts"])


def test_a_manager_has_the_limit_without_swap_and_a_share_of_the_processors() -> None:
    host = manager_settings("image", 512 * MIB, Path("/c"), token="t", network="none")["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 512 * MIB + BESIDE_BYTES
    assert host["CpuShares"] == 512
    assert host["CapAdd"] == list(CAPABILITIES)
    assert host["ShmSize"] == 512 * MIB
    assert limits(1)["CpuShares"] == 2, "the Engine accepts no smaller share"


def test_only_a_manager_that_puts_up_fences_may_change_its_network() -> None:
    settings = manager_settings("image", 512 * MIB, Path("/c"), token="t", network="n", fences=["169.254.0.0/16"])
    assert settings["HostConfig"]["CapAdd"] == [*CAPABILITIES, "NET_ADMIN"]
    assert "INSTAINFER_FENCES=169.254.0.0/16" in settings["Env"]


def test_the_filter_of_system_calls_allows_a_namespace_of_users_and_no_other() -> None:
    settings = manager_settings("image", 512 * MIB, Path("/c"), token="t", network="none")
    (words,) = [option for option in settings["HostConfig"]["SecurityOpt"] if option.startswith("seccomp=")]
    profile = json.loads(words.removeprefix("seccomp="))
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    always = [rule for rule in profile["syscalls"] if not rule.get("includes")]
    assert [rule["args"] for rule in always if "unshare" in rule["names"]] == [
        [{"index": 0, "value": 0x10000000, "op": "SCMP_CMP_EQ"}]
    ]
    allowed = {name for rule in always for name in rule["names"]}
    assert not allowed & {"mount", "setns", "bpf", "io_uring_setup", "process_vm_readv", "keyctl", "pidfd_getfd"}


def test_the_addresses_of_this_machine_are_found_in_the_kernels_table() -> None:
    trie = (
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n"
        "     |-- 10.1.2.3\n        /32 host LOCAL\n     |-- 10.1.2.255\n        /32 link BROADCAST\n"
        "Local:\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 172.17.0.1\n        /32 host LOCAL\n"
    )
    assert list(networks._own_addresses(trie)) == ["10.1.2.3", "172.17.0.1"]


def test_a_pool_has_room_for_many_namespaces() -> None:
    assert len(list(IPv4Network("10.213.0.0/16").subnets(new_prefix=networks._PREFIX))) == 256


def test_the_context_of_our_image_has_what_runs_inside_and_nothing_else() -> None:
    with tarfile.open(fileobj=io.BytesIO(images._packed_code())) as archive:
        names = archive.getnames()
    assert "Dockerfile" in names
    assert "instainfer/runtime/joining.py" in names
    tops = {name.split("/")[1] for name in names if "/" in name}
    assert tops == {"__init__.py", "runtime", "wire"}
    assert images._packed_code() == images._packed_code()


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "instainfer.backends.docker.engine"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiodocker", None)
    with pytest.raises(HostError, match=r"pip install 'instainfer\[docker\]'"):
        importlib.import_module(name)


def test_a_folder_that_is_no_root_file_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="usr/bin/python3"):
        images._pack_root(tmp_path, io.BytesIO())
