// `npm run check`: every check that does not run the product. The output of each is shown only when it fails.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { node24, root } from './layout.mjs';

const limitMs = 10 * 60_000;
const python = process.env.CAIRN_PYTHON ?? 'python3';
const bin = (/** @type {string} */ path) => join(root, 'node_modules', path);

/** @type {{ name: string, command: string, args: string[], fix: string }[]} */
const checks = [
  { name: 'types', command: node24, args: [bin('typescript/bin/tsc'), '--noEmit'], fix: 'correct the types' },
  {
    name: 'types (dashboard)',
    command: node24,
    args: [bin('typescript/bin/tsc'), '--noEmit', '--project', 'apps/dashboard'],
    fix: 'correct the types',
  },
  {
    name: 'lint and format (TypeScript, JSON)',
    command: node24,
    args: [bin('@biomejs/biome/bin/biome'), 'check', '--max-diagnostics=50'],
    fix: 'run `npx biome check --write`',
  },
  {
    name: 'lint (Python)',
    command: python,
    args: ['-I', '-m', 'ruff', 'check', 'docker', 'libs', 'apps'],
    fix: 'run `ruff check --fix docker libs apps`',
  },
  {
    name: 'format (Python)',
    command: python,
    args: ['-I', '-m', 'ruff', 'format', '--check', 'docker', 'libs', 'apps'],
    fix: 'run `ruff format docker libs apps`',
  },
  {
    name: 'the database schema and migrations match',
    command: node24,
    args: [join(root, 'libs/testing/check-schema.ts')],
    fix: 'add a migration in prisma/migrations for the change of prisma/schema.prisma, or correct the schema',
  },
  current('docs/errors.md', 'libs/contract/generate-errors.ts'),
  current('docs/recipe.schema.json', 'libs/contract/generate-recipe-schema.ts'),
  current('docs/cli.md', 'apps/cli/generate-reference.ts'),
  current('the compiled resize', 'libs/retrieval/testing/compile-kernels.ts'),
];

/**
 * Checks that a generated page is what its program would generate now.
 * @param {string} page
 * @param {string} generator
 */
function current(page, generator) {
  return {
    name: `${page} is current`,
    command: node24,
    args: [join(root, generator), '--check'],
    fix: `run \`npx node ${generator}\` and review the changes`,
  };
}

let failed = 0;
for (const check of checks) {
  const startedAt = Date.now();
  const { code, output } = await run(check.command, check.args);
  const seconds = ((Date.now() - startedAt) / 1000).toFixed(1);
  console.log(`${code === 0 ? 'ok    ' : 'FAILED'} ${check.name} (${seconds} s)`);
  if (code === 0) continue;
  failed += 1;
  console.log(`${output.trimEnd()}\nTo fix it: ${check.fix}.\n`);
}
console.log(failed === 0 ? 'All checks passed.' : `${failed} of ${checks.length} checks failed.`);
process.exitCode = failed === 0 ? 0 : 1;

/**
 * @param {string} command
 * @param {string[]} args
 * @returns {Promise<{ code: number | null, output: string }>}
 */
function run(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], signal: AbortSignal.timeout(limitMs) });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (text) => {
        output += text;
      });
    }
    // Missing, or stopped at the limit.
    child.once('error', (error) => resolve({ code: null, output: `${output}\n${error.message}` }));
    child.once('close', (code) => resolve({ code, output }));
  });
}
