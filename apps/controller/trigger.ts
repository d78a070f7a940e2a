/** Runs `work` on demand, never twice at the same time; any number of calls during a run cause one more run. */
export type Trigger = {
  fire(): void;
  /** Stops it; resolves when the run in progress has ended. */
  close(): Promise<void>;
};

export type TriggerOptions = {
  work(): Promise<void>;
  onError(error: unknown): void;
  /** Also fires at this interval. */
  everyMs: number;
};

export function createTrigger({ work, onError, everyMs }: TriggerOptions): Trigger {
  let closed = false;
  let again = false;
  let running: Promise<void> | null = null;
  const fire = () => {
    if (closed) return;
    if (running) {
      again = true;
      return;
    }
    running = work()
      .catch(onError)
      .finally(() => {
        running = null;
        if (!again) return;
        again = false;
        fire();
      });
  };
  const timer = setInterval(fire, everyMs);
  return {
    fire,
    close: async () => {
      closed = true;
      clearInterval(timer);
      await running;
    },
  };
}
