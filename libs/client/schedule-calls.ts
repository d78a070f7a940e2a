import { runView, type ScheduleRequestInput, type ScheduleView, schedulePage, scheduleView } from '@cairn/contract';
import { eachItem, type Requester, type RequestOptions, randomKey, type SubmitOptions, statusAlone } from './request.ts';

/** Calls about schedules. */
export function scheduleCalls({ send }: Requester) {
  const schedules = ['v1', 'schedules'] as const;
  const listSchedules = (query: { limit?: number; cursor?: string } = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: schedules, query, repeatable: true, answer: schedulePage }, options);

  return {
    addSchedule: (body: ScheduleRequestInput, options?: RequestOptions) =>
      send({ method: 'POST', path: schedules, body, repeatable: false, answer: scheduleView }, options),
    listSchedules,
    eachSchedule: (options?: RequestOptions): AsyncGenerator<ScheduleView, void, void> =>
      eachItem((cursor) => listSchedules(cursor === undefined ? {} : { cursor }, options)),
    getSchedule: (name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: [...schedules, name], repeatable: true, answer: scheduleView }, options),
    pauseSchedule: (name: string, options?: RequestOptions) =>
      send({ method: 'POST', path: [...schedules, name, 'pause'], repeatable: true, answer: scheduleView }, options),
    resumeSchedule: (name: string, options?: RequestOptions) =>
      send({ method: 'POST', path: [...schedules, name, 'resume'], repeatable: true, answer: scheduleView }, options),
    /** Starts its run now, in the caller's name. */
    runSchedule: (name: string, { idempotencyKey = randomKey(), ...options }: SubmitOptions = {}) =>
      send(
        {
          ...{ method: 'POST', path: [...schedules, name, 'run'], headers: { 'idempotency-key': idempotencyKey } },
          ...{ repeatable: true, answer: runView },
        },
        options,
      ),
    removeSchedule: async (name: string, options?: RequestOptions): Promise<void> => {
      await send({ method: 'DELETE', path: [...schedules, name], repeatable: false, answer: statusAlone }, options);
    },
  };
}
