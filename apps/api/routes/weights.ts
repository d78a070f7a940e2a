import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  type ArtifactDetails,
  CairnError,
  callerActions,
  matcherFile,
  matcherForm,
  maxWeightsBytes,
  pageQuery,
  protocol,
  type WeightsContent,
  type WeightsQuery,
  type WeightsView,
  weightsPage,
  weightsQuery,
  weightsView,
} from '@cairn/contract';
import { getWeights, inTransaction, isUniqueViolation, listWeights, type Prisma, type PrismaClient, weightsViewOf } from '@cairn/db';
import { type Actor, audit } from '@cairn/engine';
import { newId } from '@cairn/runtime';
import { commitArtifact, type ObjectStore } from '@cairn/storage';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { requireRole } from '../auth/authenticate.ts';
import { callerOf } from '../auth/guard.ts';
import { type App, nameParams, problems } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
import type { ApiDeps } from './api-deps.ts';

export function weightsRoutes(app: App, deps: ApiDeps): void {
  const { prisma, weightsQuota } = deps;
  const tags = ['weights'];

  app.put(
    '/v1/weights/:name',
    {
      config: { role: callerActions['weights.import'], maxOctets: maxWeightsBytes, load: 'transfer' },
      schema: {
        operationId: 'importWeights',
        tags,
        summary: 'Import a file of tensors under a name',
        description:
          'The body is the file, as binary data; the query describes it. Nothing is kept unless all of it arrives with the declared SHA-256. ' +
          'Importing the same file under the same name changes nothing. `cairn import weights` checks the file against the backbone first, which is ' +
          'not done here; the trainer rejects a mismatch.',
        params: nameParams,
        querystring: weightsQuery,
        response: {
          200: weightsView.describe('They already exist.'),
          201: weightsView.describe('They were imported.'),
          ...problems,
        },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const { body } = request;
      if (!(body instanceof Readable)) throw new CairnError('invalid_request', 'The file is missing: send it as application/octet-stream');
      const { name } = request.params;
      const giveBack = await weightsQuota.reserve({ projectId: caller.projectId, owner: caller.name, name, bytes: lengthOf(request) });
      const signal = closedSignal(reply);
      const { weights, created } = await importWeights(deps, { actor: caller, name, declared: request.query, body, signal }).finally(
        giveBack,
      );
      return reply
        .code(created ? 201 : 200)
        .header('location', `/v1/weights/${name}`)
        .send(weights);
    },
  );

  app.get(
    '/v1/weights',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'listWeights',
        tags,
        summary: 'List imported weights, newest first',
        querystring: pageQuery,
        response: { 200: weightsPage, ...problems },
      },
    },
    (request) => listWeights(prisma, { projectId: callerOf(request).projectId, ...request.query }),
  );

  app.get(
    '/v1/weights/:name',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getWeights',
        tags,
        summary: 'Show imported weights',
        params: nameParams,
        response: { 200: weightsView, ...problems },
      },
    },
    (request) => getWeights(prisma, { projectId: callerOf(request).projectId, name: request.params.name }),
  );

  app.delete(
    '/v1/weights/:name',
    {
      config: { role: callerActions['weights.import'] },
      schema: {
        operationId: 'removeWeights',
        tags,
        summary: 'Remove imported weights',
        description:
          'Only an admin can remove weights of another owner. Runs that were submitted with them keep them. The next garbage collection (`cairn gc`) removes the file once no run refers to it.',
        params: nameParams,
        response: { 204: z.null().describe('They were removed.'), ...problems },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const { id, name, sha256, owner } = await getWeights(prisma, { projectId: caller.projectId, name: request.params.name });
      if (owner !== caller.name) requireRole(caller, 'admin', `the weights ${name} belong to ${owner}`);
      await inTransaction(prisma, async (tx) => {
        const { count } = await tx.weights.deleteMany({ where: { id } });
        const before = { name, sha256, owner };
        if (count > 0) await audit(tx, caller, { action: 'weights.remove', target: id, before, after: null });
      });
      return reply.code(204).send(null);
    },
  );
}

/** The file's declared length, before a byte is read; a body cannot exceed it. */
function lengthOf({ headers }: FastifyRequest): number {
  const announced = headers['content-length'];
  if (announced === undefined) throw new CairnError('invalid_request', 'The length of the file is missing: send Content-Length');
  return Number(announced);
}

type NewWeights = {
  actor: Actor;
  name: string;
  declared: WeightsQuery;
  /** The file's bytes. */
  body: Readable;
  signal: AbortSignal;
};

type Deps = { prisma: PrismaClient; store: ObjectStore };

/** The kind of the artifact and its file name, by which attempts read it. */
const artifactOf = {
  backbone: { kind: 'weights', folder: 'weights', file: 'weights.pth' },
  model: { kind: 'checkpoint', folder: 'checkpoints', file: 'checkpoint.pt' },
  matcher: { kind: 'matcher', folder: 'matchers', file: matcherFile },
} as const satisfies Record<WeightsContent, { kind: string; folder: string; file: string }>;

/**
 * Stores a file of tensors as an artifact under a name. Importing the same file under the same name changes nothing; under another name it
 * is stored only once. The next garbage collection removes the remains of an incomplete upload.
 *
 * @throws CairnError `name_taken` for another file, `content_mismatch`, `invalid_request`, and storage errors
 */
