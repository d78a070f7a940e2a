#!/bin/sh
# run.sh [OPTIONS OF check]: verifies and unpacks the parts beside it, makes a Python environment of what this machine has and what came
# along, and runs the check. PYTHON names the interpreter that has torch (python3). Asks nothing of a network.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
work=${CAIRN_GPU_FOLDER:-$here/unpacked}
began=$(date +%s)
"$python" -I "$here/unpack.py" "$work"
"$python" -I - "$work" <<'END'
import subprocess, sys, sysconfig, zipfile
from pathlib import Path

work = Path(sys.argv[1])
environment = work / 'python'
if not (environment / 'ready').exists():
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', '--system-site-packages', environment], check=True)
    packages = environment / 'lib' / f'python{sys.version_info[0]}.{sys.version_info[1]}' / 'site-packages'
    # Where this interpreter is itself one of an environment, that one's packages are not system packages.
    places = dict.fromkeys([sysconfig.get_paths()['purelib'], sysconfig.get_paths()['platlib']])
    (packages / 'machine.pth').write_text('\n'.join(places) + '\n')
    for wheel in (work / 'wheels').glob('*.whl'):
        zipfile.ZipFile(wheel).extractall(packages)
    (environment / 'ready').touch()
END
export CAIRN_PYTHON="$work/python/bin/python"
export PATH="$work/node_modules/node/bin:$PATH"
# The folders that have NVIDIA's wheels, a line each.
"$CAIRN_PYTHON" -I -c 'import importlib.util as u, os; s = u.find_spec("nvidia"); [print(os.path.dirname(p)) for p in (s.submodule_search_locations if s else [])]' |
  while read -r packages; do node "$work/docker/build/link-cuda.mjs" "$packages" "$work/cuda"; done
export LD_LIBRARY_PATH="$work/cuda${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# What ONNX Runtime will not find is better known now than in a failure of a phase; without a GPU the driver is among it.
ldd "$work"/node_modules/onnxruntime-node/bin/napi-v*/linux/x64/libonnxruntime_providers_cuda.so | grep 'not found' >&2 || true
echo "Unpacked and ready after $(($(date +%s) - began)) s"
exec node "$work/apps/cli/testing/gpu/main.ts" check "$@"
