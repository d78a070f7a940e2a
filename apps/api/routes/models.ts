import {
  aliasChange,
  aliasList,
  aliasMovePage,
  aliasName,
  aliasRequest,
  CairnError,
  fileName,
  idOf,
  lineage,
  type ModelCard,
  modelCard,
  modelPage,
  modelReference,
  modelVersionReference,
  pageQuery,
  safeName,
} from '@cairn/contract';
import { findModelCard, getArtifact, listAliases, listAliasMoves, listModels, listModelVersions, modelLineage } from '@cairn/db';
import { markdownCode, markdownText } from '@cairn/runtime';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import { type App, nameParams, problems } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
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

/** What is downloaded through the service: models are some hundred megabytes, features a thousand times that. */
const servedKinds = ['model', 'registration'] as const;

const octets = { 'application/octet-stream': { schema: z.any() } };

/** The card of a version of a model, and the files of models. */
export function modelFileRoutes(app: App, { prisma, store, locate }: ApiDeps): void {
  const tags = ['models'];
  const config = { role: 'viewer' } as const;
  const params = z.object({ name: modelVersionReference });
  const find = (projectId: string, reference: string) => findModelCard(prisma, { projectId, reference });

  app.get(
    '/v1/models/:name/card',
    {
      config,
      schema: {
        operationId: 'getModelCard',
        tags,
        summary: 'Show the card of a version of a model: its data, recipe, scores, licences, files and lineage',
        description: 'The version is named as NAME@VERSION or NAME@ALIAS.',
        params,
        response: { 200: modelCard, ...problems },
      },
    },
    async (request) => (await find(callerOf(request).projectId, request.params.name)).card,
  );

  app.get(
    '/v1/models/:name/card.md',
    {
      config: { ...config, load: 'transfer' },
      schema: {
        operationId: 'readModelCard',
        tags,
        summary: 'Read the card of a version of a model as Markdown',
        description: 'As it was written at the registration, with the recipe and the aliases that name the version now.',
        params,
        response: { 200: { description: 'The card.', content: { 'text/markdown': { schema: z.string() } } }, ...problems },
      },
    },
    async (request, reply) => {
      const { card, markdown } = await find(callerOf(request).projectId, request.params.name);
      const written = markdown === null ? null : await store.getBytes(markdown.key, { signal: closedSignal(reply) });
      const head = written?.toString() ?? `# ${markdownText(card.model)}\n`;
      return reply.header('content-type', 'text/markdown; charset=utf-8').send(`${head.trimEnd()}\n\n${standing(card)}`);
    },
  );

  app.get(
    '/v1/artifacts/:id/files/:file',
    {
      config: { ...config, load: 'transfer' },
      schema: {
        operationId: 'readArtifactFile',
        tags: ['artifacts'],
        summary: 'Download a file of a model or of its card',
        description:
          'With `Range: bytes=N-` from byte N on, so that an interrupted download continues. Other artifacts are read from the object ' +
          'storage, whose location `GET /v1/artifacts/ID` has.',
        params: z.object({ id: idOf('artifact'), file: fileName }),
        response: {
          200: { description: 'The bytes of the file.', content: octets },
          206: { description: 'Its bytes from the range on.', content: octets },
          ...problems,
        },
      },
    },
    async (request, reply) => {
      const { id, file } = request.params;
      const artifact = await getArtifact(prisma, { projectId: callerOf(request).projectId, artifactId: id, locate });
      const { kind, files, location, prefix } = artifact;
      if (!servedKinds.some((one) => one === kind))
        throw new CairnError('invalid_request', `${id} is of the kind ${kind}, which is not downloaded through the service`, {
          details: { remedy: `Read it from the storage: ${location}` },
        });
      const found = files.find(({ name }) => name === file);
      if (found === undefined) {
        const names = files.map(({ name }) => name).join(', ');
        throw new CairnError('not_found', `Artifact ${id} has no file ${file}; its files are ${names}`);
      }
      const start = startOf(request.headers.range, found.bytes);
      const bytes = await store.get(`${prefix}${file}`, { range: { start: start ?? 0 }, signal: closedSignal(reply) });
      if (start !== null) reply.code(206).header('content-range', `bytes ${start}-${found.bytes - 1}/${found.bytes}`);
      return reply
        .header('content-type', 'application/octet-stream')
        .header('content-length', found.bytes - (start ?? 0))
        .header('accept-ranges', 'bytes')
        .header('etag', `"${found.sha256}"`)
        .header('content-disposition', `attachment; filename="${file}"`)
        .send(bytes);
    },
  );
}

/** The first byte of a range up to the end, which a continued download asks for; null for any other header, which may be ignored. */
function startOf(range: string | undefined, bytes: number): number | null {
  const [, digits] = /^bytes=([0-9]{1,15})-$/.exec(range ?? '') ?? [];
  const start = digits === undefined ? null : Number(digits);
  return start === null || start >= bytes ? null : start;
}

/** What of a card may change after the registration, or is too long for its tables. */
function standing({ aliases, run, data, startingWeights, matcher }: ModelCard): string {
  const licences = (imports: ModelCard['startingWeights']): string[] =>
    imports.map(({ name, source, licence }) => {
      const from = source === null ? '' : ` from ${markdownText(source)}`;
      return `- ${markdownText(name)}${from}: ${licence === null ? 'no licence was given' : markdownText(licence)}`;
    });
  const yaml = run?.recipeYaml ?? '';
  const fence = '`'.repeat(Math.max(3, ...(yaml.match(/`+/g) ?? []).map((ticks) => ticks.length + 1)));
  return [
    '## Aliases',
    '',
    aliases.length === 0 ? 'No alias names this version.' : aliases.map(markdownText).join(', '),
    '',
    ...(data === null ? [] : ['## Dataset', '', `${markdownText(data.dataset)}, digest ${markdownCode(data.digest)}`, '']),
    ...(startingWeights.length === 0 ? [] : ['## Starting weights', '', ...licences(startingWeights), '']),
    ...(matcher === null ? [] : ['## Matcher', '', ...licences([matcher]), '']),
    ...(run === null ? [] : ['## Recipe', '', `${fence}yaml`, yaml.trimEnd(), fence, '']),
  ].join('\n');
}
