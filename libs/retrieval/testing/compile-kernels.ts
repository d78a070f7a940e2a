/**
 * `compile-kernels.ts`: compiles resize-kernels.as to resize-kernels.wasm; with `--check` it fails if the file differs from what would be
 * compiled.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import asc from 'assemblyscript/asc';

const source = join(import.meta.dirname, '../image/resize-kernels.as');
const target = join(import.meta.dirname, '../image/resize-kernels.wasm');

const text = await readFile(source, 'utf8');
let compiled: Uint8Array = new Uint8Array();
const { error, stderr } = await asc.main(
  ['kernels.ts', '--outFile', 'kernels.wasm', '--runtime', 'stub', '--enable', 'simd', '-O3', '--noAssert', '--memoryBase', '0'],
  {
    // The compiler only reads files named *.ts, which the type checker and the linter would take for TypeScript.
    readFile: (name) => (name === 'kernels.ts' ? text : null),
    writeFile: (_name, content) => {
      compiled = typeof content === 'string' ? Buffer.from(content) : content;
    },
    listFiles: () => [],
  },
);
if (error !== null) throw new Error(`${source} does not compile: ${stderr.toString()}`, { cause: error });
if (!process.argv.includes('--check')) await writeFile(target, compiled);
else if (!compiled.length || Buffer.compare(await readFile(target), compiled) !== 0) {
  throw new Error(`${target} is not what ${source} compiles to. Run this program without --check.`);
}
