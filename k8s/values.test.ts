import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { kubernetesPoolSettings } from '@cairn/executor';
import { expect, test } from 'vitest';
import { isMap, isScalar, type Pair, parseDocument, type YAMLMap } from 'yaml';
import { z } from 'zod';
import { chart, readYaml } from './testing/chart.ts';

type Schema = { [key: string]: unknown };
const schemaObject = z.record(z.string(), z.unknown());
const schema = schemaObject.parse(JSON.parse(await readFile(join(chart, 'values.schema.json'), 'utf8')));
const definitions = schemaObject.parse(schema.$defs);
const valuesText = await readFile(join(chart, 'values.yaml'), 'utf8');
const examples = join(import.meta.dirname, 'examples');

test("the schema of a pool's settings is that of the executor", () => {
  // The namespace has a default in the chart. For the name of a property Helm names a place in another part of the values.
  const written = JSON.stringify(kubernetesPoolSettings.toJSONSchema({ io: 'input' }), (key, value: unknown) =>
    key === '$schema' || key === 'propertyNames' ? undefined : value,
  );
  const { required = [], ...own } = schemaObject.parse(JSON.parse(written));
  const needed = z
    .array(z.string())
    .parse(required)
    .filter((name) => name !== 'namespace');
  expect(definitions.poolSettings).toEqual({ ...own, required: needed });
});

test('the schema knows exactly the values of values.yaml', () => {
  const faults: string[] = [];
  compare(parseDocument(valuesText).toJS(), schema, '');
  expect(faults).toEqual([]);

  function compare(values: unknown, given: unknown, at: string): void {
    const node = resolved(given);
    const properties = schemaObject.safeParse(node.properties).data;
    const map = schemaObject.safeParse(values).data;
    if (properties === undefined || map === undefined) return;
    for (const name of Object.keys(map)) {
      if (name in properties) compare(map[name], properties[name], `${at}/${name}`);
      else faults.push(`${at}/${name} is not in the schema`);
    }
    // Helm adds `global` to the values of every chart.
    for (const name of Object.keys(properties)) if (!(name in map) && name !== 'global') faults.push(`${at}/${name} is not in values.yaml`);
  }
});

test('every value is explained: each of a group, or the group as a whole', () => {
  const document = parseDocument(valuesText);
  if (!isMap(document.contents)) throw new Error('values.yaml is not a map');
  expect(unexplained(document.contents, '', false)).toEqual([]);
});

function unexplained(map: YAMLMap, at: string, explained: boolean): string[] {
  // The comment of a map's first key belongs to the map, for the parser.
  const commented = map.items.map(({ key }, index) =>
    Boolean((isScalar(key) && key.commentBefore) || (index === 0 && (map.commentBefore || at === ''))),
  );
  const asWhole = explained && !commented.includes(true);
  return map.items.flatMap((pair, index) => {
    const path = `${at}${keyOf(pair)}`;
    const own = asWhole || commented[index] === true;
    if (isMap(pair.value) && pair.value.items.length > 0 && !pair.value.flow) return unexplained(pair.value, `${path}.`, own);
    return own ? [] : [path];
  });
}

test('the settings of every example are those of the executor', async () => {
  const files = (await readdir(examples)).filter((name) => name.endsWith('-values.yaml'));
  expect(files).not.toEqual([]);
  const withPools = z.looseObject({
    pools: z.array(z.strictObject({ name: z.string(), slots: z.number(), settings: kubernetesPoolSettings })),
  });
  for (const file of files) expect(withPools.safeParse(await readYaml(join(examples, file))).error, file).toBeUndefined();
});

test('every variable that the chart gives the api is one that it reads, and may not be given twice', async () => {
  const template = await readFile(join(chart, 'templates/api.yaml'), 'utf8');
  const validation = await readFile(join(chart, 'templates/_validate.tpl'), 'utf8');
  const reads = await readFile(join(import.meta.dirname, '../apps/api/configuration.ts'), 'utf8');
  const given = [...template.matchAll(/name: (CAIRN_\w+)/g)].map(([, name = '']) => name);
  expect(given).toContain('CAIRN_METRICS_PORT');
  for (const name of given) {
    expect(reads).toMatch(new RegExp(`^  ${name}: `, 'm'));
    expect(validation).toContain(`"${name}" "`);
  }
});

test('the port of each server that the chart names is the one that it gives the api', async () => {
  const template = await readFile(join(chart, 'templates/api.yaml'), 'utf8');
  const policies = await readFile(join(chart, 'templates/network-policies.yaml'), 'utf8');
  const ports = { http: 'CAIRN_API_PORT', internal: 'CAIRN_INTERNAL_PORT', metrics: 'CAIRN_METRICS_PORT' };
  for (const [name, variable] of Object.entries(ports)) {
    const port = new RegExp(`name: ${variable}, value: "(\\d+)"`).exec(template)?.[1];
    expect(template).toContain(`{ name: ${name}, containerPort: ${port} }`);
    expect(policies).toContain(`{ protocol: TCP, port: ${port} }`);
  }
  expect(await readFile(join(chart, 'templates/service-monitor.yaml'), 'utf8')).toContain('- port: metrics\n');
});

function keyOf({ key }: Pair): string {
  return isScalar(key) ? String(key.value) : '';
}

function resolved(node: unknown): Schema {
  const object = schemaObject.parse(node);
  const name = typeof object.$ref === 'string' ? object.$ref.slice('#/$defs/'.length) : null;
  return name === null ? object : schemaObject.parse(definitions[name]);
}
