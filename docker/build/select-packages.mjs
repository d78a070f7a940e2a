#!/usr/bin/env node
// select-packages.mjs NAME...: edits package-lock.json and the manifests around it, so that `npm ci` leaves out every
// devDependency but the named ones of the root. `--omit=dev` does not: a package that a workspace wants for its tests alone (and all
// that it wants) counts as a part of that workspace.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const kept = process.argv.slice(2);

/** @param {string} file @param {(content: any) => void} change */
function edit(file, change) {
  const content = JSON.parse(readFileSync(file, 'utf8'));
  change(content);
  writeFileSync(file, JSON.stringify(content, null, 2));
}

/** @param {{ devDependencies?: Record<string, string> }} manifest @param {boolean} isRoot */
function select(manifest, isRoot) {
  const entries = Object.entries(manifest.devDependencies ?? {}).filter(([name]) => isRoot && kept.includes(name));
  manifest.devDependencies = Object.fromEntries(entries);
}

edit('package-lock.json', ({ packages }) => {
  for (const [path, manifest] of Object.entries(packages)) {
    if (path.includes('node_modules')) continue;
    select(manifest, path === '');
    edit(join(path, 'package.json'), (own) => select(own, path === ''));
  }
});
