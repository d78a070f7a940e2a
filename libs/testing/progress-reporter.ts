import { appendFileSync } from 'node:fs';
import type { Reporter, TestModule, TestSpecification, Vitest } from 'vitest/node';

/**
 * A vitest reporter that starts no further test after CAIRN_TEST_UNTIL (seconds since 1970), and records in the file CAIRN_TEST_PROGRESS, one
 * line each, which test files will run (`+ PATH`) and which of them have finished (`- PATH`).
 */
export default class ProgressReporter implements Reporter {
  readonly #file = process.env.CAIRN_TEST_PROGRESS ?? '';
  readonly #until = Number(process.env.CAIRN_TEST_UNTIL || Number.POSITIVE_INFINITY);
  #timer: NodeJS.Timeout | undefined;
  #isCut = false;

  onInit(vitest: Vitest): void {
    if (!Number.isFinite(this.#until)) return;
    const cut = (): void => {
      this.#isCut = true;
      void vitest.cancelCurrentRun('keyboard-input');
    };
    this.#timer = setTimeout(cut, Math.max(0, this.#until * 1000 - Date.now()));
    this.#timer.unref();
  }

  onTestRunStart(specifications: readonly TestSpecification[]): void {
    for (const { moduleId } of specifications) this.#note('+', moduleId);
  }

  onTestModuleEnd(module: TestModule): void {
    const isWhole = !this.#isCut || [...module.children.allTests()].every((test) => ['passed', 'failed'].includes(test.result().state));
    if (isWhole) this.#note('-', module.moduleId);
  }

  onTestRunEnd(): void {
    clearTimeout(this.#timer);
  }

  #note(sign: '+' | '-', path: string): void {
    if (this.#file !== '') appendFileSync(this.#file, `${sign} ${path}\n`);
  }
}