async function importWeights(deps: Deps, wanted: NewWeights): Promise<{ weights: WeightsView; created: boolean }> {
  const { content, backbone, embeddingDim, classes } = wanted.declared;
  if ((backbone === undefined) !== (content === 'matcher'))
    throw new CairnError('invalid_request', content === 'matcher' ? 'A matcher has no backbone' : `A ${content} requires its backbone`);
  if (content === 'model' && (embeddingDim === undefined || classes === undefined))
    throw new CairnError('invalid_request', 'A whole model requires embeddingDim and classes; `cairn import model` reads them');
  const there = await sameName(deps, wanted);
  const artifactId = there === null ? await storedBefore(deps, wanted) : there.artifactId;
  if (artifactId !== null) await verifyUpload(wanted);
  if (there !== null) return { weights: there, created: false };
  return artifactId === null ? storeFile(deps, wanted) : give(deps, wanted, artifactId);
}

/**
 * Reads the upload of a file that is already stored. Knowing the digest is not enough to give it a name: the client must have the file
 * itself. And a client that is answered before it has sent everything may take that for a broken connection.
 */
async function verifyUpload(wanted: NewWeights): Promise<void> {
  const hash = createHash('sha256');
  let bytes = 0;
  await pipeline(
    wanted.body,
    async function* counted(chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        bytes += chunk.length;
        yield chunk;
      }
    },
    hash,
    { signal: wanted.signal },
  );
  requireAnnounced(wanted, bytes, hash.digest('hex'));
}

function requireAnnounced({ name, declared }: NewWeights, bytes: number, sha256: string): void {
  if (sha256 !== declared.sha256)
    throw new CairnError('content_mismatch', `Received ${bytes} bytes of ${name} with the SHA-256 ${sha256}; expected ${declared.sha256}`);
}

async function sameName({ prisma }: Deps, { actor: { projectId }, name, declared }: NewWeights): Promise<WeightsView | null> {
  const row = await prisma.weights.findUnique({ where: { projectId_name: { projectId, name } } });
  if (row === null) return null;
  const wanted = { ...declared, backbone: networkOf(declared) };
  const differing = (['sha256', 'content', 'backbone', 'extent'] as const).filter((field) => row[field] !== wanted[field]);
  if (differing.length === 0) return weightsViewOf(row);
  const words = differing.map((field) => `${field} ${row[field]}, not ${wanted[field]}`).join('; ');
  throw new CairnError('name_taken', `The weights ${name} already exist with ${words}`, {
    details: { remedy: `Choose another name with --name, or remove the existing weights: \`cairn weights remove ${name}\`.` },
  });
}

const networkOf = ({ backbone = matcherForm }: WeightsQuery): string => backbone;

async function storedBefore({ prisma }: Deps, { actor: { projectId }, declared: { sha256, content } }: NewWeights): Promise<string | null> {
  const row = await prisma.weights.findFirst({ where: { projectId, sha256, content }, select: { artifactId: true } });
  return row?.artifactId ?? null;
}

async function storeFile(deps: Deps, wanted: NewWeights) {
  const { prisma, store } = deps;
  const { actor, name, declared, body, signal } = wanted;
  const { kind, folder, file } = artifactOf[declared.content];
  const id = newId('artifact');
  const [prefix, staging] = [`${folder}/${id}`, `staging/${id}`];
  const createdAt = new Date();
  await prisma.artifact.create({
    data: { id, projectId: actor.projectId, kind, state: 'building', prefix: `${prefix}/`, stepName: '', createdAt },
  });
  try {
    const from = `${staging}/${file}`;
    const { bytes, sha256 } = await store.put(from, body, { signal });
    requireAnnounced(wanted, bytes, sha256);
    const { source, licence } = declared;
    const details = {
      imported: name,
      backbone: networkOf(declared),
      source: source ?? null,
      licence: licence ?? null,
    } satisfies ArtifactDetails['weights'];
    const manifest = await commitArtifact(store, {
      prefix,
      files: [{ name: file, from, bytes, sha256 }],
      manifest: { kind, id, protocol, createdAt: createdAt.toISOString(), details },
      signal,
    });
    const ready = { state: 'ready', digest: manifest.digest, files: manifest.files, details, bytes, readyAt: new Date() };
    return await give(deps, wanted, id, ready);
  } catch (error) {
    await prisma.artifact.updateMany({ where: { id, weights: { none: {} } }, data: { state: 'deleting' } });
    throw error;
  } finally {
    await store.removePrefix(staging);
  }
}

/** Gives an artifact its name, which makes it ready. Of two concurrent imports under one name the first wins. */
async function give(deps: Deps, wanted: NewWeights, artifactId: string, ready?: Prisma.ArtifactUpdateManyMutationInput) {
  const { prisma } = deps;
  const { actor, name } = wanted;
  const { projectId, name: owner } = actor;
  const { source = null, licence = null, embeddingDim = null, classes = null, ...others } = wanted.declared;
  const declared = { ...others, backbone: networkOf(wanted.declared) };
  try {
    const row = await inTransaction(prisma, async (tx) => {
      if (ready !== undefined) await tx.artifact.updateMany({ where: { id: artifactId, state: 'building' }, data: ready });
      const { bytes } = await tx.artifact.findUniqueOrThrow({ where: { id: artifactId, state: 'ready' }, select: { bytes: true } });
      const made = await tx.weights.create({
        data: { id: newId('weights'), projectId, owner, name, ...declared, source, licence, embeddingDim, classes, bytes, artifactId },
      });
      const after = { name, sha256: made.sha256, bytes: Number(bytes), content: made.content, backbone: made.backbone };
      await audit(tx, actor, { action: 'weights.import', target: made.id, before: null, after });
      return made;
    });
    return { weights: weightsViewOf(row), created: true };
  } catch (error) {
    const raced = isUniqueViolation(error) ? await sameName(deps, wanted) : null;
    if (raced === null) throw error;
    if (ready !== undefined) await prisma.artifact.updateMany({ where: { id: artifactId }, data: { state: 'deleting' } });
    return { weights: raced, created: false };
  }
}
