import { expect, test } from 'vitest';
import { addCounts, countJunit, countsLine, countVitest, unfinishedFiles, withExitCode } from './test-counts.mjs';

const file = (status: string, ...tests: string[]) => ({ status, assertionResults: tests.map((one) => ({ status: one })) });

test('a test file that fails before its first test counts as one failure', () => {
  const report = { numPassedTests: 3, numFailedTests: 1, numPendingTests: 1, numTodoTests: 1 };
  const testResults = [
    file('passed', 'passed', 'pending'),
    file('failed', 'failed', 'passed'),
    file('failed'),
    file('failed', 'passed', 'todo'),
  ];
  expect(countVitest({ ...report, testResults })).toEqual({ passed: 3, failed: 3, skipped: 2 });
});

test("pytest's failures and errors both count as failed, and only the rest as passed", () => {
  const xml =
    '<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10" ' +
    'time="0.021" timestamp="2026-11-20T10:00:00.000000+00:00" hostname="host"><testcase classname="t" name="tests" time="0.001" /></testsuite></testsuites>';
  expect(countJunit(xml)).toEqual({ passed: 4, failed: 3, skipped: 3 });
});

test('a runner that fails without a failed test counts as one failure', () => {
  const counts = { passed: 5, failed: 0, skipped: 0 };
  expect(withExitCode(counts, 1)).toEqual({ passed: 5, failed: 1, skipped: 0 });
  expect(withExitCode(counts, 0)).toEqual(counts);
  expect(withExitCode({ ...counts, failed: 2 }, 1)).toEqual({ passed: 5, failed: 2, skipped: 0 });
});

test('the last line sums the runners', () => {
  const sum = addCounts([
    { passed: 5, failed: 1, skipped: 0 },
    { passed: 7, failed: 0, skipped: 2 },
  ]);
  expect(countsLine(sum)).toBe('12 passed, 1 failed, 2 skipped');
});

test('files that did not start or finish are distinguished from those that did', () => {
  expect(unfinishedFiles('+ a.test.ts\n+ b.test.ts\n+ c.test.ts\n- b.test.ts\n')).toEqual(['a.test.ts', 'c.test.ts']);
  expect(unfinishedFiles('')).toEqual([]);
});
