import { z } from 'zod';
import { answerExamples, problemExample, requestExamples } from './examples.ts';

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
export type OpenApiDocument = z.infer<typeof openApiDocument>;

const schemaReference = /#\/components\/schemas\/([A-Za-z0-9_.-]+)/g;

/** Keeps only the schemas that a path refers to, directly or indirectly: each has one form for requests and one for responses. */
export function dropUnusedSchemas(document: OpenApiDocument): OpenApiDocument {
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
export function relaxBodies(document: OpenApiDocument, operationIds: ReadonlySet<string>): OpenApiDocument {
  for (const path of Object.values(document.paths)) {
    for (const { operationId = '', requestBody } of Object.values(path)) {
      if (requestBody !== undefined && operationIds.has(operationId)) requestBody.required = false;
    }
  }
  return document;
}

/** Adds the examples to the operations' request and response bodies. */
export function addExamples(document: OpenApiDocument): OpenApiDocument {
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
