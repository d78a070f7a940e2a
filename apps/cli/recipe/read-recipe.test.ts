import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { CairnError } from '@cairn/contract';
import { describe, expect, test } from 'vitest';
import { parseRecipe, parseSetOption, parseSetOptions, readRecipe } from './read-recipe.ts';

const limit = AbortSignal.timeout(60_000);
const execute = promisify(execFile);

const good = `name: mine
dataset: mini
model: { backbone: resnet18 }
stages:
  '384':
    from: init
    list: clean
    imageSize: 48
    epochs: 1
    learningRate: 0.03
    batch: 16
    ranks: 2
export: { stage: '384', imageSize: 48 }
extract:
  index: { list: index }
  query: { list: query }
register: { model: mine }
`;

/** The error of a recipe in which `from` was replaced by `to`. */
function faultOf(from: string, to: string): CairnError {
  const source = good.replace(from, to);
  expect(source).not.toBe(good);
  try {
    parseRecipe(source, 'recipe.yaml');
  } catch (error) {
    if (error instanceof CairnError) return error;
    throw error;
  }
  throw new Error('expected the recipe to be refused');
}

test('a valid recipe is read, with its defaults', () => {
  const recipe = parseRecipe(good, 'recipe.yaml');
  expect(recipe.stages['384']).toMatchObject({ epochs: 1, momentum: 0.9 });
});

test('a recipe may share settings by anchors and merge keys', () => {
  const shared = good.replace("  '384':\n", "  '384': &first\n").replace('export:', "  second:\n    <<: *first\n    from: '384'\nexport:");
  expect(parseRecipe(shared, 'recipe.yaml').stages.second).toMatchObject({ from: '384', list: 'clean', batch: 16 });
});

describe('YAML that cannot be read', () => {
  test('is reported with line, column and the line itself', () => {
    const error = faultOf('    list: clean', '    list: [clean');
    expect(error).toMatchObject({ code: 'invalid_yaml', details: { line: 8, column: 5 } });
    expect(error.message).toMatch(/^recipe\.yaml:8:5: /);
    expect(error.details.frame).toBe('7 |     list: [clean\n8 |     imageSize: 48\n  |     ^');
  });

  test('includes a duplicate key, a wrong indentation, an alias without an anchor, and too many aliases', () => {
    expect(faultOf('    epochs: 1', '    epochs: 1\n    epochs: 2')).toMatchObject({
      code: 'invalid_yaml',
      details: { line: 10, column: 5 },
    });
    expect(faultOf('    list: clean', '   list: clean')).toMatchObject({ code: 'invalid_yaml', details: { line: 7 } });
    expect(faultOf('list: clean', 'list: *nothing')).toMatchObject({ code: 'invalid_yaml' });
    const bomb = [
      'a: &a [x, x, x, x, x, x, x, x, x]',
      ...'bcdef'.split('').map((name, i) => `${name}: &${name} [${`*${'abcde'[i]}, `.repeat(9)}]`),
    ];
    expect(faultOf('name: mine', `${bomb.join('\n')}\nname: mine`)).toMatchObject({ code: 'invalid_yaml' });
  });
});

