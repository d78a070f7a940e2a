#!/bin/sh
# add-cuda-provider.sh PACKAGE FOLDER: puts the CUDA provider of ONNX Runtime into FOLDER, where the npm package onnxruntime-node of the
# folder PACKAGE has its libonnxruntime. It comes from the wheel of the same version on PyPI, which is built for the CUDA that torch
# brings; the package's own script would fetch one for CUDA 12 from NuGet, a second CUDA. Needs Python with pip.
set -eu
wheels=$(mktemp -d)
version=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["version"])' "$1/package.json")
# Any Python's wheel will do: the two libraries have nothing to do with Python.
python3 -m pip download --quiet --no-input --no-deps --only-binary=:all: --python-version 3.12 --dest "$wheels" "onnxruntime-gpu==$version"
python3 - "$wheels" "$2" <<'END'
import pathlib, sys, zipfile

wheel, = pathlib.Path(sys.argv[1]).iterdir()
with zipfile.ZipFile(wheel) as archive:
    for kind in ('cuda', 'shared'):
        name = f'libonnxruntime_providers_{kind}.so'
        pathlib.Path(sys.argv[2], name).write_bytes(archive.read(f'onnxruntime/capi/{name}'))
END
rm -r "$wheels"
