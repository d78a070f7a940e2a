import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { recipeSchemaText } from '@cairn/contract';
import swagger from '@fastify/swagger';
import reference from '@scalar/fastify-api-reference';
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { App } from '../http/bare-app.ts';
import { answerExamples, nameComponents, problemExample, requestExamples } from './components.ts';

const content = z.record(z.string(), z.looseObject({ example: z.unknown().optional() }));
const operation = z.looseObject({
  operationId: z.string().optional(),
  requestBody: z.looseObject({ content, required: z.boolean().optional() }).optional(),
  responses: z.record(z.string(), z.looseObject({ content: content.optional() })).optional(),
});

/** The parts of an OpenAPI 3.1 document that are used here; the rest passes through. */
export const openApiDocument = z.looseObject({
  paths: z.record(z.string(), z.record(z.string(), operation)),
  components: z.looseObject({ schemas: z.record(z.string(), z.unknown()) }),
});
type OpenApiDocument = z.infer<typeof openApiDocument>;

const schemaReference = /#\/components\/schemas\/([A-Za-z0-9_.-]+)/g;

/** Keeps only the schemas that a path refers to, directly or indirectly: each has one form for requests and one for responses. */
function dropUnusedSchemas(document: OpenApiDocument): OpenApiDocument {
  const { schemas } = document.components;
  const used = new Set<string>();
  const visit = (part: unknown): void => {
    for (const [, name] of JSON.stringify(part ?? null).matchAll(schemaReference)) {
      if (name === undefined || used.has(name)) continue;
      used.add(name);
      visit(schemas[name]);
    }
  };
  visit(document.paths);
  const kept = Object.fromEntries(Object.entries(schemas).filter(([name]) => used.has(name)));
  return { ...document, components: { ...document.components, schemas: kept } };
}

/** Marks the bodies of these operations as optional. */
function relaxBodies(document: OpenApiDocument, operationIds: ReadonlySet<string>): OpenApiDocument {
  for (const path of Object.values(document.paths)) {
    for (const { operationId = '', requestBody } of Object.values(path)) {
      if (requestBody !== undefined && operationIds.has(operationId)) requestBody.required = false;
    }
  }
  return document;
}

/** Adds the examples to the operations' request and response bodies. */
function addExamples(document: OpenApiDocument): OpenApiDocument {
  const requests: Record<string, unknown> = requestExamples;
  const answers: Record<string, unknown> = answerExamples;
  for (const path of Object.values(document.paths)) {
    for (const { operationId = '', requestBody, responses = {} } of Object.values(path)) {
      put(requestBody?.content, 'application/json', requests[operationId]);
      for (const [status, answer] of Object.entries(responses)) {
        if (status.startsWith('2')) put(answer.content, 'application/json', answers[operationId]);
        put(answer.content, 'application/problem+json', status === '4XX' ? problemExample : undefined);
      }
    }
  }
  return document;
}

function put(body: Record<string, { example?: unknown }> | undefined, type: string, example: unknown): void {
  const media = body?.[type];
  if (media !== undefined && example !== undefined) media.example = example;
}

const version = z.object({ version: z.string() });

const introduction = `Trains landmark-retrieval models in stages and extracts features for millions of images, from one call.

Every call to /v1 needs a token: \`Authorization: Bearer cairn_...\`, or the cookie that a browser got for one. Errors are problem documents (RFC 9457): \`code\` is from a fixed table,
\`detail\` says what happened to which thing, \`remedy\` what to do, and \`retry\` whether the same call may succeed later.`;

/** The page fetches only itself and the document, so it works without internet access. */
const contentSecurityPolicy =
  "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; " +
  "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/** Generated before its parts get names, because they would then refer to each other. */
const recipeSchema = recipeSchemaText();

/**
 * Serves /openapi.json (OpenAPI 3.1, made from the routes' schemas), /docs, and /recipe.schema.json. Must be registered before the routes.
 */
