import {
  aliasChange,
  aliasList,
  aliasMovePage,
  aliasName,
  aliasRequest,
  lineage,
  modelPage,
  modelReference,
  pageQuery,
  safeName,
} from '@cairn/contract';
import { listAliases, listAliasMoves, listModels, listModelVersions, modelLineage } from '@cairn/db';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import type { App } from '../http/bare-app.ts';
import { nameParams, problems } from '../http/route-schemas.ts';
import type { ApiDeps } from './api-deps.ts';

export function modelRoutes(app: App, { engine, prisma }: ApiDeps): void {
  const tags = ['models'];
  const config = { role: 'viewer' } as const;
  const change = { role: 'submitter' } as const;
  const aliasParams = z.object({ name: safeName, alias: aliasName });

  app.get(
    '/v1/models',
    {
      config,
      schema: {
        operationId: 'listModels',
        tags,
        summary: 'List models by name, each in its newest version',
        querystring: pageQuery,
        response: { 200: modelPage, ...problems },
      },
    },
    (request) => listModels(prisma, { projectId: callerOf(request).projectId, ...request.query }),
  );

  app.get(
    '/v1/models/:name',
    {
      config,
      schema: {
        operationId: 'listModelVersions',
        tags,
        summary: 'List the versions of a model, newest first',
        params: nameParams,
        querystring: pageQuery,
        response: { 200: modelPage, ...problems },
      },
    },
    (request) => listModelVersions(prisma, { projectId: callerOf(request).projectId, name: request.params.name, ...request.query }),
  );

  app.get(
    '/v1/models/:name/lineage',
    {
      config,
      schema: {
        operationId: 'getModelLineage',
        tags,
        summary: 'Show what a version of a model was made from',
        description:
          '`NAME` is the newest version, `NAME@VERSION` and `NAME@ALIAS` are others. The steps that made it, the dataset and the lists that they ' +
          'read, imported weights, and the steps of other runs whose results it uses.',
        params: z.object({ name: modelReference }),
        response: { 200: lineage, ...problems },
      },
    },
    (request) => modelLineage(prisma, { projectId: callerOf(request).projectId, reference: request.params.name }),
  );

  app.get(
    '/v1/models/:name/aliases',
    {
      config,
      schema: {
        operationId: 'listAliases',
        tags,
        summary: 'List the aliases of a model with the versions that they name',
        params: nameParams,
        response: { 200: aliasList, ...problems },
      },
    },
    async (request) => ({
      items: await listAliases(prisma, { projectId: callerOf(request).projectId, model: request.params.name }),
    }),
  );

  app.get(
    '/v1/models/:name/aliases/:alias/moves',
    {
      config,
      schema: {
        operationId: 'listAliasMoves',
        tags,
        summary: 'List the changes of an alias, newest first',
        description: 'A history to which changes are only added. It stays when the alias is removed.',
        params: aliasParams,
        querystring: pageQuery,
        response: { 200: aliasMovePage, ...problems },
      },
    },
    (request) => {
      const { name: model, alias } = request.params;
      return listAliasMoves(prisma, { projectId: callerOf(request).projectId, model, alias, ...request.query });
    },
  );

  app.put(
    '/v1/models/:name/aliases/:alias',
    {
      config: change,
      schema: {
        operationId: 'setAlias',
        tags,
        summary: 'Let an alias name a version of a model',
        description: 'Creates the alias or moves it. With `ifVersion`, only if it names that version now.',
        params: aliasParams,
        body: aliasRequest,
        response: { 200: aliasList, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      const { name: model, alias } = request.params;
      await engine.setAlias({ model, alias }, request.body, caller);
      return { items: await listAliases(prisma, { projectId: caller.projectId, model }) };
    },
  );

  app.post(
    '/v1/models/:name/aliases/:alias/rollback',
    {
      config: change,
      schema: {
        operationId: 'rollBackAlias',
        tags,
        summary: 'Let an alias name the version that it named before',
        params: aliasParams,
        body: aliasChange,
        response: { 200: aliasList, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      const { name: model, alias } = request.params;
      await engine.rollBackAlias({ model, alias }, request.body.reason, caller);
      return { items: await listAliases(prisma, { projectId: caller.projectId, model }) };
    },
  );

  app.delete(
    '/v1/models/:name/aliases/:alias',
    {
      config: change,
      schema: {
        operationId: 'removeAlias',
        tags,
        summary: 'Remove an alias; its history stays',
        params: aliasParams,
        querystring: aliasChange,
        response: { 200: aliasList, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      const { name: model, alias } = request.params;
      await engine.removeAlias({ model, alias }, request.query.reason, caller);
      return { items: await listAliases(prisma, { projectId: caller.projectId, model }) };
    },
  );
}
