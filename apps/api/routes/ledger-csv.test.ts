import { type LedgerRow, lossCause } from '@cairn/contract';
import { expect, test } from 'vitest';
import { ledgerCsv, ledgerCsvTitles } from './ledger-csv.ts';

const lostBy = Object.fromEntries(lossCause.options.map((cause) => [cause, cause === 'gpu' ? 36 : 0])) as LedgerRow['lostBy'];
const amounts = { held: 7200, useful: 7000, running: 0, lost: 36, lostBy, idle: 164, queued: 0, saved: 3600, cost: 12.5, savedCost: null };

test('a line is quoted as RFC 4180 has it, and no text of another person is a formula', () => {
  const hostile = '=HYPERLINK("http://x","a"),b';
  const row = { key: hostile, name: 'two\nlines', runId: null, ...amounts };
  expect(ledgerCsvTitles + ledgerCsv([row, { ...row, key: 'bob', name: '-1', cost: null }])).toBe(
    'key,name,run,held,useful,running,lost,idle,queued,saved,' +
      'lost_user,lost_data,lost_infrastructure,lost_preemption,lost_gpu,lost_deadline,lost_cancelled,cost,saved_cost\r\n' +
      `"'=HYPERLINK(""http://x"",""a""),b","two\nlines",,7200,7000,0,36,164,0,3600,0,0,0,0,36,0,0,12.5,\r\n` +
      "bob,'-1,,7200,7000,0,36,164,0,3600,0,0,0,0,36,0,0,,\r\n",
  );
});
