import { callerActions, pageQuery, runView, schedulePage, scheduleRequest, scheduleView, whyNotOwner } from '@cairn/contract';
import { getRun, getSchedule, listSchedules } from '@cairn/db';
import { z } from 'zod';
import { type Caller, requireRole } from '../auth/authenticate.ts';
import { callerOf } from '../auth/guard.ts';
import { type App, idempotencyHeaders, nameParams, problems } from '../http/bare-app.ts';
import type { ApiDeps } from './api-deps.ts';

export function scheduleRoutes(app: App, { engine, prisma, admission }: ApiDeps): void {
  const tags = ['schedules'];
  const view = { role: 'viewer' } as const;
  const manage = { role: callerActions['schedule.manage'] };

  /** Those of another owner: only an admin. */
  const requireOwner = async (caller: Caller, name: string): Promise<void> => {
    const { owner } = await getSchedule(prisma, { projectId: caller.projectId, name });
    if (whyNotOwner(owner, caller) !== null) requireRole(caller, 'admin', `the schedule ${name} belongs to ${owner}`);
  };

  app.post(
    '/v1/schedules',
    {
      config: manage,
      schema: {
        operationId: 'addSchedule',
        tags,
        summary: 'Add a schedule',
        description:
          'Starts a run at the times of a cron expression in a time zone, or for each new version of a dataset, in the name of the caller. ' +
          'A time that daylight saving time skips or repeats runs once. Of the times that an outage missed, only the newest runs.',
        body: scheduleRequest,
        response: { 201: scheduleView, ...problems },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      await engine.addSchedule(request.body, caller);
      const { name } = request.body;
      return reply
        .code(201)
        .header('location', `/v1/schedules/${name}`)
        .send(await getSchedule(prisma, { projectId: caller.projectId, name }));
    },
  );

  app.get(
    '/v1/schedules',
    {
      config: view,
      schema: {
        operationId: 'listSchedules',
        tags,
        summary: 'List the schedules by name',
        querystring: pageQuery,
        response: { 200: schedulePage, ...problems },
      },
    },
    (request) => listSchedules(prisma, { projectId: callerOf(request).projectId, ...request.query }),
  );

  app.get(
    '/v1/schedules/:name',
    {
      config: view,
      schema: {
        operationId: 'getSchedule',
        tags,
        summary: 'Show a schedule, its next times, and the outcome of its last run',
        params: nameParams,
        response: { 200: scheduleView, ...problems },
      },
    },
    (request) => getSchedule(prisma, { projectId: callerOf(request).projectId, name: request.params.name }),
  );

  const changes = [
    { verb: 'pause', change: engine.pauseSchedule, summary: 'Pause a schedule: it starts nothing until it is resumed' },
    { verb: 'resume', change: engine.resumeSchedule, summary: 'Resume a schedule, with its next time' },
  ] as const;
  for (const { verb, change, summary } of changes) {
    app.post(
      `/v1/schedules/:name/${verb}`,
      {
        config: manage,
        schema: { operationId: `${verb}Schedule`, tags, summary, params: nameParams, response: { 200: scheduleView, ...problems } },
      },
      async (request) => {
        const caller = callerOf(request);
        const { name } = request.params;
        await requireOwner(caller, name);
        await change(name, caller);
        return getSchedule(prisma, { projectId: caller.projectId, name });
      },
    );
  }

  app.post(
    '/v1/schedules/:name/run',
    {
      config: manage,
      schema: {
        operationId: 'runSchedule',
        tags,
        summary: "Start a schedule's run now, in the name of the caller",
        params: nameParams,
        headers: idempotencyHeaders,
        response: {
          200: runView.describe('The run that an earlier request with this Idempotency-Key created.'),
          201: runView.describe('The new run.'),
          ...problems,
        },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const { name } = request.params;
      await requireOwner(caller, name);
      const { runId, created } = await engine.runSchedule(name, caller, request.headers['idempotency-key'] ?? null);
      const run = await getRun(prisma, { projectId: caller.projectId, runId, admission });
      return reply
        .code(created ? 201 : 200)
        .header('location', `/v1/runs/${runId}`)
        .send(run);
    },
  );

  app.delete(
    '/v1/schedules/:name',
    {
      config: manage,
      schema: {
        operationId: 'removeSchedule',
        tags,
        summary: 'Remove a schedule; its runs stay',
        params: nameParams,
        response: { 204: z.null(), ...problems },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      await requireOwner(caller, request.params.name);
      await engine.removeSchedule(request.params.name, caller);
      return reply.code(204).send(null);
    },
  );
}