describe('a recipe that does not match the schema', () => {
  test('lists the backbones and suggests the nearest one; a network of timm is accepted', () => {
    const error = faultOf('backbone: resnet18', 'backbone: resnest100');
    expect(error.message).toContain('model.backbone is "resnest100": use resnet18, resnet10_w32, resnet50, ');
    expect(error.message).toContain('or timm: followed by the name of a timm network; did you mean "resnest101"?');
    const taken = parseRecipe(good.replace('resnet18', 'timm:convnext_base.fb_in22k'), 'recipe.yaml');
    expect(taken.model?.backbone).toBe('timm:convnext_base.fb_in22k');
  });

  test('names the path, the place and the nearest setting', () => {
    const error = faultOf('    ranks: 2', '    ranks: 2\n    learningrate: 1');
    expect(error).toMatchObject({
      code: 'unknown_setting',
      message: 'recipe.yaml:13:5: stages.384 has no setting "learningrate"; did you mean "learningRate"?',
      details: { file: 'recipe.yaml', line: 13, column: 5, path: 'stages.384.learningrate', nearest: 'learningRate' },
    });
    expect(error.details.frame).toContain('13 |     learningrate: 1\n   |     ^^^^^^^^^^^^');
  });

  test('reports a misspelt required setting as one error', () => {
    expect(faultOf('epochs: 1', 'epoch: 1').message).toBe('recipe.yaml:9:5: stages.384 has no setting "epoch"; did you mean "epochs"?');
  });

  test('shows a missing setting at the map that lacks it, with what it means', () => {
    const error = faultOf('    epochs: 1\n', '');
    expect(error).toMatchObject({ code: 'invalid_setting', details: { line: 5, column: 3, path: 'stages.384.epochs' } });
    expect(error.message).toContain('stages.384 lacks "epochs" (Passes over the list)');
  });

  test.each([
    ['a value out of range', 'batch: 16', 'batch: 1', 'stages.384.batch is 1; it must be at least 2', 11, 12],
    ['a value of a wrong type', 'epochs: 1', 'epochs: many', 'stages.384.epochs is "many", not a number', 9, 13],
    ['no value at all', 'epochs: 1', 'epochs:', 'stages.384.epochs is empty, not a number', 9, 12],
    ['a wrong choice', 'list: clean', 'list: cleen', 'did you mean "clean"?', 7, 11],
    ['a name taken for a number', "stage: '384'", 'stage: 384', 'export.stage is 384, not a text; put it in quotes: "384"', 13, 18],
    ['a name that leads out of its folder', 'name: mine', 'name: ../mine', 'use letters, digits', 1, 7],
    ['a stage whose name leads out', "'384':", '../384:', 'stages."../384" is not a valid name', 5, 3],
    ['a map where a value belongs', 'epochs: 1', 'epochs: { a: 1 }', 'stages.384.epochs is a map, not a number', 9, 13],
  ])('%s', (_, from, to, message, line, column) => {
    const error = faultOf(from, to);
    expect(error.code).toBe('invalid_setting');
    expect(error.message).toContain(message);
    expect(error.details).toMatchObject({ line, column });
  });

  test('lists every error, each with its location, when there are several', () => {
    const error = faultOf('epochs: 1\n    learningRate: 0.03', 'epochs: 0\n    learningRate: -1');
    expect(error.message.split('\n')).toEqual([
      'recipe.yaml:9:13: stages.384.epochs is 0; it must be at least 1',
      'recipe.yaml:10:19: stages.384.learningRate is -1; it must be more than 0',
    ]);
    expect(error.details.faults).toHaveLength(2);
  });

  test('a document that is empty or not a map', () => {
    expect(() => parseRecipe('', 'r.yaml')).toThrow('r.yaml:1:1: the recipe is empty, not a map');
    expect(() => parseRecipe('- a\n', 'r.yaml')).toThrow('r.yaml:1:1: the recipe is a list, not a map');
  });

  test('a key that is a number in YAML names a stage', () => {
    expect(() => parseRecipe(good.replace("'384':", '384:').replace('epochs: 1', 'epochs: 0'), 'r.yaml')).toThrow('r.yaml:9:13');
  });
});

test('a recipe in another encoding is reported as such; a byte order mark before UTF-8 is skipped', async () => {
  const read = (bytes: Buffer) => readRecipe('-', Readable.from([bytes]), limit);
  expect((await read(Buffer.from(`\ufeff${good}`))).name).toBe('mine');
  const littleEndian = Buffer.from(`\ufeff${good}`, 'utf16le');
  for (const [bytes, message] of [
    [littleEndian, '(stdin) is in UTF-16; a recipe is YAML in UTF-8'],
    [Buffer.from(littleEndian).swap16(), 'is in UTF-16'],
    [Buffer.from(good, 'utf16le'), 'NUL bytes, as UTF-16 has'],
    [Buffer.from(`description: \xe9\n${good}`, 'latin1'), 'is not in UTF-8'],
  ] as const)
    await expect(read(bytes)).rejects.toMatchObject({ code: 'invalid_yaml', message: expect.stringContaining(message) });
});

