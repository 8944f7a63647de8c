"""What `fast_init` must get right, each case with real PyTorch. Run in a function's environment::

python fast_init_cases.py FOLDER    ->    {"case": "" or what went wrong, ...}
"""

from __future__ import annotations

import functools
import gc
import json
import mmap
import sys
import traceback
import warnings
from pathlib import Path

# The first case of all: PyTorch is imported inside.
from instainfer.runtime.fast_init import FastInit, FastInitError

FINDERS = list(sys.meta_path)
with FastInit(wanted=True):
    import torch
    from torch import nn

    INSIDE = torch.load

ORIGINAL = torch.load
FOLDER = Path(sys.argv[1])
VALUES = torch.arange(12.0).reshape(3, 4)


def patched() -> list[object]:
    stack = torch.utils._python_dispatch._get_current_dispatch_mode_stack()
    owned = [vars(torch.UntypedStorage).get("from_file"), vars(torch.Tensor).get("numpy")]
    return [torch.load, *owned, *stack, *sys.meta_path]


def saved(value: object, name: str = "weights.pt", **options: object) -> Path:
    path = FOLDER / name
    torch.save(value, path, **options)
    return path


def linear_file(name: str = "weights.pt") -> Path:
    return saved({"weight": VALUES.clone(), "bias": torch.ones(3)}, name)


def complaint(build: object) -> str:
    """What is said of a load that builds this and loads nothing."""
    try:
        with FastInit(wanted=True):
            kept = build()
    except FastInitError as error:
        return str(error)
    raise AssertionError(f"{kept} passed")


def case_pytorch_is_noticed_when_it_is_imported() -> None:
    assert INSIDE is not ORIGINAL
    assert sys.meta_path == FINDERS
    assert torch.__spec__.loader is torch.__loader__
    assert "fast_init" not in type(torch.__loader__).__module__
    assert "torch._dynamo" not in sys.modules, "a second's worth of compiler was imported"


def case_everything_is_restored() -> None:
    before = patched()
    with FastInit(wanted=True):
        during = patched()
        net = nn.Linear(4, 3)
        net.load_state_dict(torch.load(linear_file()))
    assert patched() == before
    assert all(old is not new for old, new in zip(before[:3], during[:3], strict=True))


def case_everything_is_restored_after_an_error() -> None:
    before = patched()
    try:
        with FastInit(wanted=True):
            nn.Linear(4, 3)
            raise KeyError("mine")
    except KeyError:
        pass
    assert patched() == before
    complaint(functools.partial(nn.Linear, 4, 3))
    assert patched() == before


def case_what_the_function_has_replaced_stays() -> None:
    mine = functools.partial(ORIGINAL, weights_only=True)
    with FastInit(wanted=True):
        torch.load = mine
    assert torch.load is mine
    torch.load = ORIGINAL


def case_weights_are_taken_over_and_the_file_is_never_written() -> None:
    path = linear_file()
    content = path.read_bytes()
    with FastInit(wanted=True):
        net = nn.Linear(4, 3)
        weight = net.weight
        state = torch.load(path)
        net.load_state_dict(state)
    assert net.weight is weight
    assert net.weight.data_ptr() == state["weight"].data_ptr()
    assert net.weight.requires_grad
    assert torch.equal(net.weight, VALUES)
    with torch.no_grad():
        net.weight.zero_()
    assert path.read_bytes() == content


def case_a_shared_mapping_is_copied_from() -> None:
    path = linear_file()
    content = path.read_bytes()
    with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED), FastInit(wanted=True):
        net = nn.Linear(4, 3)
        net.load_state_dict(torch.load(path))
    with torch.no_grad():
        net.weight.zero_()
    assert path.read_bytes() == content


def case_what_lies_askew_in_its_file_is_copied() -> None:
    # As in safetensors files: kernels round differently from there, and the plain path never has weights there.
    path = FOLDER / "askew.bin"
    path.write_bytes(bytes(24) + VALUES.numpy().tobytes())
    with FastInit(wanted=True):
        net = nn.Linear(4, 3)
        storage = torch.UntypedStorage.from_file(str(path), False, 24 + VALUES.nbytes)
        weight = torch.empty(0).set_(storage, 6, (3, 4), (4, 1))
        net.load_state_dict({"weight": weight, "bias": torch.ones(3)})
    assert weight.data_ptr() % 64 == 24
    assert net.weight.data_ptr() % 64 == 0
    assert torch.equal(net.weight, VALUES)


