/** A timer that can be brought forward: `wait` resolves when it is due, at first in `ms` milliseconds. */
export function wakeTimer(ms: number) {
  let due = Date.now() + ms;
  let timer: NodeJS.Timeout | undefined;
  let wake: (() => void) | null = null;

  function arm(): void {
    clearTimeout(timer);
    if (wake !== null) timer = setTimeout(wake, Math.max(0, due - Date.now()));
  }

  return {
    /** Due in `ms`, whatever was set before. */
    set(ms: number): void {
      due = Date.now() + ms;
      arm();
    },
    /** Due in `ms` at the latest. */
    sooner(ms: number): void {
      const wanted = Date.now() + ms;
      if (wanted >= due) return;
      due = wanted;
      arm();
    },
    async wait(): Promise<void> {
      await new Promise<void>((resolve) => {
        wake = resolve;
        arm();
      });
      wake = null;
      clearTimeout(timer);
    },
    /** Due now; keeps no process alive. */
    stop(): void {
      due = 0;
      clearTimeout(timer);
      wake?.();
    },
  };
}
