import { claimDelivery, type DueDelivery, dueDeliveries } from '@cairn/engine';
import type { Harness } from '@cairn/engine/testing';
import { deliver } from '../deliver.ts';
import { installationTokens } from '../github-app.ts';

/** A controller that sends what is due, with a clock of its own, which is never behind the database's. */
export function openSender({ ctx, prisma }: Pick<Harness, 'ctx' | 'prisma'>, publicUrl: string | null = null) {
  let now = Date.now() + 1_000;
  const clock = () => new Date(now);
  const parts = { ctx, publicUrl, installationTokens: installationTokens(), clock };
  const sendOne = (due: DueDelivery) => deliver(parts, due, AbortSignal.timeout(20_000));

  const findDue = (): Promise<DueDelivery[]> => dueDeliveries(prisma, clock(), 100);
  function catchUp(): void {
    now = Math.max(now, Date.now() + 1_000);
  }

  /** Sends what is due now, until nothing is. Returns how many tries that took. */
  async function send(): Promise<number> {
    catchUp();
    for (let tries = 0; ; ) {
      const due = await findDue();
      if (due.length === 0) return tries;
      tries += due.length;
      await Promise.all(due.map(sendOne));
    }
  }

  /** Lets time pass: whenever something becomes due, it is sent. Returns the number of tries. */
  const pass = (ms: number): Promise<number> => passUntil(new Date(Math.max(now, Date.now() + 1_000) + ms));

  /** Lets time pass until then. */
  async function passUntil(time: Date): Promise<number> {
    const end = time.getTime();
    let tries = await send();
    for (;;) {
      // Of those of one order key only the oldest can become due.
      const [next] = await prisma.$queryRaw<{ at: Date }[]>`
        select min(greatest(not_before, paused_until)) as at from delivery d
          left join (select id as target_id, paused_until from webhook union all select id, paused_until from code_host) t on target_id = target
         where state = 'pending' and greatest(not_before, paused_until) <= ${new Date(end)}
          and not exists (select 1 from delivery e where e.order_key = d.order_key and e.state = 'pending' and e.id < d.id) having count(*) > 0`;
      if (next === undefined) break;
      now = Math.max(now, next.at.getTime());
      tries += await send();
    }
    now = end;
    return tries;
  }

  /** Lets time pass in which no controller runs. */
  function sleep(ms: number): void {
    now += ms;
  }

  return {
    clock,
    sleep,
    send,
    sendOne,
    pass,
    passUntil,
    due: () => {
      catchUp();
      return findDue();
    },
    claim: (due: DueDelivery) => claimDelivery(prisma, due, clock()),
  };
}
