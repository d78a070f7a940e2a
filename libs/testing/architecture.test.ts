import { globSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The libraries that each library may import: the one-way order of docs/architecture.md. */
const below: Record<string, string[]> = {
  contract: [],
  runtime: ['contract'],
  domain: ['contract'],
  storage: ['contract', 'runtime'],
  queue: ['contract', 'runtime'],
  executor: ['contract', 'runtime'],
  dataset: ['contract', 'runtime', 'storage'],
  'mini-dataset': ['contract', 'runtime', 'dataset'],
  retrieval: ['contract', 'runtime'],
  client: ['contract', 'runtime'],
  db: ['contract', 'runtime', 'domain'],
  engine: ['contract', 'runtime', 'domain', 'db'],
  judging: ['contract', 'runtime', 'domain', 'storage', 'retrieval', 'db'],
  testing: ['contract', 'runtime', 'domain', 'storage', 'queue', 'executor', 'dataset', 'retrieval', 'client', 'db'],
};
const everyLibrary = Object.keys(below).filter((name) => name !== 'testing');

type Manifest = { dependencies?: Record<string, string>; devDependencies?: Record<string, string> };
type Source = {
  /** Relative to the repository's root. */
  path: string;
  text: string;
  imports: string[];
  /** Tests and their support files: folders named testing or fixtures, and libs/testing. */
  forTests: boolean;
};
type Package = { folder: string; name: string; dependencies: string[]; devDependencies: string[]; sources: Source[] };

const rootDevDependencies = Object.keys(readManifest('').devDependencies);
const packages = ['apps/*', 'libs/*']
  .flatMap((pattern) => globSync(`${pattern}/package.json`, { cwd: root }))
  .map((path) => readPackage(path.slice(0, -'/package.json'.length)))
  .sort((a, b) => a.folder.localeCompare(b.folder, 'en'));

describe.each(packages)('$folder', (pkg) => {
  const mayImport = (below[pkg.name] ?? everyLibrary).map((name) => `@cairn/${name}`);

  test('imports only the packages below it', () => {
    const wrong = pkg.sources.flatMap((source) => {
      const allowed = source.forTests ? [...mayImport, '@cairn/testing'] : mayImport;
      const others = source.imports.map(packageOf).filter((name) => name.startsWith('@cairn/') && !allowed.includes(name));
      return others.map((name) => `${source.path} imports ${name}`);
    });
    expect(wrong).toEqual([]);
  });

  test('reaches other packages by name, never by path', () => {
    // The root's package.json is shared by all: it has the version.
    const leaves = (source: Source, specifier: string) => {
      const target = join(source.path, '..', specifier);
      return specifier.startsWith('.') && !target.startsWith(`${pkg.folder}/`) && target !== 'package.json';
    };
    const wrong = pkg.sources.flatMap((source) =>
      source.imports.filter((specifier) => leaves(source, specifier)).map((specifier) => `${source.path} imports ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  test('declares every package it imports', () => {
    const wrong = pkg.sources.flatMap((source) => {
      const declared = source.forTests
        ? [...pkg.dependencies, ...pkg.devDependencies, ...rootDevDependencies, '@cairn/testing']
        : pkg.dependencies;
      const external = source.imports.filter((specifier) => !specifier.startsWith('.') && !specifier.startsWith('node:')).map(packageOf);
      return external.filter((name) => !declared.includes(name)).map((name) => `${source.path} imports ${name}`);
    });
    expect(wrong).toEqual([]);
  });

  test('declares no package that it does not use', () => {
    // Named in any string: some are loaded by name, such as a log transport.
    const isNamed = (name: string, sources: Source[]) =>
      sources.some(({ text }) => new RegExp(`['"]${escapeRegExp(name)}[/'"]`).test(text));
    const production = pkg.name === 'testing' ? pkg.sources : pkg.sources.filter((source) => !source.forTests);
    const unused = [
      ...pkg.dependencies.filter((name) => !isNamed(name, production)),
      ...pkg.devDependencies.filter((name) => !isNamed(name, pkg.sources)),
    ];
    expect(unused).toEqual([]);
  });
});

describe('the sources', () => {
  const sources = packages.flatMap((pkg) => pkg.sources).filter((source) => !source.path.includes('/generated/'));

  test('are found', () => {
    expect(packages.map((pkg) => pkg.folder)).toEqual(expect.arrayContaining(['apps/api', 'apps/cli', 'libs/contract', 'libs/testing']));
    expect(packages.filter((pkg) => pkg.folder.startsWith('libs/')).every((pkg) => pkg.name in below)).toBe(true);
    expect(sources.length).toBeGreaterThan(100);
  });

  test('have no import cycles: a file can be read after those that it imports', () => {
    const imports = new Map(
      sources.map(({ path, imports: specifiers }) => [
        path,
        specifiers.filter((specifier) => specifier.startsWith('.')).map((specifier) => join(path, '..', specifier)),
      ]),
    );
    expect(circleIn(imports)).toEqual([]);
    const made = { 'a.ts': ['b.ts'], 'b.ts': ['c.ts', 'd.ts'], 'c.ts': [], 'd.ts': ['b.ts'] };
    expect(circleIn(new Map(Object.entries(made)))).toEqual(['b.ts', 'd.ts', 'b.ts']);
  });

  test('read environment variables only where a program starts', () => {
    const isProgram = ({ path, text }: Source) => /(^|\/)(main|demo)\.ts$/.test(path) || text.includes('import.meta.main');
    const wrong = sources
      .filter((source) => !source.forTests && !source.path.startsWith('apps/cli/bootstrap/') && !isProgram(source))
      .filter((source) => /\bprocess\.env\b/.test(source.text))
      .map((source) => source.path);
    expect(wrong).toEqual([]);
  });

  test('start Python in its isolated mode', () => {
    // Otherwise a file in the current folder, such as a download folder's pyarrow.py, would run instead of a package.
    const startsOpenly = /\b(?:python|trainerPython\(\)|interpreter\.path|'python3'),\s*(?:args:\s*)?\[(?!'-I')/;
    expect(sources.filter(({ text }) => startsOpenly.test(text)).map(({ path }) => path)).toEqual([]);
    const sets = sources.filter(({ path, text }) => !path.endsWith('.test.ts') && /PYTHONPATH[:=]/.test(text));
    expect(sets.map(({ path }) => path)).toEqual([]);
  });

  test('load the packages that many programs would load in vain at their first use: an agent starts for every attempt', () => {
    const early = /^import (?!type )[^;]*'(?:@aws-sdk\/client-s3|prom-client)'/m;
    expect(sources.filter(({ text, forTests }) => !forTests && early.test(text)).map(({ path }) => path)).toEqual([]);
  });

  test('of the bootstrap need nothing that it has not installed yet', () => {
    const wrong = sources
      .filter(({ path }) => path.startsWith('apps/cli/bootstrap/') && path.endsWith('.mjs'))
      .flatMap(({ path, imports }) => imports.filter((name) => !/^(node:|\.\/)/.test(name)).map((name) => `${path} imports ${name}`));
    expect(wrong).toEqual([]);
  });

  test('build file URLs with pathToFileURL, because in a concatenated one # ends the path and % starts an escape', () => {
    // In two pieces, because otherwise this file would match.
    const pasted = ['file:', '//${'].join('');
    expect(sources.filter(({ text }) => text.includes(pasted)).map(({ path }) => path)).toEqual([]);
  });

  test('are in folders and files whose names say what they contain', () => {
    const vague = /(^|\/)(utils?|helpers?|common|misc|shared)(\/|\.[a-z]+$)/;
    expect(sources.map((source) => source.path).filter((path) => vague.test(path))).toEqual([]);
  });
});

describe('the search for imports', () => {
  test('finds every form and ignores comments', () => {
    // In two pieces, because otherwise this file would match.
    const call = 'import';
    const text = [
      "import 'a';",
      "import type { B } from 'b';",
      'import {',
      '  one,',
      '  two as three,',
      "} from 'c/deep';",
      "export * from './d.ts';",
      "export { e } from '@cairn/e';",
      `const f = await ${call}('f');`,
      `type G = ${call}('g').G;`,
      "import h from './h.json' with { type: 'json' };",
      "// import 'commented';",
      " * import i from 'documented';",
      'export const text = "from \'string\'";',
    ].join('\n');
    expect(importsOf(text)).toEqual(['a', 'b', 'c/deep', './d.ts', '@cairn/e', './h.json', 'f', 'g']);
  });
});

/** The files of one import cycle, the first of them again at the end; empty without a cycle. */
function circleIn(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const done = new Set<string>();
  const visit = (path: string, way: readonly string[]): string[] => {
    if (way.includes(path)) return [...way.slice(way.indexOf(path)), path];
    if (done.has(path)) return [];
    for (const next of imports.get(path) ?? []) {
      const circle = visit(next, [...way, path]);
      if (circle.length > 0) return circle;
    }
    done.add(path);
    return [];
  };
  for (const path of imports.keys()) {
    const circle = visit(path, []);
    if (circle.length > 0) return circle;
  }
  return [];
}

function readManifest(folder: string): Required<Manifest> {
  const manifest: Manifest = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
  return { dependencies: manifest.dependencies ?? {}, devDependencies: manifest.devDependencies ?? {} };
}

function readPackage(folder: string): Package {
  const { dependencies, devDependencies } = readManifest(folder);
  const paths = globSync(`${folder}/**/*.{ts,tsx,mjs}`, { cwd: root, exclude: (path) => path.includes('node_modules') });
  const sources = paths.map((path): Source => {
    const text = readFileSync(join(root, path), 'utf8');
    const forTests = folder === 'libs/testing' || /\.test\.tsx?$|\/(testing|fixtures)\//.test(path);
    return { path: relative(root, join(root, path)), text, imports: importsOf(text), forTests };
  });
  return {
    folder,
    name: folder.slice(folder.indexOf('/') + 1),
    dependencies: Object.keys(dependencies),
    devDependencies: Object.keys(devDependencies),
    sources,
  };
}

/** Specifiers of all static imports and exports, then of the dynamic imports and import types. */
function importsOf(text: string): string[] {
  const code = text.replace(/^\s*(\/\/|\*|\/\*).*$/gm, '');
  const statics = code.matchAll(/^\s*(?:import|export)\s(?:[^'"`;]*?\sfrom\s)?\s*['"]([^'"]+)['"]/gm);
  const dynamics = code.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g);
  return [...statics, ...dynamics].flatMap(([, specifier]) => (specifier === undefined ? [] : [specifier]));
}

/** `@scope/name` of `@scope/name/deep`, `name` of `name/deep`. */
function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
