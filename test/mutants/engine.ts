import { harmless, inFile, type Mutant } from './mutant.ts';

export const ENGINE: Mutant[] = [
  ...inFile('src/engine/tenants.ts', 'engine/tenants#idle ones leave one row', [
    ['each.idle && each.tenant !== null', 'each.tenant !== null'],
    ['[...busy.map(({ tenant }) => tenant), ...left]', '[]'],
    ['if (isForAllJobs(error)) throw error;', 'throw error;', 'engine/tenants#is its own error'],
    ["wanted('no tenant')", "wanted('a tenant')", 'engine/tenants#belongs to no tenant'],
    ['FROM_BAD_TO_GOOD.find(', 'FROM_BAD_TO_GOOD.reverse().find(', 'engine/tenants#is its own error'],
  ]),
  ...inFile('src/engine/glance.ts', 'engine/tenants#without their lock', [
    ['await dueAmong(asked, mayHaveDue), hasDue', 'asked, mayHaveDue'],
    ['!due.includes(each)', 'true'],
    ['found.anyToCompare || ', ''],
    ['requests.length > 0 || ', ''],
  ]),
  ...inFile('src/engine/faults.ts', 'engine/runs#no connection for the work', [
    ['error.exitCode === EXIT.unreachable', 'error.exitCode === EXIT.stopped'],
  ]),
  ...inFile('src/engine/ask.ts', 'engine/batches#batch after batch', [
    ['then ${n} end`)', 'then ${n + 1} end`)'],
    ['if (!isOfOneJob(error)) throw error;', 'if (isOfOneJob(error)) throw error;', 'engine/jobs-apart#says so'],
  ]),
  ...inFile('src/engine/bisect.ts', 'engine/runs#only by its event', [
    ['!eventsToo && ', ''],
    ['rows.filter(({ id }) => !badIds.has(id))', 'rows', 'jobs/text-sessions/deductions#that cannot be changed harms'],
  ]),
  ...inFile('src/engine/linger.ts', 'engine/runs#while a row is held', [
    ['this.#inVain && wasInVain ? LOOK_MS : 0', '0'],
  ]),
  ...inFile('src/engine/outside.ts', 'jobs/hotspot/credentials#the stored password is wiped', [
    ['if (waiting.length === 0) return;', 'if (waiting.length > 0) return;'],
  ]),
  ...inFile('src/engine/records.ts', 'engine/log#would happen', [['dryRun ? {', '!dryRun ? {']]),
  ...inFile('src/engine/pass.ts', 'engine/runs#stopped before it begins', [
    ['if (this.#run.stop.reason) break;', '', 'engine/stops#during the batch of one rule'],
    ['result.workLeft ? [info', 'false ? [info', 'engine/log#had to stop'],
    ['if (stop.reason) this.#leave(due);', ''],
    [
      '    record.result.workLeft = true;\n    record.isOpen = record.run !== null;\n    await',
      '    await',
      'own/endless',
    ],
    ['if (run === null)\n', 'if (run !== null)\n', 'inspect/status#a job was stopped by an error'],
  ]),
  ...inFile('src/engine/plan.ts', 'jobs/subscriptions#switches the job off', [
    ['!byHand && job.switch', 'job.switch'],
    ['=== false)\n', '=== true)\n'],
    ['isPaused(control) && !asked.evenIfPaused', 'isPaused(control)', 'commands/activate-now#while the job is stopped'],
    ['!byHand && !asked.rehearsal', '!asked.rehearsal', 'engine/slots#asked for by name'],
    ['!asked.rehearsal && ', '', 'own/rehearse#shows slots'],
  ]),
  ...inFile('src/engine/run.ts', 'engine/stops#when the deadline passes', [
    ["request.stop.request('deadline'), request.timeoutSeconds * 1000", "request.stop.request('deadline'), 1e9"],
    ['apart = true;', '', 'engine/jobs-apart#says so'],
    ['job.failed > 0) ? EXIT.rowsFailed', 'job.failed > 1) ? EXIT.rowsFailed', 'engine/bad-rows#a row refused by'],
  ]),
  ...inFile('src/engine/statements.ts', 'jobs/subscriptions#does not overtake', [
    ['not ${key} = any(:passedBy', '${key} = any(:passedBy'],
    ['`order by ${rule.at}, r.id`', '`order by r.id`', 'engine/batches#batch after batch'],
    ['for update of r skip locked`', 'for update of r`', 'engine/batches#left to the next tick'],
    ['case when wrong is null then', 'case when true then', 'jobs/hotspot/payments#that cannot be read'],
    [
      'row(step, transition, type, entity_id, due_at,',
      'row(step, transition, type, entity_id, now(),',
      'engine/runs#a batch in which',
    ],
  ]),
  ...harmless('src/engine/plan.ts', [
    ['slotTaken && !isEveryTick(job)', 'slotTaken', 'whether a slot is taken is asked of other jobs only'],
  ]),
  ...harmless('src/engine/next-batch.ts', [
    ['rows.length === run.batchSize', 'rows.length > run.batchSize', 'the pass asks again, and finds the rest'],
  ]),
  ...harmless('src/engine/next-batch.ts', [
    ['more: waiting !== -1 || due', 'more: due', 'the pass asks again, and finds the rest'],
  ]),
  ...harmless('src/engine/sweep.ts', [
    ['const MANY_KEYS = 10_000;', 'const MANY_KEYS = 5_000;', 'it bounds what a statement carries, and no result'],
  ]),
];
