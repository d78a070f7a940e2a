import { pathToFileURL } from 'node:url';
import { makeRunFolder, removeRunFolder } from '@cairn/testing';
import { afterEach, beforeEach } from 'vitest';
import { openStore } from './open-store.ts';
import { artifactContract } from './testing/artifact-contract.ts';

let root: string;
beforeEach(async () => {
  root = await makeRunFolder();
});
afterEach(() => removeRunFolder(root));

artifactContract(() => openStore(pathToFileURL(root).href));
