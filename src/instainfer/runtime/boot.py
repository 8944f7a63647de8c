"""Start a process inside a container: ``python -I -S boot.py manager|executor ARGUMENT...``.

The package is loaded from this file's own place, under its name but without a change of ``sys.path``: neither the
platform's site-packages nor anything that lies beside the package can be imported by a function. Any Python from 3.9
on will do; nothing has to be installed for it.
"""

import os
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location


def _load_package() -> None:
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    spec = spec_from_file_location(
        "instainfer", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    package = module_from_spec(spec)
    sys.modules["instainfer"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    _load_package()
    sys.exit(import_module("instainfer.runtime." + sys.argv[1]).main(sys.argv[2:]))
