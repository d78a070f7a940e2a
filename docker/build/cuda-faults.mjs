/** The driver's library, which a machine without a GPU lacks. */
const driver = 'libcuda.so.1';
/** Symbols that are not those of the libraries that a library names: its host defines them when it loads the library. */
const ofHost = new Set(['Provider_GetHost']);

/**
 * The missing dependencies of a CUDA library according to `ldd -r`: libraries not found and undefined symbols, except the driver's and ONNX
 * Runtime's own.
 * @param {string} text
 * @returns {string[]}
 */
export function unresolved(text) {
  const libraries = [...text.matchAll(/^\s*(\S+) => not found/gm)].map(([, name]) => name ?? '').filter((name) => name !== driver);
  // Without a library all its symbols are missing too.
  if (libraries.length > 0) return [...new Set(libraries)];
  const symbols = [...text.matchAll(/^undefined symbol: ([^\s,]+)/gm)].map(([, name]) => name ?? '');
  const missing = symbols.filter((name) => !ofHost.has(name) && !/^cu[A-Z]/.test(name));
  const versions = [...text.matchAll(/^.*version `[^']+' not found.*$/gm)].map(([line]) => line.trim());
  return [...new Set([...missing, ...versions])];
}

/**
 * Why the answer of a session on CUDA, where the driver says that it has no device, is not the one to expect; null when it is. Whatever
 * is missing before that, a library above all, gives another answer.
 * @param {string} answer
 * @returns {string | null}
 */
export function faultOfSession(answer) {
  if (/CUDA failure 100\b|no CUDA-capable device is detected/.test(answer)) return null;
  return `a CUDA session fails before it requests a device: ${answer.trim().slice(-600) || 'no output'}`;
}
