import '@xyflow/react/dist/base.css';
import type { RunView, StepView } from '@cairn/contract';
import { Link, useSearch } from '@tanstack/react-router';
import { Controls, Handle, type Node, type NodeProps, Position, ReactFlow } from '@xyflow/react';
import { useState } from 'react';
import { Icon } from '../../parts/icon.tsx';
import { stepLooks } from '../../parts/looks.ts';
import { formatCount } from '../../parts/numbers.ts';
import { ProgressBar } from '../../parts/progress-bar.tsx';
import { drawnNeeds, nodeSize, placeSteps } from './graph-layout.ts';
import classes from './step-graph.module.css';
import { shareOf } from './step-text.ts';

type StepNode = Node<{ step: StepView; isChosen: boolean }, 'step'>;

const nodeTypes = { step: StepBox };

/** The graph of the steps, each a box whatever its number of shards. The list beside it says the same for the keyboard. */
export default function StepGraph({ run }: { run: RunView }) {
  const { step: chosen } = useSearch({ from: '/signed-in/runs/$runId' });
  // Placed again only when the graph itself is another one: it takes longer than a frame, and progress arrives every second.
  const shape = run.stepViews.map(({ name, needs }) => `${name} ${needs.join()}`).join('\n');
  const [placed, setPlaced] = useState(() => ({ shape, places: placeSteps(run.stepViews) }));
  if (placed.shape !== shape) setPlaced({ shape, places: placeSteps(run.stepViews) });
  const places = new Map(placed.places.map((place) => [place.name, place]));
  const nodes = run.stepViews.map((step): StepNode => {
    const { x = 0, y = 0 } = places.get(step.name) ?? {};
    return { id: step.name, type: 'step', position: { x, y }, data: { step, isChosen: step.name === chosen }, ...nodeSize };
  });
  const needs = drawnNeeds(run.stepViews);
  const edges = run.stepViews.flatMap(({ name, state }) =>
    (needs.get(name) ?? []).map((need) => ({ id: `${need} ${name}`, source: need, target: name, animated: state === 'active' })),
  );
  return (
    <section className={classes.graph} aria-label="Graph of the steps">
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={nodeTypes}
        fitView
        fitViewOptions={{ maxZoom: 1, padding: 0.1 }}
        minZoom={0.1}
        nodesDraggable={false}
        nodesConnectable={false}
        nodesFocusable={false}
        edgesFocusable={false}
        elementsSelectable={false}
        // The wheel scrolls the page.
        zoomOnScroll={false}
        preventScrolling={false}
        proOptions={{ hideAttribution: true }}
      >
        <Controls showInteractive={false} />
      </ReactFlow>
    </section>
  );
}

function StepBox({ data: { step, isChosen } }: NodeProps<StepNode>) {
  const look = stepLooks[step.state];
  const share = shareOf(step);
  return (
    <>
      <Handle type="target" position={Position.Top} isConnectable={false} />
      <Link
        from="/runs/$runId"
        search={({ tab }) => ({ tab, step: step.name })}
        className={classes.box}
        data-colour={look.colour}
        data-chosen={isChosen}
        resetScroll={false}
      >
        <span className={classes.name}>
          <Icon name={look.icon} size={13} /> {step.name}
        </span>
        <span className={classes.state}>
          {look.label}
          {step.shards !== null && ` · ${formatCount(step.shards.committed)} of ${formatCount(step.shards.total)} shards`}
        </span>
        {step.state === 'active' && share !== null && <ProgressBar share={share} colour="blue" label={`${step.name}: progress`} />}
      </Link>
      <Handle type="source" position={Position.Bottom} isConnectable={false} />
    </>
  );
}
