import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { viewOf } from './camera.ts';
import { landmarkOf } from './landmark.ts';
import { lightOf } from './light.ts';
import { miniGenerator } from './manifest.ts';
import { countryFiles, metadataFiles } from './metadata.ts';
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
    expect(plan.landmarks.length).toBeGreaterThanOrEqual(48);
    expect(plan.clean.length).toBeGreaterThanOrEqual(40);
    expect(count('index')).toBeGreaterThan(600);
    expect(count('index')).toBeLessThan(800);
    expect(byId.size).toBe(plan.images.length);
    const usage = (name: string): number => plan.queries.filter((query) => query.usage === name).length;
    expect([usage('Public'), usage('Private'), usage('Ignored')]).toEqual([34, 68, 20]);
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

  test('joins train and index by category alone: the landmark ids differ, and a gid is no landmark id', () => {
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
    const model = landmarkOf(1, landmark.model, landmark.twin ?? undefined);
    hash.update(pictureOf(model, viewOf(random, model, 0.5), lightOf(random, 0.5), random, 0.5));
  }
  return hash.digest('hex');
}

test('a seed keeps its meaning: another plan or drawing comes with another generator number', () => {
  expect({ miniGenerator, digest: digestOfSeed1() }).toEqual({
    miniGenerator: 1,
    digest: 'e02d3dc4f6e5ec9b230e689b93d6b5fd7234be5f4a85df9466d92fc57b97db26',
  });
});
