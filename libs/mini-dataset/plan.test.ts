import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { landmarkOf } from './landmark.ts';
import { countryFiles, metadataFiles, miniGenerator } from './metadata.ts';
import { pictureOf } from './picture.ts';
import { continentRows } from './places.ts';
import type { MiniPlan } from './plan.ts';
import { planMiniDataset, subjectOf } from './plan.ts';
import { randomOf } from './random.ts';

const plans = [1, 2, 3].map((seed) => planMiniDataset(seed));
const csv = (plan: MiniPlan, name: string): string[] => {
  const file = metadataFiles(plan).find(({ path }) => path === `metadata/${name}`);
  return file?.text.trimEnd().split('\n').slice(1) ?? [];
};

describe.each(plans)('the plan of seed $seed', (plan) => {
  const byId = new Map(plan.images.map((image) => [image.id, image]));
  const ofTrainId = new Map(plan.landmarks.map((landmark) => [landmark.trainId, landmark]));
  const clean = new Set(plan.clean.flatMap((row) => row.images));

  test('has the promised sizes', () => {
    const count = (split: string): number => plan.images.filter((image) => image.split === split).length;
    expect(plan.landmarks).toHaveLength(60);
    expect(count('index')).toBeGreaterThan(600);
    expect(count('index')).toBeLessThan(800);
    expect(byId.size).toBe(plan.images.length);
    const usage = (name: string): number => plan.queries.filter((query) => query.usage === name).length;
    expect([usage('Public'), usage('Private'), usage('Ignored')]).toEqual([60, 120, 20]);
  });

  test('gives each stage more than the one before had: harder images of the same landmarks, more landmarks, then the index', () => {
    const c2x = plan.train.filter((row) => ofTrainId.get(row.landmarkId)?.role === 'clean');
    expect(c2x.length).toBeGreaterThan(clean.size * 3);
    expect(plan.train.length).toBeGreaterThan(c2x.length * 1.2);
    const mean = (ids: string[]): number => ids.reduce((sum, id) => sum + (byId.get(id)?.hardness ?? 0), 0) / ids.length;
    expect(mean(c2x.map((row) => row.id))).toBeGreaterThan(mean([...clean]) + 0.1);
    const roles = new Map(plan.landmarks.map((landmark) => [subjectOf(landmark), landmark.role]));
    const asked = plan.queries.map((query) => roles.get(byId.get(query.id)?.shows ?? ''));
    expect(asked.filter((role) => role === 'fullOnly').length).toBeGreaterThan(30);
  });

  test('has wrong labels in train.csv, none of them in train_clean.csv', () => {
    const isWrong = ({ id, landmarkId }: { id: string; landmarkId: number }): boolean => {
      const landmark = ofTrainId.get(landmarkId);
      return !landmark || byId.get(id)?.shows !== subjectOf(landmark);
    };
    const wrong = plan.train.filter(isWrong);
    expect(wrong.length).toBeGreaterThan(plan.train.length * 0.1);
    expect(wrong.filter((row) => clean.has(row.id))).toEqual([]);
    expect(plan.train.filter((row) => clean.has(row.id))).toHaveLength(clean.size);
  });

  test('joins train and index by category alone: the landmark ids differ, and a gid is not a landmark id', () => {
    const shared = plan.landmarks.filter((landmark) => landmark.trainId !== null && landmark.trainId === landmark.indexId);
    expect(shared.length).toBeLessThan(2);
    expect(plan.clean.some((row, gid) => row.landmarkId === gid)).toBe(false);
    const categories = [...csv(plan, 'train_label_to_category.csv'), ...csv(plan, 'index_label_to_category.csv')];
    expect(categories.some((line) => /^\d+,"http.*,_/.test(line))).toBe(true);
    expect(plan.landmarks.filter((landmark) => landmark.role === 'indexOnly')).toHaveLength(6);
    const names = csv(plan, 'train_label_to_category.csv').map((line) => line.slice(line.indexOf(',')));
    expect(names.length - new Set(names).size).toBe(1);
  });

  test('has near twins, and one place under two categories whose queries have the images of both', () => {
    expect(plan.landmarks.filter((landmark) => landmark.twin !== null)).toHaveLength(4);
    const indexed = new Map(plan.landmarks.map((landmark) => [landmark.indexId, landmark]));
    const labels = new Map(plan.indexLabels.map((row) => [row.id, row.landmarkId]));
    const spans = plan.queries.map((query) => new Set(query.images.map((id) => labels.get(id))).size);
    expect(Math.max(...spans)).toBe(2);
    for (const query of plan.queries) {
      for (const id of query.images) expect(indexed.get(labels.get(id) ?? -1)).toBeDefined();
      const shown = byId.get(query.id)?.shows;
      expect(query.images.length === 0).toBe(query.usage === 'Ignored');
      expect(query.images.every((id) => byId.get(id)?.shows === shown)).toBe(true);
    }
  });

  test('has clean and noisy images on every continent, and landmarks in XK and OTHER', () => {
    const continents = new Map(continentRows.map((row) => [row.code, row.continent]));
    const cells = new Set<string>();
    for (const { id, landmarkId } of plan.train) {
      const country = ofTrainId.get(landmarkId)?.country ?? '';
      cells.add(`${continents.get(country) ?? country} ${clean.has(id) ? 'clean' : 'noisy'}`);
    }
    const places = ['Africa', 'Antarctica', 'Asia', 'Europe', 'North America', 'OTHER', 'Oceania', 'South America', 'XK'];
    expect([...cells].toSorted()).toEqual(places.flatMap((place) => [`${place} clean`, `${place} noisy`]).toSorted());
    expect(countryFiles(plan).map((file) => file.path)).toEqual(
      expect.arrayContaining(['countries/NA.json', 'countries/country_codes.json']),
    );
  });
});

/** What seed 1 gives: plan, metadata and drawings, without the JPEG encoder's part. */
function digestOfSeed1(): string {
  const plan = planMiniDataset(1);
  const hash = createHash('sha256');
  for (const { path, text } of [...metadataFiles(plan), ...countryFiles(plan)]) hash.update(path).update(text);
  for (const landmark of plan.landmarks) {
    const random = randomOf(1, 'digest', subjectOf(landmark));
    hash.update(pictureOf(landmarkOf(1, landmark.model, landmark.twin), random, 0.5));
  }
  return hash.digest('hex');
}

test('a seed keeps its meaning: another plan or drawing comes with another generator number', () => {
  expect({ miniGenerator, digest: digestOfSeed1() }).toEqual({
    miniGenerator: 2,
    digest: 'd2180e5041963005ea163b1a9832b7a157e265a58fa570cbbaed7bce0bf3674c',
  });
});
