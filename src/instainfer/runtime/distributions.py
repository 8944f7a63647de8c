"""Names what to write into the requirements for a module that could not be imported.

Most distributions have the name of their module. The table has those of which functions ask most often and that do not.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.util import find_spec

_OF_MODULE = {
    "Crypto": "pycryptodome",
    "Levenshtein": "levenshtein",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyopenssl",
    "PIL": "pillow",
    "attr": "attrs",
    "audioop": "audioop-lts",
    "bs4": "beautifulsoup4",
    "clip": "clip-anytorch",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "distutils": "setuptools",
    "dns": "dnspython",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fitz": "pymupdf",
    "git": "gitpython",
    "google.api_core": "google-api-core",
    "google.auth": "google-auth",
    "google.cloud.storage": "google-cloud-storage",
    "google.generativeai": "google-generativeai",
    "google.protobuf": "protobuf",
    "grpc": "grpcio",
    "hydra": "hydra-core",
    "imblearn": "imbalanced-learn",
    "jose": "python-jose",
    "jwt": "pyjwt",
    "ldap": "python-ldap",
    "lightning_fabric": "lightning-fabric",
    "magic": "python-magic",
    "mpl_toolkits": "matplotlib",
    "multipart": "python-multipart",
    "nacl": "pynacl",
    "pdfminer": "pdfminer.six",
    "pkg_resources": "setuptools<81",
    "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary",
    "pynvml": "nvidia-ml-py",
    "pytorch_lightning": "pytorch-lightning",
    "ruamel.yaml": "ruamel.yaml",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "skopt": "scikit-optimize",
    "slugify": "python-slugify",
    "snappy": "python-snappy",
    "speech_recognition": "speechrecognition",
    "umap": "umap-learn",
    "usb": "pyusb",
    "whisper": "openai-whisper",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
}


def remedy(error: BaseException) -> str:
    """What helps against a module that is not there, if this exception, or one that led to it, says so; else empty."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        if isinstance(link, ModuleNotFoundError) and link.name:
            return _remedy_for(link.name)
        seen.append(link)
        link = link.__cause__ or link.__context__
    return ""


def _remedy_for(module: str) -> str:
    first, *more = parts = module.split(".")
    first_is_there = bool(more) and _is_there(first)
    for length in range(len(parts), 0, -1):
        distribution = _OF_MODULE.get(".".join(parts[:length]))
        if distribution is not None and (length > 1 or not first_is_there):
            return "add {} to the function's requirements".format(distribution)
    if first_is_there:
        return "{} is there and has no such module: is it another version, or a file of the function?".format(first)
    return "is it in the function's requirements?"


def _is_there(module: str) -> bool:
    with suppress(Exception):  # code of the function may have changed how modules are found
        return module in sys.modules or find_spec(module) is not None
    return False
