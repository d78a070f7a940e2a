import { type HoldCause, holdCause, liveRunStates, type WaitingReason } from '@cairn/contract';
import { z } from 'zod';
import { listOfStates, type Transaction } from '../client.ts';
import { Prisma } from '../generated/client.ts';
import { readNullable, readRows } from './columns.ts';

/** What a held run waits for: as a code of a waiting reason, and as a sentence. */
export type HoldReason = { code: WaitingReason['code']; sentence: string };

/** The run of its group for which a held run waits; a column `holder` beside a run `r`. */
export const holderColumn = Prisma.sql`
  case when r.hold = 'group' then (
    select jsonb_build_object('id', o.id, 'name', o.name) from run o
     where o.project_id = r.project_id and o.concurrency_group = r.concurrency_group and o.state in ${listOfStates(liveRunStates)}
       and o.state <> 'held' order by o.group_place limit 1) end as holder`;

export const holder = z.object({ id: z.string(), name: z.string() }).nullable();

type HeldRun = { id: string; state: string; hold: string | null; group: string | null; cause: string | null };

/** Why a run is held; null for one that is not. */
export async function loadHoldReason(db: Transaction, run: HeldRun): Promise<HoldReason | null> {
  if (run.state !== 'held') return null;
  const rows = run.hold === null ? [] : await db.$queryRaw`select ${holderColumn} from run r where r.id = ${run.id}`;
  return holdReason(run, readRows(z.object({ holder }), rows)[0]?.holder ?? null);
}

/** The same from the run and the one that it waits for. Pure. */
export function holdReason({ id, state, hold, group, cause: words }: HeldRun, other: z.infer<typeof holder>): HoldReason | null {
  if (state !== 'held') return null;
  const cause = readNullable(holdCause, hold, `run ${id} hold`);
  return cause === null ? { code: 'dependencies', sentence: 'the run is held' } : reasons[cause](group, other, words);
}

const reasons = {
  group: (group, other) => ({
    code: 'group',
    sentence:
      other === null
        ? `it starts next in the concurrency group ${group}`
        : `waiting for ${other.name} (${other.id}), which runs in the concurrency group ${group}`,
  }),
  budget: (_, __, words) => ({ code: 'budget', sentence: `held until an admin releases it: ${words ?? 'a budget is spent'}` }),
} as const satisfies Record<HoldCause, (group: string | null, other: z.infer<typeof holder>, words: string | null) => HoldReason>;
