import {
  CairnError,
  callerActions,
  datasetPage,
  datasetReference,
  datasetRequest,
  datasetUsage,
  datasetView,
  pageQuery,
} from '@cairn/contract';
import { getDataset, listDatasets, readDatasetUsage } from '@cairn/db';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import { type App, problems } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
import type { ApiDeps } from './api-deps.ts';

const versionedParams = z.object({ name: datasetReference });

export function datasetRoutes(app: App, { prisma, engine, inspectSource }: ApiDeps): void {
  const tags = ['datasets'];

  app.post(
    '/v1/datasets',
    {
      config: { role: callerActions['dataset.add'], load: 'transfer' },
      schema: {
        operationId: 'addDataset',
        tags,
        summary: 'Register a dataset',
        description:
          'Checks the CSV files and the images and keeps a digest of both. The same name with the same content returns the existing version; ' +
          'changed content creates a new version. Listing millions of files takes minutes; the call can be repeated.',
        body: datasetRequest,
        response: {
          200: datasetView.describe('The existing version.'),
          201: datasetView.describe('The new version.'),
          ...problems,
        },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const { name, source } = request.body;
      const inspected = await inspectSource(source, closedSignal(reply));
      const { dataset, created } = await engine.registerDataset({ name, source, ...inspected }, caller);
      return reply
        .code(created ? 201 : 200)
        .header('location', `/v1/datasets/${name}@${dataset.version}`)
        .send(dataset);
    },
  );

  app.get(
    '/v1/datasets',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'listDatasets',
        tags,
        summary: 'List datasets, every version, newest first',
        querystring: pageQuery,
        response: { 200: datasetPage, ...problems },
      },
    },
    (request) => listDatasets(prisma, { projectId: callerOf(request).projectId, ...request.query }),
  );

  app.get(
    '/v1/datasets/:name',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getDataset',
        tags,
        summary: 'Show a dataset: its newest version, or that of `name@version`',
        params: versionedParams,
        response: { 200: datasetView, ...problems },
      },
    },
    (request) => getDataset(prisma, { projectId: callerOf(request).projectId, ...versionOf(request.params.name) }),
  );

  app.get(
    '/v1/datasets/:name/usage',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getDatasetUsage',
        tags,
        summary: 'Show what was made from a dataset: its versions, the lists with their counts, the newest runs and models',
        params: versionedParams,
        response: { 200: datasetUsage, ...problems },
      },
    },
    (request) => readDatasetUsage(prisma, { projectId: callerOf(request).projectId, ...versionOf(request.params.name) }),
  );
}

/** `name` is its newest version. */
function versionOf(reference: string): { name: string; version: number | null } {
  const [name, version] = reference.split('@');
  if (name === undefined) throw new CairnError('invalid_request', 'the dataset has no name');
  return { name, version: version === undefined ? null : Number(version) };
}
