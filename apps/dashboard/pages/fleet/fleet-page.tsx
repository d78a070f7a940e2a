import type { FleetView, FleetWork, PoolNode } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useFollow } from '../../app/follow.ts';
import { fleetQuery, fleetWorkQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { CopyCall } from '../../parts/copy-call.tsx';
import type { Look } from '../../parts/looks.ts';
import { formatCount } from '../../parts/numbers.ts';
import { ProgressBar } from '../../parts/progress-bar.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { Ago } from '../../parts/time.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './fleet.module.css';

/** Rows of each table in the document; the rest is counted. */
const shown = 25;

const nodeLooks = {
  free: { label: 'Has room', icon: 'check', colour: 'green' },
  full: { label: 'Full', icon: 'pause', colour: 'blue' },
  sick: { label: 'Unhealthy GPUs', icon: 'warning', colour: 'orange' },
  refused: { label: 'Not used', icon: 'ban', colour: 'gray' },
} as const satisfies Record<string, Look>;

/** The pools with their machines, who holds what, what waits and why, and the queues. */
export function FleetPage() {
  const { client } = useServices();
  useTitle('Fleet');
  useFollow('fleet');
  const fleet = useQuery(fleetQuery(client));
  const work = useQuery(fleetWorkQuery(client));
  return (
    <>
      <div className={tableClasses.heading}>
        <h1>Fleet</h1>
        <CopyCall cli="cairn fleet" call={{ path: '/v1/fleet/work' }} />
      </div>
      <div className={classes.page}>
        <Answer of={fleet}>{(data) => <Pools fleet={data} />}</Answer>
        <Answer of={work}>{(data) => <Work work={data} />}</Answer>
      </div>
    </>
  );
}

function Pools({ fleet: { leader, pools } }: { fleet: FleetView }) {
  return (
    <section aria-labelledby="pools">
      <h2 id="pools">Pools</h2>
      <p className={tableClasses.dim}>
        {leader === null
          ? 'No controller is running: nothing is started.'
          : `The controller ${leader.holder} leads, in epoch ${formatCount(leader.epoch)}.`}
      </p>
      {pools.length === 0 && (
        <p className={tableClasses.empty}>No pool is configured: only steps that need no pool run, next to the control plane.</p>
      )}
      <div className={classes.pools}>
        {pools.map(({ name, executor, slots, busy, waiting, room }) => (
          <section key={name} className={classes.pool} aria-label={`Pool ${name}`}>
            <h3>
              {name} <span className={tableClasses.dim}>{executor}</span>
            </h3>
            <ProgressBar share={busy / Math.max(1, slots)} colour="blue" label={`Slots of ${name} in use`} />
            <p>
              {formatCount(busy)} of {formatCount(slots)} slots in use
              {waiting > 0 && `, ${formatCount(waiting)} ${waiting === 1 ? 'step waits' : 'steps wait'}`}
              {room !== null && `, room for ${formatCount(room.fits)} more ${room.fits === 1 ? 'attempt' : 'attempts'}`}
            </p>
            {room !== null && (room.nodes.length > 0 ? <Nodes nodes={room.nodes} /> : room.sentences.map((one) => <p key={one}>{one}</p>))}
          </section>
        ))}
      </div>
    </section>
  );
}

function Nodes({ nodes }: { nodes: readonly PoolNode[] }) {
  return (
    <ul className={classes.nodes}>
      {nodes.slice(0, shown).map((node) => (
        <li key={node.name}>
          <StateBadge look={nodeLooks[stateOf(node)]} />
          <strong>{node.name}</strong>
          {node.gpus !== null && (
            <span className={classes.gpus}>
              <span aria-hidden="true">{drawn(node.gpus)}</span> {node.gpus.free} of {node.gpus.total} GPUs free
              {node.gpus.unhealthy > 0 && `, ${node.gpus.unhealthy} unhealthy`}
            </span>
          )}
          {node.refusal !== null && <span className={tableClasses.dim}>{node.refusal}</span>}
        </li>
      ))}
      {nodes.length > shown && <li className={tableClasses.dim}>and {formatCount(nodes.length - shown)} more</li>}
    </ul>
  );
}

const stateOf = ({ refusal, fits, gpus }: PoolNode): keyof typeof nodeLooks =>
  refusal !== null ? 'refused' : gpus !== null && gpus.unhealthy > 0 ? 'sick' : fits > 0 ? 'free' : 'full';

/** A square a GPU, of a machine with as many as fit on a line. */
function drawn({ total, free, unhealthy }: NonNullable<PoolNode['gpus']>): string {
  if (total > 16) return '';
  return '■'.repeat(Math.max(0, total - free - unhealthy)) + '□'.repeat(free) + '×'.repeat(unhealthy);
}

function Work({ work: { holders, holdersTotal, waiting, waitingTotal, queues } }: { work: FleetWork }) {
  return (
    <>
      <section aria-labelledby="waiting">
        <h2 id="waiting">What waits ({formatCount(waitingTotal)})</h2>
        {waiting.length === 0 ? (
          <p className={tableClasses.empty}>Nothing waits for a place.</p>
        ) : (
          <Table name="What waits">
            <thead>
              <tr>
                <th>Step</th>
                <th data-number>Slots</th>
                <th data-number>Priority</th>
                <th>Since</th>
                <th>Owner</th>
                <th>Why</th>
              </tr>
            </thead>
            <tbody>
              {waiting.slice(0, shown).map((step) => (
                <tr key={`${step.run.id} ${step.step}`}>
                  <th scope="row">
                    <StepLink {...step} />
                  </th>
                  <td data-number>{formatCount(step.slots)}</td>
                  <td data-number>{step.priority}</td>
                  <td>
                    <Ago at={step.since} />
                  </td>
                  <td>{step.owner}</td>
                  <td className={classes.why}>{step.sentence}</td>
                </tr>
              ))}
            </tbody>
          </Table>
        )}
        <More total={waitingTotal} />
      </section>
      <section aria-labelledby="holders">
        <h2 id="holders">Who holds places ({formatCount(holdersTotal)})</h2>
        {holders.length === 0 ? (
          <p className={tableClasses.empty}>No attempt is running.</p>
        ) : (
          <Table name="Who holds places">
            <thead>
              <tr>
                <th>Step</th>
                <th>Pool</th>
                <th data-number>Slots</th>
                <th>Since</th>
                <th>Owner</th>
                <th>Where</th>
              </tr>
            </thead>
            <tbody>
              {holders.slice(0, shown).map((one) => (
                <tr key={one.attemptId}>
                  <th scope="row">
                    <StepLink {...one} />
                  </th>
                  <td>{one.pool}</td>
                  <td data-number>{formatCount(one.slots)}</td>
                  <td>
                    <Ago at={one.since} />
                    {one.isStopping && ', stopping'}
                  </td>
                  <td>{one.owner}</td>
                  <td>{one.place === null ? <span className={tableClasses.dim}>starting</span> : <code>{one.place}</code>}</td>
                </tr>
              ))}
            </tbody>
          </Table>
        )}
        <More total={holdersTotal} />
      </section>
      <section aria-labelledby="queues">
        <h2 id="queues">Queues</h2>
        <Table name="Queues">
          <thead>
            <tr>
              <th>Queue</th>
              <th data-number title="What its consumers have still to do, by the database">
                Depth
              </th>
              <th>Oldest</th>
              <th data-number title="What the controller has not handed to the queue yet">
                Undelivered
              </th>
              <th>What it does</th>
            </tr>
          </thead>
          <tbody>
            {queues.map(({ name, depth, oldestAt, undelivered }) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td data-number>{formatCount(depth)}</td>
                <td>{oldestAt === null ? '-' : <Ago at={oldestAt} />}</td>
                <td data-number>{formatCount(undelivered)}</td>
                <td>{queueTexts[name]}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      </section>
    </>
  );
}

const queueTexts = {
  launch: 'Starts admitted attempts on their pools.',
  tasks: 'Runs steps next to the control plane.',
  finalize: 'Verifies and stores results.',
  judge: 'Judges runs by their quality gate.',
  deliver: 'Sends messages to webhooks, and reports to code hosts.',
} as const satisfies Record<FleetWork['queues'][number]['name'], string>;

const StepLink = ({ run, step }: { run: { id: string; name: string }; step: string }) => (
  <Link to="/runs/$runId" params={{ runId: run.id }} search={{ step }}>
    {run.name} / {step}
  </Link>
);

const More = ({ total }: { total: number }) =>
  total > shown ? (
    <p className={tableClasses.dim}>
      The first {shown} of {formatCount(total)}.
    </p>
  ) : null;
