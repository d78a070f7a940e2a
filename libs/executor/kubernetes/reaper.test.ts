import { expect, test } from 'vitest';
import { jobObject, podObject, secretMetadata } from './cluster-objects.ts';
import { findOrphans } from './reaper.ts';
import { at } from './testing/objects.ts';

const now = Date.parse(at(100));
const job = (name: string) => jobObject.parse({ metadata: { name, uid: `job-${name}`, creationTimestamp: at(0) }, spec: {} });
const secret = (name: string, second: number, ownerReferences: object[] = []) =>
  secretMetadata.parse({ metadata: { name, uid: `secret-${name}`, creationTimestamp: at(second), ownerReferences } });
const owned = (name: string) => [{ kind: 'Job', name, uid: `job-${name}` }];
const pod = (name: string, second: number, owners: object[], status: object = { phase: 'Running' }, more: object = {}) =>
  podObject.parse({
    metadata: { name, uid: `pod-${name}`, creationTimestamp: at(second), ownerReferences: owners, ...more },
    spec: { containers: [] },
    status,
  });
const names = (objects: { metadata: { name: string } }[]) => objects.map((object) => object.metadata.name);

test('a Secret is an orphan a minute after its creation, when no Job has its name', () => {
  const secrets = [secret('old', 39), secret('young', 41), secret('owned', 0, owned('owned')), secret('used', 0)];
  const found = findOrphans([job('used')], [], secrets, now);
  expect(names(found.secrets)).toEqual(['old']);
  expect(found.unowned.map(({ secret, job }) => [secret.metadata.name, job.metadata.uid])).toEqual([['used', 'job-used']]);
});

test('a pod is an orphan when its Job is gone and it neither ended nor is being deleted', () => {
  const pods = [
    pod('left', 0, owned('gone')),
    pod('young', 50, owned('gone')),
    pod('ended', 0, owned('gone'), { phase: 'Failed' }),
    pod('ending', 0, owned('gone'), { phase: 'Running' }, { deletionTimestamp: at(99) }),
    pod('fine', 0, owned('here')),
  ];
  expect(names(findOrphans([job('here')], pods, [], now).pods)).toEqual(['left']);
});
