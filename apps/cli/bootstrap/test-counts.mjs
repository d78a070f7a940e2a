/** @typedef {{ passed: number, failed: number, skipped: number }} Counts */

/** @param {Counts[]} all @returns {Counts} */
export function addCounts(all) {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (const one of all) {
    sum.passed += one.passed;
    sum.failed += one.failed;
    sum.skipped += one.skipped;
  }
  return sum;
}

/** @param {Counts} counts */
export const countsLine = (counts) => `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`;

/**
 * Counts of vitest's JSON report. A file that failed before its first test (a compile error, a hook that threw) counts as one
 * failed test; otherwise it would count as none.
 * @param {{ numPassedTests: number, numFailedTests: number, numPendingTests: number, numTodoTests: number, testResults: { status: string, assertionResults: { status: string }[] }[] }} report
 * @returns {Counts}
 */
export function countVitest(report) {
  const broken = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  ).length;
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + broken,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

/**
 * Counts of pytest's JUnit XML: the attributes of its `testsuite` elements.
 * @param {string} xml
 * @returns {Counts}
 */
export function countJunit(xml) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const [, attributes = ''] of xml.matchAll(/<testsuite\s([^>]*)>/g)) {
    const read = (/** @type {string} */ name) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(attributes)?.[1] ?? 0);
    const failed = read('failures') + read('errors');
    counts.failed += failed;
    counts.skipped += read('skipped');
    counts.passed += read('tests') - failed - read('skipped');
  }
  return counts;
}

/**
 * A runner that failed without a failed test (a crash, an error outside of any test, nothing collected) counts as one
 * failure, so that the last line never looks better than the exit code.
 * @param {Counts} counts
 * @param {number} exitCode
 * @returns {Counts}
 */
export const withExitCode = (counts, exitCode) => (exitCode !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts);

/**
 * The test files that should have run and did not finish, from the notes of libs/testing/progress-reporter.ts.
 * @param {string} notes
 * @returns {string[]}
 */
export function unfinishedFiles(notes) {
  /** @type {Set<string>} */
  const files = new Set();
  for (const line of notes.split('\n')) {
    if (line.startsWith('+ ')) files.add(line.slice(2));
    if (line.startsWith('- ')) files.delete(line.slice(2));
  }
  return [...files];
}
