#!/bin/sh
# add-cuda-provider.sh PACKAGE: puts ONNX Runtime's CUDA provider beside the library of the npm package onnxruntime-node in the folder
# PACKAGE. It comes from the wheel of the same version on PyPI, which is built for the CUDA that torch brings; the package's own script
# would fetch one for CUDA 12 from NuGet, which is a second CUDA in the image. Needs Python with pip, and Node.
set -eu
package=$1
version=$(node -p 'require(process.argv[1]).version' "$(realpath "$package")/package.json")
wheels=$(mktemp -d)
# Any Python's wheel will do: the two libraries have nothing to do with Python.
python3 -m pip download --quiet --no-input --no-deps --only-binary=:all: --python-version 3.12 --dest "$wheels" "onnxruntime-gpu==$version"
for library in "$package"/bin/napi-v*/linux/*/libonnxruntime.so.1; do
  python3 - "$wheels" "$(dirname "$library")" <<'END'
import pathlib, sys, zipfile

wheel, = pathlib.Path(sys.argv[1]).iterdir()
with zipfile.ZipFile(wheel) as archive:
    for kind in ('cuda', 'shared'):
        name = f'libonnxruntime_providers_{kind}.so'
        pathlib.Path(sys.argv[2], name).write_bytes(archive.read(f'onnxruntime/capi/{name}'))
END
done
rm -r "$wheels"