def case_a_layer_that_is_not_loaded_is_named() -> None:
    said = complaint(lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    assert "parameter '0.weight' of torch.nn.modules.container.Sequential" in said, said
    assert "parameter '0.bias'" in said
    assert "'1." not in said, "a batch norm starts with constants"
    assert "set fast_init = false" in said


def case_a_written_row_does_not_hide_the_rest() -> None:
    assert "'weight' of torch.nn.modules.sparse.Embedding" in complaint(lambda: nn.Embedding(9, 4, padding_idx=0))


def case_what_is_left_on_meta_is_named() -> None:
    said = complaint(lambda: nn.Linear(4, 3, device="meta"))
    assert "'weight' of torch.nn.modules.linear.Linear" in said, said

    def with_buffer() -> nn.Module:
        net = nn.Identity()
        net.register_buffer("places", torch.arange(3, device="meta"), persistent=False)
        return net

    assert "buffer 'places'" in complaint(with_buffer)
    with FastInit(wanted=True):
        net = nn.Linear(4, 3, device="meta")
        net.load_state_dict(torch.load(linear_file()), assign=True)
    assert torch.equal(net.weight, VALUES)


def case_a_module_that_was_thrown_away_is_no_error() -> None:
    gc.disable()
    try:
        with FastInit(wanted=True):
            net = nn.Linear(4, 3)
            net.__dict__["itself"] = net
            del net
    finally:
        gc.enable()


def case_constants_and_copies_count() -> None:
    with FastInit(wanted=True):
        net = nn.Linear(4, 3)
        net.weight.data.fill_(0.5)
        net.bias.data.copy_(torch.tensor([1.0, 2.0, 3.0]))
        other = nn.Linear(4, 3)
        other.weight.data = VALUES
        other.bias = nn.Parameter(torch.ones(3))
        by_array = nn.Linear(4, 3)
        by_array.weight.detach().numpy()[:] = 7
        by_array.bias.detach().numpy()[:] = 8
    assert net.weight.unique().tolist() == [0.5]
    assert net.bias.tolist() == [1, 2, 3]
    assert torch.equal(other.weight, VALUES)
    assert by_array.weight.unique().tolist() == [7]
    assert by_array.bias.unique().tolist() == [8]


def case_what_is_read_is_random_first() -> None:
    with FastInit(wanted=True):
        weight = torch.empty(200, 200)
        nn.init.trunc_normal_(weight, std=2.0, a=-1.0, b=1.0)
        weight[0].fill_(9)
        largest = weight[1:].abs().max().item()
        spread = weight[1:].std().item()
        joined = torch.cat([torch.empty(1000).uniform_(5, 6), torch.zeros(1)])
        square = nn.init.orthogonal_(torch.empty(8, 8))
        outside = torch.empty(1000).normal_(100, 1)
    assert 0.9 < largest <= 1
    assert 0.4 < spread < 0.7
    assert weight[0].unique().tolist() == [9]
    assert 5 <= joined[:-1].min() <= joined.max() <= 6
    assert torch.allclose(square @ square.T, torch.eye(8), atol=1e-5)
    assert 99 < outside.mean() < 101, "it belongs to no module, so nobody will load it"


def case_a_partial_load_keeps_the_rest_random() -> None:
    with FastInit(wanted=True):
        net = nn.Linear(4, 2000)
        net.weight.data[0].copy_(torch.ones(4))
        net.bias.data.zero_()
    assert net.weight[0].tolist() == [1] * 4
    assert 0.2 < net.weight[1:].std() < 0.4


def case_the_modules_type_wins() -> None:
    with FastInit(wanted=True):
        net = nn.Linear(4, 3).half()
        net.load_state_dict(torch.load(linear_file()))
    assert net.weight.dtype is torch.float16
    assert torch.equal(net.weight, VALUES.half())


def case_tied_parameters_stay_tied() -> None:
    with FastInit(wanted=True):
        net = nn.ModuleList([nn.Linear(4, 3), nn.Linear(4, 3)])
        net[1].weight = net[0].weight
        one, two = VALUES.clone(), VALUES + 1
        state = {"0.weight": one, "0.bias": one[0, :3], "1.weight": two, "1.bias": two[0, :3]}
        net.load_state_dict(torch.load(saved(state)))
    assert net[0].weight is net[1].weight
    assert torch.equal(net[0].weight, VALUES + 1), "the last one wins"


def case_one_file_in_two_modules_is_two_weights() -> None:
    with FastInit(wanted=True):
        state = torch.load(linear_file())
        one, two = nn.Linear(4, 3), nn.Linear(4, 3)
        one.load_state_dict(state)
        two.load_state_dict(state)
        one.weight.data.zero_()
    assert torch.equal(two.weight, VALUES)


def case_a_second_view_of_a_parameter_sees_the_weights() -> None:
    with FastInit(wanted=True):
        net = nn.Linear(4, 3)
        view = net.weight.detach()
        net.load_state_dict(torch.load(linear_file()))
    assert torch.equal(view, VALUES)
    assert view.data_ptr() == net.weight.data_ptr()


def case_files_that_cannot_be_mapped_are_read() -> None:
    old = saved({"weight": VALUES, "bias": torch.ones(3)}, "old.pt", _use_new_zipfile_serialization=False)
    with FastInit(wanted=True):
        net = nn.Linear(4, 3)
        net.load_state_dict(torch.load(old))
        with old.open("rb") as file, warnings.catch_warnings():
            assert torch.equal(torch.load(file)["weight"], VALUES)
        said = ""
        try:
            torch.load(FOLDER / "none.pt")
        except FileNotFoundError as error:
            said = str(error)
    assert "none.pt" in said
    assert torch.equal(net.weight, VALUES)


def case_recurrent_and_attention_layers() -> None:
    torch.manual_seed(1)
    plain = nn.ModuleList([nn.LSTM(4, 5, 2, batch_first=True), nn.MultiheadAttention(8, 2), nn.Embedding(9, 4)])
    path = saved(plain.state_dict())
    with FastInit(wanted=True):
        fast = nn.ModuleList([nn.LSTM(4, 5, 2, batch_first=True), nn.MultiheadAttention(8, 2), nn.Embedding(9, 4)])
        fast.load_state_dict(torch.load(path))
    x, y = torch.ones(1, 3, 4), torch.ones(3, 1, 8)
    with torch.inference_mode():
        assert torch.equal(plain[0](x)[0], fast[0](x)[0])
        assert torch.equal(plain[1](y, y, y)[0], fast[1](y, y, y)[0])


def main() -> None:
    found = {}
    for name, case in list(globals().items()):
        if name.startswith("case_"):
            try:
                case()
            except Exception:  # whatever it is, it is this case's result
                found[name] = traceback.format_exc()
            else:
                found[name] = ""
    print(json.dumps(found))


main()
