/** Runs `work` again and again on demand, never twice at once; demands during a run make one more run. */
export type Trigger = {
  fire(): void;
  /** Ends it; resolves when the run in progress is over. */
  close(): Promise<void>;
};

export type TriggerOptions = {
  work(): Promise<void>;
  onError(error: unknown): void;
  /** Fires by itself this often. */
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