test('a stage named __proto__ is refused with its location, and one named constructor is a stage', () => {
  const named = (name: string) => good.replace("'384':", `${name}:`).replace("stage: '384'", `stage: ${name}`);
  expect(() => parseRecipe(named('__proto__'), 'r.yaml')).toThrow('r.yaml:5:3: "__proto__" cannot be a name');
  expect(Object.keys(parseRecipe(named('constructor'), 'r.yaml').stages)).toEqual(['constructor']);
});

test('endlessly nested lists do not crash the program', () => {
  expect(() => parseRecipe('['.repeat(100_000), 'r.yaml')).toThrow(expect.objectContaining({ code: 'invalid_yaml' }));
});

test('a recipe is read from a file, from stdin, and refused when it is too large or missing', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'recipe-'));
  try {
    const path = join(folder, 'recipe.yaml');
    await writeFile(path, good);
    expect((await readRecipe(path, Readable.from([]), limit)).name).toBe('mine');
    expect((await readRecipe('-', Readable.from([good]), limit)).name).toBe('mine');
    await writeFile(path, `${good}# ${'x'.repeat(1024 * 1024)}\n`);
    await expect(readRecipe(path, Readable.from([]), limit)).rejects.toMatchObject({ code: 'payload_too_large' });
    await expect(readRecipe(join(folder, 'none.yaml'), Readable.from([]), limit)).rejects.toMatchObject({ code: 'not_found' });
    await expect(readRecipe(folder, Readable.from([]), limit)).rejects.toMatchObject({ code: 'not_found' });
    await expect(readRecipe('/dev/zero', Readable.from([]), limit)).rejects.toMatchObject({ code: 'payload_too_large' });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a recipe is read from a pipe whose writer comes later, and waiting for it holds no thread', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'recipe-'));
  try {
    const pipe = join(folder, 'pipe');
    await execute('mkfifo', [pipe]);
    // More than the pool has threads: if these waited in it, the file below would never be written.
    const waiting = Array.from({ length: 8 }, () => readRecipe(pipe, Readable.from([]), limit).catch(() => null));
    const path = join(folder, 'recipe.yaml');
    await writeFile(path, good);
    const { stdout } = await execute('sh', ['-c', `cat ${path} > ${pipe}; echo written`]);
    expect(stdout).toBe('written\n');
    const texts = await Promise.all(waiting);
    expect(texts.some((one) => one?.name === 'mine')).toBe(true);
    const interrupt = new AbortController();
    const never = readRecipe(pipe, Readable.from([]), interrupt.signal);
    interrupt.abort();
    await expect(never).rejects.toMatchObject({ name: 'AbortError' });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('the value is read as YAML', () => {
  expect(parseSetOption('stages.384.epochs=2')).toEqual(['stages.384.epochs', 2]);
  expect(parseSetOption('a.b=1e-3')).toEqual(['a.b', 0.001]);
  expect(parseSetOption('a=true')).toEqual(['a', true]);
  expect(parseSetOption('a=clean')).toEqual(['a', 'clean']);
  expect(parseSetOption("stages.b.from='384'")).toEqual(['stages.b.from', '384']);
  expect(parseSetOption('prepare.lists=[clean, full]')).toEqual(['prepare.lists', ['clean', 'full']]);
  expect(parseSetOption('description=x=y')).toEqual(['description', 'x=y']);
  expect(parseSetOption('dataset=null')).toEqual(['dataset', null]);
  expect(parseSetOption('stages."v1.5".epochs=2')).toEqual(['stages."v1.5".epochs', 2]);
});

test.each([
  ['epochs', 'is not an assignment'],
  ['=2', 'is not an assignment'],
  ['epochs=', 'has no value'],
  ['lists=[a', 'is not YAML'],
])('%s is refused: it %s', (option, message) => {
  expect(() => parseSetOption(option)).toThrow(message);
});

test('a duplicate path is refused, even one that looks like a property of every object', () => {
  expect(() => parseSetOptions(['a=1', 'b=2', 'a=3'])).toThrow('--set a is given twice');
  expect(() => parseSetOptions(['a.b=1', 'a."b"=2'])).toThrow('--set a.b is given twice');
  expect(parseSetOptions(['a=1', 'toString=2'])).toEqual({ a: 1, toString: 2 });
  expect(Object.entries(parseSetOptions(['__proto__=2']))).toEqual([['__proto__', 2]]);
});
