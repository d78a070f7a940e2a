#!/usr/bin/env node
// check-cuda.mjs PACKAGE LIBRARIES: checks whether ONNX Runtime of the npm package in the folder PACKAGE (onnxruntime-node) would use a GPU
// with the CUDA libraries of the folder LIBRARIES, as far as possible without one: only symbols of the driver are unresolved, and with a
// driver stub (built with gcc) a session fails because of a missing device, not a missing library. Prints the result; exits with 1 and the
// faults.
import { execFileSync, spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { faultOfSession, unresolved } from './cuda-faults.mjs';

const [onnxruntime = '', libraries = ''] = process.argv.slice(2).map((path) => resolve(path));
/** An ONNX model of one node, Identity. */
const model = 'CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBE=';
const faults = [];

/** @param {string} path */
function lookUp(path) {
  const { stdout, stderr, error } = spawnSync('ldd', ['-r', path], {
    encoding: 'utf8',
    env: { ...process.env, LD_LIBRARY_PATH: libraries },
    maxBuffer: 1 << 26,
  });
  if (error) throw error;
  return `${stdout}\n${stderr}`;
}

const [provider] = globSync(join(onnxruntime, 'bin/napi-v*/linux', process.arch, 'libonnxruntime_providers_cuda.so'));
if (provider === undefined) faults.push(`${onnxruntime} has no libonnxruntime_providers_cuda.so for ${process.arch}`);
// The provider links some of them and opens the others when a network needs them.
const opened = ['libcudnn.so', 'libcudnn.so.9', 'libcufft.so.*', 'libnvrtc.so.13', 'libcudnn_*.so.9'].map((pattern) => {
  const found = globSync(join(libraries, pattern));
  if (found.length === 0) faults.push(`${libraries} has no ${pattern}`);
  return found;
});
for (const path of [...(provider === undefined ? [] : [provider]), ...opened.flat()]) {
  for (const missing of unresolved(lookUp(path))) faults.push(`${path} lacks ${missing}`);
}

if (faults.length === 0) {
  const stub = mkdtempSync(join(tmpdir(), 'cairn-driver-'));
  try {
    const source = fileURLToPath(new URL('driver-stub.c', import.meta.url));
    execFileSync('gcc', ['-shared', '-fPIC', '-Wl,-soname,libcuda.so.1', '-o', join(stub, 'libcuda.so.1'), source], { stdio: 'inherit' });
    const program = `
      require(process.argv[1]).InferenceSession.create(Buffer.from(process.argv[2], 'base64'), { executionProviders: [{ name: 'cuda', deviceId: 0 }] })
        .then(() => console.log('the session was created without a device'), (error) => console.log(error.message));`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--eval', program, onnxruntime, model], {
      encoding: 'utf8',
      env: { ...process.env, LD_LIBRARY_PATH: `${stub}:${libraries}` },
      timeout: 120_000,
    });
    const fault = faultOfSession(`${stderr}${stdout}`);
    if (fault !== null) faults.push(fault);
  } finally {
    rmSync(stub, { recursive: true });
  }
}

for (const fault of faults) console.error(`check-cuda: ${fault}`);
if (faults.length > 0) process.exit(1);
console.log('ONNX Runtime would use a GPU: its CUDA provider finds every library except the driver, and requests a device from it.');
