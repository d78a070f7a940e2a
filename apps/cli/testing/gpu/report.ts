import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { benchmarkSection, sourceOf, withSection } from './benchmark-section.ts';
import { checkReport } from './check-report.ts';
import { figuresOf } from './gpu-figures.ts';

const root = join(import.meta.dirname, '../../../..');

/**
 * `npm run gpu -- report REPORT`: writes a report's figures into docs/benchmarks.md, and the constants of the estimates that it
 * measured.
 */
export async function report(args: string[]): Promise<void> {
  const [path] = args;
  if (path === undefined || args.length > 1) throw new Error('usage: npm run gpu -- report report.json');
  const found = checkReport.parse(JSON.parse(await readFile(path, 'utf8')));
  if (found.isDry) throw new Error(`${path} is of a dry run on a CPU; its figures say nothing of a GPU.`);
  const page = join(root, 'docs/benchmarks.md');
  await writeFile(page, withSection(await readFile(page, 'utf8'), benchmarkSection(found)));
  console.log(`${page} has its figures`);
  const figures = figuresOf(found, sourceOf(found));
  if (figures.trainings.length === 0) {
    console.log('It measured no training, so the estimates stay as they are.');
    return;
  }
  const file = join(root, 'libs/domain/gpu-figures.json');
  await writeFile(file, `${JSON.stringify(figures, null, 2)}\n`);
  console.log(`${file} has what ${Object.keys(figures.networks).join(', ')} sustained; run \`npm test -- libs/domain\``);
}
