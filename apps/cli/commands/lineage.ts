import { commitText, type Lineage, type LineageNode, lineageCommits, lineageTree } from '@cairn/contract';
import type { Registrar, Session } from '../cli.ts';
import { findRun } from '../find-run.ts';
import type { Ui } from '../output/ui.ts';
import { formatCount, formatPercent } from '../output/units.ts';

export function addLineage({ program, action }: Registrar): void {
  program
    .command('lineage <of>')
    .description(
      'shows what a run, or a version of a model (NAME@VERSION or NAME@ALIAS), was made from: steps, lists, dataset, imported weights, other runs',
    )
    .action(action(showLineage));
}

async function showLineage({ ui, signal, client }: Session, of: string): Promise<undefined> {
  const api = await client();
  const lineage = of.includes('@')
    ? await api.getModelLineage(of, { signal })
    : await api.getRunLineage((await findRun(api, of, signal)).id, { signal });
  ui.json(lineage);
  for (const line of lineageLines(lineage, ui)) ui.line(line);
  return undefined;
}

/** The lineage as an indented tree. What was shown already is only named. */
export function lineageLines(lineage: Lineage, { style }: Pick<Ui, 'style'>): string[] {
  const { of } = lineage;
  const lines = lineageTree(lineage).map(({ node, depth, role, lists, isRepeated }) => {
    const indent = '  '.repeat(depth + 1);
    const reading = role === null ? '' : `${style.dim(`${role}${lists.length === 0 ? '' : ` (${lists.join(', ')})`}:`)} `;
    return `${indent}${reading}${describe(node, of.run.id)}${isRepeated ? style.dim(', as above') : ''}`;
  });
  const commits = lineageCommits(lineage).map(
    ({ source, runs }) => `  commit ${commitText(source)}${runs.includes(of.run.name) ? '' : ` (${runs.join(', ')})`}`,
  );
  return [style.bold(of.model ?? of.run.name), ...commits, ...lines, ...(lineage.isComplete ? [] : [style.dim('  and more')])];
}

function describe(node: LineageNode, runId: string): string {
  switch (node.type) {
    case 'step': {
      const map = node.scores['mapAt100.end'] ?? node.scores.mapAt100;
      const from = node.reusedFrom === null ? '' : `, reused from ${node.reusedFrom.runName}`;
      const lists = node.lists.map(({ name, rows }) => `${name} ${formatCount(rows)}`).join(', ');
      return [
        `${node.run.id === runId ? '' : `${node.run.name}/`}${node.step}, ${node.state}${from}`,
        ...(map === undefined ? [] : [`mAP@100 ${formatPercent(map)}`]),
        ...(lists === '' ? [] : [lists]),
        ...(node.artifact === null ? [] : [node.artifact.id]),
      ].join('; ');
    }
    case 'weights':
      return `weights ${node.name}, ${node.backbone}, sha256 ${node.sha256.slice(0, 16)}${node.source === null ? '' : `, from ${node.source}`}`;
    case 'dataset':
      return `dataset ${node.name}@${node.version}, sha256 ${node.digest.slice(0, 16)}`;
    case 'artifact':
      return `${node.name} (${node.id})`;
  }
}