export async function describeRoutes(app: App): Promise<void> {
  nameComponents();
  const toJsonSchema = createJsonSchemaTransform({});
  const optionalBodies = new Set<string>();
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Cairn',
        version: version.parse(JSON.parse(readFileSync(join(import.meta.dirname, '../../../package.json'), 'utf8'))).version,
        description: introduction,
        license: { name: 'MIT', identifier: 'MIT' },
      },
      tags: [
        { name: 'runs', description: 'Submit runs, follow them, cancel and retry them.' },
        { name: 'schedules', description: 'Start runs at times, or for new versions of a dataset.' },
        { name: 'steps', description: 'The nodes of a run: state, curves, shards.' },
        { name: 'attempts', description: 'What the processes of a step do and log.' },
        { name: 'events', description: 'One stream for everything that changes.' },
        { name: 'session', description: 'Sign-in of browsers, and who calls.' },
        { name: 'datasets', description: 'Image collections and their locations.' },
        { name: 'recipes', description: 'Descriptions of runs: steps and their settings.' },
        { name: 'weights', description: 'Imported tensor files: pretrained backbones and whole models.' },
        { name: 'models', description: 'Registered models and their scores.' },
        { name: 'evaluations', description: 'Scores of searches, by query, and their comparison.' },
        { name: 'artifacts', description: 'Stored results.' },
        { name: 'triggers', description: 'Deliveries of code hosts and other programs that start runs.' },
        { name: 'fleet', description: 'The controller and the pools.' },
        { name: 'webhooks', description: 'Signed messages to other services about what happens here.' },
        { name: 'code hosts', description: 'GitHub and GitLab, which get reports about runs.' },
        { name: 'costs', description: 'Where GPU time went, and budgets for it.' },
        { name: 'views', description: 'Pages of the dashboard with their filters, under a name.' },
        { name: 'tokens', description: 'Tokens and the audit log.' },
        { name: 'secrets', description: 'The keys that seal the secrets of triggers and webhooks.' },
        { name: 'health', description: 'For probes, without a token, and for Prometheus.' },
      ],
      components: {
        securitySchemes: {
          token: { type: 'http', scheme: 'bearer', description: 'A token with the role viewer, submitter or admin.' },
          session: { type: 'apiKey', in: 'cookie', name: 'cairn_session', description: 'A browser that is signed in with a token.' },
        },
      },
      security: [{ token: [] }, { session: [] }],
    },
    transform: (route) => {
      const { body, operationId } = route.schema ?? {};
      if (operationId !== undefined && body instanceof z.ZodType && body.safeParse(undefined).success) optionalBodies.add(operationId);
      const described = toJsonSchema(route);
      // A binary stream has no zod schema.
      if (route.route.config?.rawBytes !== undefined)
        return { ...described, schema: { ...described.schema, body: { type: 'object', additionalProperties: true } } };
      if (route.route.config?.maxOctets === undefined) return described;
      return {
        ...described,
        schema: { ...described.schema, consumes: ['application/octet-stream'], body: { type: 'string', format: 'binary' } },
      };
    },
    transformObject: (document) => {
      const whole = createJsonSchemaTransformObject({})(document);
      return addExamples(relaxBodies(dropUnusedSchemas(openApiDocument.parse(whole)), optionalBodies));
    },
  });
  app.addHook('onRequest', async (request, reply) => {
    if (request.routeOptions.url?.startsWith('/docs'))
      reply.headers({ 'content-security-policy': contentSecurityPolicy, 'cache-control': 'max-age=3600' });
  });
  await app.register(reference, {
    routePrefix: '/docs',
    configuration: {
      url: '../openapi.json',
      pageTitle: 'Cairn API',
      // Nothing that the page would fetch from its vendor.
      withDefaultFonts: false,
      telemetry: false,
      agent: { disabled: true },
      mcp: { disabled: true },
      hideClientButton: true,
      showDeveloperTools: 'never',
    },
  });
  app.get('/openapi.json', { schema: { hide: true } }, async (_request, reply) =>
    reply.type('application/json').send(JSON.stringify(app.swagger())),
  );
  app.get('/recipe.schema.json', { schema: { hide: true } }, async (_request, reply) =>
    reply.type('application/schema+json').send(recipeSchema),
  );
}
