import { labelSizesOf, listsDetails, recipe } from '@cairn/contract';
import { smallRecipe } from '@cairn/engine/testing';
import { drawImages } from '@cairn/testing/search-results';
import { expect, test, vi } from 'vitest';
import { accessibilityFaults } from '../../testing/accessibility.ts';
import { openDashboard } from '../../testing/open-dashboard.ts';

vi.setConfig({ testTimeout: 240_000 });

const dashboard = await openDashboard();
const { harness, client, openPage } = dashboard;

const base = await harness.submit({ name: 'base' });
await harness.playAll(base);

test('from a dataset to its lists, to a model that was trained on it, and back by its lineage', async () => {
  const page = await openPage('/datasets');
  await page.getByRole('link', { name: 'toy' }).click();
  const lists = page.getByRole('region', { name: 'Table of lists' });
  await lists.getByRole('row', { name: /^clean 10 .* 10 2 5 art_/ }).waitFor();
  await page.getByRole('link', { name: 'base' }).waitFor();
  expect(await accessibilityFaults(page, [{ colorScheme: 'dark', width: 400 }])).toEqual([]);

  await page.getByRole('link', { name: 'toy@1', exact: true }).first().click();
  await page.getByRole('heading', { name: 'Lineage of toy@1' }).waitFor();
  const tree = page.getByRole('list', { name: 'Lineage' });
  await tree
    .getByRole('listitem')
    .filter({ hasText: /^start/ })
    .getByRole('link', { name: 'first' })
    .waitFor();
  await tree
    .getByRole('listitem')
    .filter({ hasText: /^lists clean/ })
    .first()
    .getByText(/clean 10 of 2 classes/)
    .or(tree.getByText('shown elsewhere in the list').first())
    .first()
    .waitFor();
  expect(await accessibilityFaults(page, [{ colorScheme: 'light', width: 400 }])).toEqual([]);
  await tree.getByRole('link', { name: 'dataset toy@1' }).click();
  await page.getByRole('heading', { name: 'toy@1', exact: true }).waitFor();
});

test('the lineage of a run goes on in the runs whose results it uses, and names what is imported', async () => {
  const [stage] = Object.values(smallRecipe.stages);
  const { from: _, weights: __, ...settings } = stage ?? {};
  const runId = await harness.submit({
    name: 'upper',
    recipe: recipe.parse({
      name: 'upper',
      dataset: 'toy',
      steps: {
        lists: { kind: 'prepare' },
        more: {
          ...settings,
          kind: 'train',
          model: smallRecipe.model,
          epochs: 2,
          inputs: { lists: 'lists', start: { run: base, step: 'second' } },
        },
      },
    }),
  });
  const { nodes, roots, isComplete } = await client.getRunLineage(runId);
  expect(isComplete).toBe(true);
  const named = new Map(nodes.map((node) => [node.id, node.type === 'step' ? `${node.run.name}/${node.step}` : node.type]));
  const edges = nodes.flatMap((node) =>
    node.reads.map(({ role, node: to, lists }) => `${named.get(node.id)} ${role}${lists.length > 0 ? ` ${lists}` : ''}: ${named.get(to)}`),
  );
  expect(roots.map((id) => named.get(id))).toEqual(['upper/more']);
  expect(edges.sort()).toEqual([
    'base/first lists clean: base/prepare',
    'base/prepare dataset: dataset',
    'base/second lists clean: base/prepare',
    'base/second start: base/first',
    'upper/lists dataset: dataset',
    'upper/more lists clean: upper/lists',
    'upper/more start: base/second',
  ]);
});

test('a list tells how many images each label has, and shows some of them', async () => {
  await drawImages(dashboard.datasets, 'index', ['aaa000']);
  const source = { kind: 'folder', root: dashboard.datasets, metadata: dashboard.datasets, countries: null };
  await harness.prisma.dataset.updateMany({ where: { name: 'toy' }, data: { source } });
  const { artifactId } = await harness.step(base, 'prepare');
  const { details } = await harness.prisma.artifact.findUniqueOrThrow({ where: { id: artifactId ?? '' } });
  const { lists } = listsDetails.parse(details);
  const clean = {
    ...lists.clean,
    labelSizes: labelSizesOf([...[1, 5, 6].map((rows) => ({ rows, labels: 1 })), { rows: 1_200, labels: 4 }], [{ label: 3, rows: 1_200 }]),
    samples: [
      { imageId: 'aaa000', label: 3 },
      { imageId: 'bbb000', label: null },
    ],
  };
  const query = { ...lists.query, rows: 0, distinct: 0 };
  const data = { details: { lists: { ...lists, clean, query } } };
  await harness.prisma.artifact.update({ where: { id: artifactId ?? '' }, data: { details: JSON.parse(JSON.stringify(data.details)) } });

  const page = await openPage('/datasets/toy@1', { expected: [/status of 404/] });
  await page.getByText('1 to 1,200 images a label, half of the labels have at most 1,200.').waitFor();
  await page.getByRole('row', { name: '4 to 7 2 11' }).waitFor();
  await page.waitForFunction(() => document.querySelector<HTMLImageElement>('img[alt="The image aaa000"]')?.naturalHeight === 90);
  await page.getByText('The dataset toy@1 has no image bbb000').waitFor();
  expect(
    await accessibilityFaults(page, [
      { colorScheme: 'light', width: 1280 },
      { colorScheme: 'dark', width: 400 },
    ]),
  ).toEqual([]);
  await page.getByLabel('List', { exact: true }).selectOption('index');
  await page.getByText('It was prepared by an earlier release').first().waitFor();
  expect(new URL(page.url()).search).toBe('?list=index');
  await page.getByLabel('List', { exact: true }).selectOption('query');
  await page.getByText('The list is empty').waitFor();
});
