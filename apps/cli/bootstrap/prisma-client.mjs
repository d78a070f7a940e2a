import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder, node24 } from './layout.mjs';
import { quietInstall } from './npm-packages.mjs';
import { startProgress } from './progress.mjs';
import { runLogged } from './run-logged.mjs';

const limitMs = 5 * 60_000;
const inputs = ['prisma/schema.prisma', 'prisma.config.ts', 'node_modules/prisma/package.json'];

/** @param {string} root */
const stampPath = (root) => join(root, 'libs', 'db', 'generated', '.cairn-generated');

/** @param {string} root */
async function inputHash(root) {
  const hash = createHash('sha256');
  for (const path of inputs) hash.update(await readFile(join(root, path))).update('\0');
  return hash.digest('hex');
}

/**
 * True when libs/db/generated was generated from the current schema, configuration and Prisma.
 * @param {string} root
 */
export async function prismaClientIsCurrent(root) {
  return existsSync(stampPath(root)) && (await readFile(stampPath(root), 'utf8')) === (await inputHash(root));
}

/**
 * Runs `prisma generate`. It only checks that a schema engine exists: no engine is downloaded.
 * @param {string} root
 * @param {NodeJS.ProcessEnv} env
 * @param {AbortSignal} signal
 * @throws {BootstrapError} when the schema does not compile
 */
export async function generatePrismaClient(root, env, signal) {
  const progress = startProgress('database client', 'generating it from prisma/schema.prisma');
  try {
    await runLogged({
      title: 'the database client',
      command: node24,
      args: [join(root, 'node_modules', 'prisma', 'build', 'index.js'), 'generate'],
      cwd: root,
      env: { ...env, ...quietInstall, PRISMA_HIDE_UPDATE_MESSAGE: '1', CHECKPOINT_DISABLE: '1' },
      log: join(cacheFolder(env), 'logs', 'prisma.log'),
      folders: [root],
      timeoutMs: limitMs,
      signal,
    });
    await writeFile(stampPath(root), await inputHash(root));
  } catch (error) {
    progress.fail();
    throw error;
  }
  progress.done('database client generated');
}
