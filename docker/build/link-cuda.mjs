#!/usr/bin/env node
// link-cuda.mjs SITE_PACKAGES FOLDER: makes FOLDER, with a link to each library of NVIDIA's wheels. With it in LD_LIBRARY_PATH, ONNX
// Runtime finds torch's CUDA, wherever the version of Python puts that.
import { existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';

const [sitePackages = '', folder = ''] = process.argv.slice(2).map((path) => resolve(path));
mkdirSync(folder, { recursive: true });
const nvidia = join(sitePackages, 'nvidia');
for (const wheel of existsSync(nvidia) ? readdirSync(nvidia) : []) {
  const libraries = join(nvidia, wheel, 'lib');
  for (const name of existsSync(libraries) ? readdirSync(libraries) : []) {
    if (/^lib.*\.so\.\d/.test(name) && !existsSync(join(folder, name))) symlinkSync(join(libraries, name), join(folder, name));
  }
}
// Libraries are opened by this name too, which the wheels do not have.
const cudnn = join(folder, 'libcudnn.so.9');
if (existsSync(cudnn) && !existsSync(join(folder, 'libcudnn.so'))) symlinkSync('libcudnn.so.9', join(folder, 'libcudnn.so'));
