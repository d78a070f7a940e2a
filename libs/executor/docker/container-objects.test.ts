import { describe, expect, test } from 'vitest';
import { diagnose, inspectedContainer } from './container-objects.ts';

const now = Date.parse('2026-01-02T00:00:00Z');
const never = '0001-01-01T00:00:00Z';
const container = (State: object) =>
  inspectedContainer.parse({
    Id: 'abc',
    Name: '/cairn-x',
    Created: '2026-01-01T00:00:00Z',
    Config: { Labels: null },
    State: { Status: 'exited', OOMKilled: false, ExitCode: 0, Error: '', FinishedAt: '2026-01-01T01:00:00Z', ...State },
  });
const exited = (State: object) => diagnose(container(State), now);

describe('an exited container', () => {
  test.each([
    [0, 'ended_without_result'],
    [1, 'agent_failed'],
    [75, 'agent_preempted'],
    [78, 'agent_configuration'],
    [79, 'agent_superseded'],
    [135, 'shared_memory_full'],
    [137, 'killed'],
    [143, 'killed'],
  ])('with code %d is %s, since it ended', (ExitCode, signal) => {
    expect(exited({ ExitCode })).toEqual({
      phase: 'exited',
      exitCode: ExitCode,
      message: `exit code ${ExitCode}`,
      finding: { signal, since: Date.parse('2026-01-01T01:00:00Z'), message: `exit code ${ExitCode}` },
    });
  });

  test('that ran out of memory is reported as such whatever its code', () => {
    expect(exited({ ExitCode: 0, OOMKilled: true }).finding?.signal).toBe('out_of_memory');
  });
});

test('a container that could not be started has ended with the engine’s reason', () => {
  expect(exited({ Status: 'created', ExitCode: 127, Error: 'exec: no such file', FinishedAt: never })).toEqual({
    phase: 'exited',
    exitCode: null,
    message: 'exec: no such file',
    finding: { signal: 'container_start', since: now, message: 'exec: no such file' },
  });
});

test('a container that was created and not started has been waiting since its creation', () => {
  expect(exited({ Status: 'created', FinishedAt: never })).toMatchObject({
    phase: 'pending',
    finding: { signal: 'container_creating', since: Date.parse('2026-01-01T00:00:00Z') },
  });
});

test.each(['running', 'paused', 'removing'])('a container that is %s is not over', (Status) => {
  expect(exited({ Status })).toEqual({ phase: 'running', exitCode: null, message: Status, finding: null });
});
