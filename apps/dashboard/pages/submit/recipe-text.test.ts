import { recipe as recipeSchema } from '@cairn/contract';
import { expect, test } from 'vitest';
import { assignmentsOf, overridesOf, readYaml, settingsOf, typedValue, valueAt, withoutSetting, withSetting } from './recipe-text.ts';
import { settingRows } from './setting-rows.ts';

const text = `# What it is for.
name: small
model: { backbone: resnet18 }
stages:
  384: # the first
    { from: init, list: clean, imageSize: 384, epochs: 1, learningRate: 0.1, batch: 4, ranks: 1 }
  "v1.5": { from: "384", list: clean, imageSize: 512, epochs: 1, learningRate: 0.1, batch: 4, ranks: 1 }
`;
const readValue = (yaml: string): unknown => {
  const read = readYaml(yaml);
  if ('fault' in read) throw new Error(read.fault);
  return read.value;
};
const parsed = (yaml: string) => recipeSchema.parse(readValue(yaml));
const schemaOf = (name: string) => {
  const row = settingRows(parsed(text), parsed(text)).find((one) => one.name === name);
  if (row === undefined) throw new Error(`no setting ${name}`);
  return row.schema;
};

test('a setting is changed in the text, which keeps its comments, and the change is the override of a submission', () => {
  const changed = withSetting(withSetting(text, ['stages', '384', 'epochs'], 3), ['stages', 'v1.5', 'warmupEpochs'], 2);
  expect(changed).toContain('# What it is for.');
  expect(changed).toContain('# the first');
  const set = overridesOf(parsed(text), parsed(changed));
  expect(set).toEqual({ 'stages.384.epochs': 3, 'stages."v1.5".warmupEpochs': 2 });
  expect(parsed(withoutSetting(changed, ['stages', 'v1.5', 'warmupEpochs'])).stages['v1.5']?.warmupEpochs).toBe(0);

  const again = settingsOf(assignmentsOf(set ?? {})).reduce((yaml, { path, value }) => withSetting(yaml, path, value), text);
  expect(parsed(again)).toEqual(parsed(changed));
});

test('what overrides cannot do makes the recipe one of its own: other stages, parts and names', () => {
  const base = parsed(text);
  expect(overridesOf(base, { ...base, stages: { 384: base.stages['384'] } })).toBeNull();
  expect(overridesOf(base, { ...base, stages: { ...base.stages, more: base.stages['384'] } })).toBeNull();
  const { search: _, ...without } = base;
  expect(overridesOf(base, without)).toBeNull();
  expect(overridesOf(base, { ...base, name: 'other' })).toBeNull();
  const optional = { export: { imageSize: 32 }, search: null, until: ['384'] };
  expect(overridesOf(base, { ...base, ...optional })).toEqual(optional);
});

test('a text in an alias is written again where it must be', () => {
  const shared = text.replace('"v1.5": {', '"v1.5": &later {').concat('  last: *later\n');
  const changed = readValue(withSetting(shared, ['stages', 'last', 'epochs'], 9));
  expect([valueAt(changed, ['stages', 'last', 'epochs']), valueAt(changed, ['stages', 'v1.5', 'epochs'])]).toEqual([9, 1]);
});

test('a field is read as its setting takes it', () => {
  expect(typedValue(schemaOf('stages.384.epochs'), '384')).toBe(384);
  expect(typedValue(schemaOf('stages."v1.5".from'), '384')).toBe('384');
  expect(typedValue(schemaOf('stages.384.effectiveBatch'), 'null')).toBeNull();
  expect(typedValue(schemaOf('prepare.lists'), '[clean, query]')).toEqual(['clean', 'query']);
  expect(typedValue(schemaOf('stages.384.epochs'), '[1')).toBe('[1');
  expect(assignmentsOf({ from: '384', empty: '', sampler: 'gld', lists: ['a'], none: null })).toEqual([
    'from="384"',
    'empty=""',
    'sampler=gld',
    'lists=["a"]',
    'none=null',
  ]);
});

test('every setting is a row with its default and description, those that could be given as well', () => {
  const base = parsed(text);
  const rows = settingRows({ ...base, model: { ...base.model, embeddingDim: 64 } }, base);
  const row = (name: string) => rows.find((one) => one.name === name);
  expect(row('model.embeddingDim')).toMatchObject({ value: 64, base: 512, defaultValue: 512, isChanged: true, changesResult: true });
  expect(row('stages.384.loaderWorkers')).toMatchObject({ part: 'stages.384', changesResult: false, isChanged: false });
  expect(row('stages.384.sampler')?.options).toEqual(['softmax', 'gld', 'id_uniform']);
  expect(row('stages.384.channelsLast')?.options).toEqual([true, false]);
  expect(row('stages.384.epochs')?.description).toBe('Passes over the list.');
  // What a stage starts from is one value, be it a name or a reference.
  const from = { model: 'landmark@3' };
  const on = settingRows({ ...base, stages: { 384: { ...base.stages['384'], from } } }, base).filter(({ name }) => /from/.test(name));
  expect(on).toMatchObject([{ name: 'stages.384.from', value: from, base: 'init', changesResult: true }]);
  // Without a graph, an export and a registration, nothing of them can be overridden.
  expect(rows.filter(({ name }) => /^(export|register|steps|name)/.test(name))).toEqual([]);
  expect(rows.filter(({ name }) => name.startsWith('stages.') && rows.filter((one) => one.name === name).length > 1)).toEqual([]);
});
