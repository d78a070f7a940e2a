import { type BudgetState, budgetSentence } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { budgetsQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import type { Look } from '../../parts/looks.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { ProgressBar } from '../../parts/progress-bar.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import classes from './ledger.module.css';

const budgetLooks = {
  open: { label: 'Open', icon: 'check', colour: 'green' },
  warned: { label: 'Nearly spent', icon: 'warning', colour: 'orange' },
  spent: { label: 'Spent: new runs are held', icon: 'lock', colour: 'red' },
} as const satisfies Record<BudgetState, Look>;

/** What counts against each budget; nothing where there is none. */
export function Budgets() {
  const { client } = useServices();
  const budgets = useQuery(budgetsQuery(client));
  if (budgets.data === undefined)
    return budgets.error === null ? null : <ProblemNotice error={budgets.error} onRetry={() => void budgets.refetch()} />;
  if (budgets.data.items.length === 0) return null;
  return (
    <section aria-labelledby="budgets">
      <h2 id="budgets">Budgets</h2>
      <ul className={classes.budgets}>
        {budgets.data.items.map((budget) => (
          <li key={budget.scope}>
            <StateBadge look={budgetLooks[budget.state]} />
            <ProgressBar
              share={budget.gpuHours === 0 ? 1 : (budget.usedHours + budget.expectedHours) / budget.gpuHours}
              colour={budgetLooks[budget.state].colour}
              label={budget.scope}
            />
            <span>{budgetSentence(budget)}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}
