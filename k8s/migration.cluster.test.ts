// CI runs this when k8s changes, else one time in three; it takes about 5 s.
import { expect, test } from 'vitest';
import { changed, minimal, render } from './testing/chart.ts';
import { environmentOf, of } from './testing/manifests.ts';

test('outside hooks the migration is a Job whose name follows its image', async () => {
  const plain = { migrations: { useHelmHooks: false } };
  const names = await Promise.all(
    ['1', '1', '2'].map(async (tag) => {
      const { manifests } = await render(changed(minimal, { ...plain, image: { tag } }));
      expect(of(manifests, 'Secret').map(({ metadata }) => metadata.name)).toEqual(['cairn']);
      const [job] = of(manifests, 'Job');
      expect(job?.metadata.annotations ?? {}).toEqual({});
      return job?.metadata.name;
    }),
  );
  expect(names[1]).toBe(names[0]);
  expect(names[2]).not.toBe(names[0]);
});

test("a hook brings its own Secret, as it comes before the chart's", async () => {
  const { manifests } = await render();
  const secret = of(manifests, 'Secret').find(({ metadata }) => metadata.name === 'cairn-migrate');
  expect(secret?.metadata.annotations).toMatchObject({
    'helm.sh/hook': 'pre-install,pre-upgrade,post-delete',
    'helm.sh/hook-weight': '-5',
  });
  expect(environmentOf(manifests, 'cairn-migrate').CAIRN_DATABASE_URL).toEqual({
    secretKeyRef: { name: 'cairn-migrate', key: 'database-url' },
  });
});
