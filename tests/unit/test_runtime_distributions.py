"""A module that cannot be imported is told with what its distribution is called."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement

from instainfer.runtime import distributions
from instainfer.runtime.distributions import remedy
from instainfer.runtime.failures import failure_of


def missing(name: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("module", "distribution"),
    [
        ("pkg_resources", "setuptools<81"),
        ("cv2", "opencv-python-headless"),
        ("sklearn", "scikit-learn"),
        ("google.protobuf", "protobuf"),
        ("google.cloud.storage.blob", "google-cloud-storage"),
        ("skimage.io", "scikit-image"),
        ("fitz", "pymupdf"),
    ],
)
def test_the_distribution_of_a_module_is_named(module: str, distribution: str) -> None:
    assert remedy(missing(module)) == f"add {distribution} to the function's requirements"


def test_every_name_in_the_table_is_a_requirement() -> None:
    for module, distribution in distributions._OF_MODULE.items():
        assert all(part.isidentifier() for part in module.split("."))
        assert Requirement(distribution).name.lower() == Requirement(distribution).name


def test_a_module_of_the_name_of_its_distribution_is_looked_for_in_the_requirements() -> None:
    assert remedy(missing("no_such_library")) == "is it in the function's requirements?"


def test_a_missing_part_of_a_library_that_is_there_is_no_missing_library() -> None:
    assert remedy(missing("json.no_such_part")).startswith("json is there and has no such module")


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_what_hides_a_missing_module_does_not_hide_the_remedy(link: str) -> None:
    error = ImportError("this needs YAML")
    setattr(error, link, missing("yaml"))
    assert remedy(error) == "add pyyaml to the function's requirements"
    assert remedy(ValueError("nothing is missing")) == ""


def test_a_chain_that_is_a_circle_ends() -> None:
    one, other = ValueError(), ValueError()
    one.__cause__, other.__cause__ = other, one
    assert remedy(one) == ""


def test_the_failure_names_it_wherever_the_import_stands() -> None:
    failure = failure_of(missing("cv2"), "raised", "main()")
    assert failure.message == (
        "main() raised ModuleNotFoundError: No module named 'cv2' (add opencv-python-headless to the function's "
        "requirements)"
    )
