import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, gzip } from 'node:zlib';
import react from '@vitejs/plugin-react';
import { defineConfig, loadEnv, type Plugin } from 'vite';

const outDir = 'dist';

/** The service whose data `npm run dev` shows. */
const serviceOf = (mode: string): string => loadEnv(mode, import.meta.dirname, 'CAIRN_').CAIRN_URL ?? 'http://127.0.0.1:8080';

export default defineConfig(({ mode }) => ({
  plugins: [react(), compress()],
  build: {
    outDir,
    emptyOutDir: true,
    // Read by the test that adds up what the first page loads.
    manifest: 'manifest.json',
    target: 'es2022',
    // A small file inlined as a data: address would need an exception in the content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // What the first page loads is limited by a test, compressed.
    chunkSizeWarningLimit: 1_000,
  },
  server: {
    // `npm run dev` serves the pages, and a service that is running elsewhere (`cairn up`) the data.
    // Its host stays the one that the browser names as the origin: the service refuses changes from another one.
    proxy: Object.fromEntries(
      ['/v1', '/docs', '/openapi.json', '/recipe.schema.json'].map((path) => [path, { target: serviceOf(mode), changeOrigin: false }]),
    ),
  },
}));

/** Writes `FILE.br` and `FILE.gz` next to each text file, so that the api compresses nothing per request. */
function compress(): Plugin {
  return {
    name: 'compress',
    apply: 'build',
    async closeBundle() {
      const folder = join(import.meta.dirname, outDir);
      const names = await readdir(folder, { recursive: true });
      const texts = names.filter((name) => /\.(js|css|html|svg|json)$/.test(name));
      await Promise.all(
        texts.map(async (name) => {
          const path = join(folder, name);
          const bytes = await readFile(path);
          await Promise.all([
            writeFile(`${path}.br`, await promisify(brotliCompress)(bytes)),
            writeFile(`${path}.gz`, await promisify(gzip)(bytes, { level: 9 })),
          ]);
        }),
      );
    },
  };
}
